"""Opening and reading files somebody else wrote: regular files only, sizes bounded, bad rows reported.

A reader yields a `Problem` for each row it cannot take and goes on; it raises `UsageError` only where the
file the user named cannot be read at all.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE_BYTES_MAX = 8 * 1024 * 1024
"""The longest line read: a full set with every character escaped fits."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was not taken, and why; ``line`` counts from 1 and is 0 where the whole file is meant.

    ``file`` and ``reason`` may quote the file: escape them before they reach a terminal.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


def shown(path: Path) -> str:
    """Return a path as text; bytes that are no UTF-8 appear as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def open_named(path: Path) -> BinaryIO:
    """Open the regular file a user named, symbolic links followed; `UsageError` where that cannot be done."""
    try:
        return _open_regular(path, follow=True)
    except OSError as error:
        raise UsageError(f"cannot read {shown(path)}: {error.strerror}") from error


def open_found(path: Path) -> BinaryIO:
    """Open a regular file met in a folder, never through a symbolic link; `OSError` where that fails."""
    return _open_regular(path, follow=False)


def size_of(file: BinaryIO) -> int:
    """Return the declared size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def bounded_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number from 1, without a leading byte order mark.

    None stands for a line of more than `LINE_BYTES_MAX`, of which no more is held at any time.
    """
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
            while (rest := file.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line


def decoded(line: bytes) -> str:
    """Return a line's text; `UsageError` when it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 at byte {error.start}: convert the file to UTF-8") from error


def _open_regular(path: Path, *, follow: bool) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(0, "it is no regular file")
    return file
