"""Writing files: whole or not at all, readable by their owner only, never through a symbolic link.

What is exported was encrypted at rest; hence mode 0600 (folders 0700).
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from cis.api.exchange.source import shown
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
"""With O_EXCL a symbolic link in the place of the file is an error, and is not followed."""


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when the block ends well, and not at all otherwise.

    `UsageError` when something of that name exists and ``overwrite`` is not set, or the disk refuses.
    """
    if not overwrite and os.path.lexists(path):
        raise UsageError(f"{shown(path)} exists already: choose another name, or overwrite it")
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    with _refusals(path):
        try:
            with os.fdopen(os.open(partial, _FLAGS, 0o600), "wb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def open_folder(root: Path, *, overwrite: bool) -> None:
    """Make a folder to export into; `UsageError` when it holds something and ``overwrite`` is not set."""
    with _refusals(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(root) as found:
            empty = next(found, None) is None
    if not empty and not overwrite:
        raise UsageError(f"{shown(root)} is not empty: choose an empty folder, or overwrite what is there")


def write_under(root: Path, parts: Sequence[str], data: bytes, *, overwrite: bool) -> None:
    """Write one file at ``parts`` below a folder, making the folders between; see `new_file` for errors."""
    folder = root
    for part in parts[:-1]:
        folder = folder / part
        with _refusals(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise UsageError(f"{shown(folder)} is no folder, or a symbolic link: move it away")
    with new_file(folder / parts[-1], overwrite=overwrite) as file:
        file.write(data)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {shown(path)}: {error.strerror}") from error
