"""The control socket: a Unix socket that only its owner can reach (RULES F1).

Bound under a umask, inside a folder of mode 0700; and whoever connects must be the same user, by the kernel's word.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path

from cis.errors import Denied, Unavailable

_PEER_CREDENTIALS = struct.Struct("3i")
_BACKLOG = 64


def bind_control(path: Path) -> socket.socket:
    """Listen at ``path``, in the place of a socket nobody listens on any more.

    Raises `Unavailable` when another process does, or the path cannot be used, `Denied` when the folder is not
    this user's alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise Denied(f"{path.parent} must be yours alone: run  chmod 700 {path.parent}")
    if path.exists():
        if answers(path):
            raise Unavailable(f"a node is running here already: `cis status` shows it ({path})")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise Unavailable(f"cannot make the control socket {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    listening.settimeout(0)
    return listening


def answers(path: Path) -> bool:
    """Tell whether somebody listens at a socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def is_same_user(connection: socket.socket) -> bool:
    """Tell whether the process at the other end is this user's, or root's; True where the kernel does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # the modes of folder and socket stand alone there
    _, user, _ = _PEER_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER_CREDENTIALS.size))
    return user in (os.getuid(), 0)
