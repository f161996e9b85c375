"""The disk under SQLite, in between: it records what reaches it, in order, and fails where a rule says so.

A VFS of APSW below the one that encrypts pages (SQLite3 Multiple Ciphers), so that what is recorded is what a disk is
given in production: sealed pages, checksums, frames of the write-ahead log. `on` makes it the default for a while;
the store opens its files as ever and does not know.

::

    disk = Disk(folder)
    with on(disk):
        with Store(folder, key, setting) as store: ...
    disk.trace
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

_NAME = "faults"
_BELOW = "unix"
_SEALING = f"multipleciphers-{_NAME}"
"""made by SQLite3 Multiple Ciphers when it is first asked for"""
_DEFAULT = f"multipleciphers-{_BELOW}"
_JOURNALS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


@dataclass(frozen=True, slots=True)
class Opened:
    """A file was opened; ``new`` where it held nothing: it was made, here or by whoever unlinked what was there."""

    file: str
    new: bool
    binds: bool
    """whether its first sync makes the names in its folder durable, too, as SQLite does for journals it makes"""


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes were given to the disk."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file was truncated."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """All of a file that was given to the disk was asked to be durable."""

    file: str


@dataclass(frozen=True, slots=True)
class Unsynced:
    """A sync failed: of what waited some is lost for good, though this process still reads it.

    Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.
    """

    file: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """A file was unlinked; ``durable`` where the folder was synced."""

    file: str
    durable: bool


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes were asked for; not recorded, but a rule may have it fail."""

    file: str


@dataclass(frozen=True, slots=True)
class Noted:
    """What whoever works on the disk says at this moment."""

    what: Any


Step = Opened | Wrote | Cut | Synced | Unsynced | Deleted | Noted
Rule = Callable[[Step | Read], None]
"""Raises what the step is to fail with."""


def allow(_: Step | Read) -> None:
    """No rule: nothing fails."""


@dataclass
class Disk:
    """What happens to the files of one folder; ``rule`` is asked before each step, and raises to have it fail."""

    folder: Path
    rule: Rule = allow
    records: bool = True
    trace: list[Step] = field(default_factory=list)
    guard: threading.RLock = field(default_factory=threading.RLock)

    def note(self, what: object) -> None:
        """Put a mark into the trace."""
        with self.guard:
            self.trace.append(Noted(what))

    def do(self, step: Step | Read, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the system returns
        """Perform and record a step, unless the rule forbids it; in the order of the trace."""
        with self.guard:
            self.rule(step)
            return self.did(step, act)

    def did(self, step: Step | Read, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - as `do`
        """Perform and record a step whatever the rule says."""
        with self.guard:
            done = act()
            if self.records and not isinstance(step, Read):
                self.trace.append(step)
            return done


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, path: str, name: Any, flags: list[int]) -> None:  # noqa: ANN401 - a str or URI
        self._disk, self._name = disk, Path(path).name
        kind = flags[0]
        new = not Path(path).exists() or Path(path).stat().st_size == 0
        binds = bool(kind & _JOURNALS and kind & apsw.SQLITE_OPEN_CREATE)
        begin = super().__init__
        disk.do(Opened(self._name, new, binds), lambda: begin(_BELOW, name, flags))

    def xRead(self, amount: int, offset: int) -> Any:  # noqa: N802, ANN401 - SQLite's names
        ask = super().xRead
        return self._disk.do(Read(self._name), lambda: ask(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        give, whole = super().xWrite, bytes(data)
        try:
            self._disk.do(Wrote(self._name, offset, whole), lambda: give(whole, offset))
        except apsw.Error:  # what failed may have been written in part
            part = whole[: len(whole) // 2]
            self._disk.did(Wrote(self._name, offset, part), lambda: give(part, offset))
            raise

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's name
        cut = super().xTruncate
        self._disk.do(Cut(self._name, size), lambda: cut(size))

    def xSync(self, _: int) -> None:  # noqa: N802 - SQLite's name
        """Only note it: what a sync is for is worked out from the trace, and the real disk need not be waited for."""
        try:
            self._disk.do(Synced(self._name), lambda: None)
        except apsw.Error:
            self._disk.did(Unsynced(self._name), lambda: None)
            raise


class _Vfs(apsw.VFS):
    """One for the process, for ever: the one that encrypts keeps a pointer to it."""

    def __init__(self) -> None:
        self.disk: Disk | None = None
        super().__init__(_NAME, _BELOW)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802, ANN401 - SQLite's names
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if self.disk is None or path is None or Path(path).parent != self.disk.folder:
            return apsw.VFSFile(_BELOW, name, flags)
        return _File(self.disk, path, name, flags)

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802, FBT001 - SQLite's
        unlink = super().xDelete
        if self.disk is None or Path(path).parent != self.disk.folder:
            unlink(path, sync)
        else:
            self.disk.do(Deleted(Path(path).name, bool(sync)), lambda: unlink(path, sync))


_vfs = _Vfs()
apsw.Connection(":memory:", vfs=_SEALING).close()


class _Connection(apsw.Connection):
    """Passes over what fails after a commit and in closing, as SQLite does; APSW raises what a VFS in Python raised."""

    def execute(self, statements: str, *rest: Any, **more: Any) -> apsw.Cursor:  # noqa: ANN401 - apsw's own
        name, _, pages = statements.partition("=")
        if name.strip() != "PRAGMA wal_autocheckpoint":
            return super().execute(statements, *rest, **more)
        self.set_wal_hook(partial(_check_point, int(pages)))
        return super().execute("SELECT 1")

    def close(self, *how: bool) -> None:
        with contextlib.suppress(apsw.Error):
            super().close(*how)


def _check_point(at: int, connection: apsw.Connection, name: str, pages: int) -> int:
    """Write the journal back once it has so many pages; the commit before it stands, whatever comes of that."""
    if pages >= at:
        with contextlib.suppress(apsw.Error):
            connection.wal_checkpoint(name)
    return apsw.SQLITE_OK


def _unraisable(found: Any, /, hook: Callable[[Any], Any] = sys.unraisablehook) -> None:  # noqa: ANN401 - sys's own
    """Pass over errors of the disk that nobody waits for: making them is what it is for."""
    if not isinstance(found.exc_value, apsw.Error):
        hook(found)


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[Disk]:
    """Have all files of the disk's folder opened through it, and note those unlinked; one disk at a time."""
    assert _vfs.disk is None, "there is one disk at a time"
    _vfs.disk = disk
    apsw.set_default_vfs(_SEALING)
    unlink = Path.unlink

    def noting(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - pathlib's
        if path.parent == disk.folder and path.exists():
            disk.did(Deleted(path.name, durable=False), lambda: unlink(path))
        else:
            unlink(path, missing_ok)

    try:
        with (
            patch.object(apsw, "Connection", _Connection),
            patch.object(sys, "unraisablehook", _unraisable),
            patch.object(Path, "unlink", noting),
        ):
            yield disk
    finally:
        apsw.set_default_vfs(_DEFAULT)
        _vfs.disk = None


def lay(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Make a folder that holds these files and nothing else; returns its path as SQLite will name it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder.resolve()
