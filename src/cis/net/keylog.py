"""Writing down TLS keys, so that a test can show what an observer would see with them. Off, and hard to turn on.

Whoever reads the file reads the traffic, so it takes two variables of the environment, and one alone is an error:
``CIS_DEBUG=1`` and ``CIS_DEBUG_TLS_KEYS=FILE`` (NSS key log format, as Wireshark reads it). ``SSLKEYLOGFILE``, which
browsers and other programs obey, does nothing here: it may be set for them.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, TextIO

from cis.errors import Denied, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEBUG = "CIS_DEBUG"
KEYS = "CIS_DEBUG_TLS_KEYS"

_log = logging.getLogger(__name__)


def open_keylog(environment: Mapping[str, str]) -> TextIO | None:
    """Open the file the environment asks for, mode 0600; None where it asks for none.

    Raises `UsageError` where it is asked for without the debug flag, `Denied` where others may read the file.
    """
    path = environment.get(KEYS)
    if not path:
        return None
    if environment.get(DEBUG) != "1":
        raise UsageError(
            f"{KEYS} would let everybody who reads {path} read this node's traffic: unset it, or set {DEBUG}=1 too"
        )
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "a", encoding="ascii")
    except OSError as error:
        raise UsageError(f"{KEYS}: {path} cannot be written: {error.strerror}") from None
    if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
        file.close()
        raise Denied(f"others may read {path}, where TLS keys would go: chmod 600 {path}")
    _log.warning("the TLS keys of this process are written to %s: whoever reads it reads the traffic", path)
    return file
