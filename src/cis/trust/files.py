"""Files that are their owner's alone: 0600 in a folder 0700, written whole and durably or not at all.

A file or folder that others could open is refused with the command that mends it. A new file is linked into place, so
that two processes never overwrite each other's; a file that takes another's place is renamed over it once it is
synced, so that a crash leaves the one or the other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from cis.errors import Denied, StoreError, UsageError

_BYTES_MAX = 4096
_OTHERS = 0o077


def is_open(path: Path) -> bool:
    """Tell whether users other than its owner have any right to a file or folder that is there."""
    try:
        status = path.stat() if path.is_dir() else path.lstat()  # a folder may be a link to where it lies
        return os.name == "posix" and bool(stat.S_IMODE(status.st_mode) & _OTHERS)
    except FileNotFoundError:
        return False


def refuse_open(folder: Path, files: Iterable[Path]) -> None:
    """Raise `Denied`, with the command that mends it, where the folder or one of the files is open to others."""
    if is_open(folder):
        raise Denied(_mending(folder, folder.stat(), "700"))
    wide = [path for path in files if is_open(path)]
    if wide:
        named = " ".join(str(path) for path in wide)
        what = f"{wide[0]} is" if len(wide) == 1 else f"{len(wide)} files in {folder} are"
        raise Denied(f"{what} open to other users: run  chmod 600 {named}")


def read_private(path: Path) -> bytes:
    """Read a small file.

    Raises `UsageError` when there is none, `Denied` when it or its folder is open to others, `StoreError` when it
    cannot be read.
    """
    _check(path.parent, path.parent.stat() if path.parent.exists() else None, "700")
    try:
        with path.open("rb") as file:
            _check(path, os.fstat(file.fileno()), "600")
            return file.read(_BYTES_MAX)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}: make a node with `cis init`, or name its folder with --home") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def create_private(path: Path, data: bytes) -> None:
    """Make a file, and its folder if need be; `UsageError` where another process made one meanwhile."""

    def place(beside: Path) -> None:
        try:
            os.link(beside, path)  # fails where there is one
        finally:
            beside.unlink()

    try:
        _write(path, data, place)
    except FileExistsError:
        raise UsageError(f"{path} was made by another process meanwhile: `cis status` shows the node there") from None


def replace_private(path: Path, data: bytes, check: Callable[[Path], object] = lambda _: None) -> None:
    """Put a file in the place of another, once it is synced and ``check``, which is given where it lies, agrees."""

    def place(beside: Path) -> None:
        try:
            check(beside)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    _write(path, data, place)


def _write(path: Path, data: bytes, place: Callable[[Path], None]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(path.parent, path.parent.stat(), "700")
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            beside.chmod(0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        place(beside)
        _sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _check(path: Path, status: os.stat_result | None, wanted: str) -> None:
    if status is not None and os.name == "posix" and stat.S_IMODE(status.st_mode) & _OTHERS:
        raise Denied(_mending(path, status, wanted))


def _mending(path: Path, status: os.stat_result, wanted: str) -> str:
    return f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}): run  chmod {wanted} {path}"


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where a folder can be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
