"""``cis doctor --bundle``: an archive for others to help by, which tells nothing of who, where and what.

What goes in is chosen field by field: numbers, switches, and words of cis itself. Texts that a problem or the log
brought are shown without addresses, DIDs, keys, hosts, paths of the home, names of members and spaces, and whatever
stood in quotes. Memories are counted, never opened.
"""

from __future__ import annotations

import enum
import io
import os
import platform
import re
import socket
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from getpass import getuser
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Literal, get_origin

import msgspec
from pydantic import BaseModel

from cis import __version__
from cis.api.configuration.settings import load
from cis.api.control.client import connect
from cis.api.health.checkup import examine_health
from cis.api.health.doctor import examine_security
from cis.api.membership.trust_schema import ListSpaces
from cis.api.peers.gossip_schema import GetSyncStatus, PeerSync
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.api.text import escaped, redacted
from cis.errors import CisError, UsageError
from cis.node.home.folder import Home

LOG_BYTES_MAX = 256 * 1024
PACKAGE = "cis-node"
HIDDEN = "(hidden)"
_HOST = re.compile(
    r"\b[a-z][a-z0-9+.-]*://\S+|(?<![\w/.])(?:[\w-]+\.)+(?!(?:py|pyc|toml|db|md|json|log|key|sock|so|csv|jsonl)\b)"
    r"[A-Za-z]{2,}\b"
)
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_DEBUG = re.compile(r"\[debug\b|\"level\":\s*\"debug\"")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_WORDS = frozenset({"root", "node", "public", "private", "localhost"})
"""Names that say nothing, and are words of our own messages."""

Part = Callable[["_Scene"], Any]


class _Scene:
    """What is known of the home, and how texts are made fit for others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status: NodeStatus | None = None
        self.members: tuple[PeerSync, ...] = ()
        self.problem = ""
        names = [socket.gethostname(), *_user()]
        try:
            with connect(folder) as node:
                self.status = node.call(GetStatus())
                names += [*self.status.members, *(one.name for one in node.call(ListSpaces()))]
                if self.status.networking:
                    self.members = node.call(GetSyncStatus()).members
        except CisError as error:
            self.problem = str(error)
        told = sorted({name for name in names if name and name not in _WORDS}, key=len, reverse=True)
        self._names = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, told)) or '(?!)'})(?![\w-])")

    def scrubbed(self, text: str) -> str:
        """Return a text without what it should not tell."""
        for path, word in ((self.folder, "(home)"), (Path.home(), "~")):
            text = text.replace(str(path), word)
        text = _HOST.sub(HIDDEN, redacted(_QUOTED.sub(HIDDEN, escaped(text, keep="\n\t"))))
        return self._names.sub(HIDDEN, text)


def write_bundle(folder: Path, file: Path) -> list[str]:
    """Write the archive and return the names of what is in it; `UsageError` where the file is there already."""
    if not Home(folder).exists:
        raise UsageError(f"there is no node in {folder} yet: run `cis init` first")
    scene = _Scene(folder)
    parts = {name: _text(scene, part) for name, part in _PARTS.items()}
    listed = "".join(f"{name:20} {_PARTS[name].__doc__}\n" for name in parts)
    contents = {"README.txt": f"Written by `cis doctor --bundle`.\n\n{listed}", **parts}
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} is there already: choose another name") from None
    with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in contents.items():
            entry = tarfile.TarInfo(f"cis-support/{name}")
            entry.size, entry.mtime, entry.mode = len(text.encode()), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(text.encode()))
    return list(contents)


def _text(scene: _Scene, part: Part) -> str:
    try:
        found = part(scene)
    except (CisError, OSError) as error:
        return f"not told: {scene.scrubbed(str(error))}\n"
    if isinstance(found, str):
        return found
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


# --- the parts ------------------------------------------------------------------------------------------------------


def _health(scene: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """What `cis doctor` finds."""
    return [_scrubbed_row(scene, row) for row in examine_health(scene.folder)]


def _security(scene: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """What `cis doctor --security` finds."""
    return [_scrubbed_row(scene, row) for row in examine_security(scene.folder)]


def _scrubbed_row(scene: _Scene, row: Any) -> dict[str, str]:  # noqa: ANN401 - a Row
    return {
        "check": row.check,
        "status": row.status,
        "found": scene.scrubbed(row.found),
        "fix": scene.scrubbed(row.fix),
    }


def _status(scene: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """How the node is: counts, switches, problems."""
    status = scene.status
    if status is None:
        return {"problem": scene.scrubbed(scene.problem)}
    reach = msgspec.to_builtins(status.reach) if status.reach is not None else {}
    return {
        "running": status.running,
        "role": status.role,
        "version": status.version,
        "members": len(status.members),
        "connected": len(status.connected),
        "quarantined": len(status.quarantined),
        "banned": len(status.banned),
        "memories": status.memories,
        "uptime_s": status.uptime_s,
        "networking": status.networking,
        "removed": status.removed_by is not None,
        "problems": [scene.scrubbed(why) for why in status.problems.values()],
        "turned_away": status.turned_away,
        "reach": {name: len(value) if isinstance(value, list) else value for name, value in reach.items()},
    }


def _sync(scene: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """How far members are in step, without their names."""
    return [
        {
            "member": number,
            "connected": one.connected,
            "asked": one.asked,
            "stated_s": one.stated_s,
            "last_success_s": one.last_success_s,
            "sessions": one.sessions,
            "last_error": scene.scrubbed(one.last_error),
            "bytes_received": one.bytes_received,
            "bytes_sent": one.bytes_sent,
            "spaces": [[space.in_step, space.behind_here, space.behind_there] for space in one.spaces],
        }
        for number, one in enumerate(scene.members, start=1)
    ]


def _settings(scene: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """The settings: numbers, switches and choices; of texts only whether they are set."""
    return _told(load(scene.folder))


def _told(model: BaseModel) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found[name] = _told(value)
        elif isinstance(value, bool | int | float | enum.Enum) or get_origin(field.annotation) is Literal:
            found[name] = value
        else:
            unset = isinstance(value, str | tuple) and value == field.get_default(call_default_factory=True)
            found[name] = value if unset else HIDDEN
    return found


def _versions(_: _Scene) -> Any:  # noqa: ANN401 - as JSON
    """Versions of cis, Python, the system and what cis needs."""
    return {
        "cis": __version__,
        "python": sys.version,
        "system": [platform.system(), platform.release(), platform.machine()],
        "packages": dict(_packages()),
    }


def _log(scene: _Scene) -> str:
    """The end of the log of a node in the background, without what is logged at debug."""
    with Home(scene.folder).log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES_MAX))
        lines = file.read(LOG_BYTES_MAX).decode(errors="replace").splitlines()
    return "".join(f"{scene.scrubbed(line)}\n" for line in lines if not _DEBUG.search(line))


_PARTS: dict[str, Part] = {
    "doctor.json": _health,
    "security.json": _security,
    "status.json": _status,
    "sync-status.json": _sync,
    "settings.json": _settings,
    "versions.json": _versions,
    "log.txt": _log,
}


def _packages() -> Iterable[tuple[str, str]]:
    try:
        needed = distribution(PACKAGE).requires or []
    except PackageNotFoundError:  # run from its sources
        return
    for line in sorted(needed):
        found = _NAME.match(line)
        if found is not None:
            try:
                yield found[0], version(found[0])
            except PackageNotFoundError:
                yield found[0], "absent"


def _user() -> list[str]:
    try:
        return [getuser()]
    except (KeyError, OSError):  # a container's user may have no name
        return []
