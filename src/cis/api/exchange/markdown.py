"""A folder of Markdown notes (or one note), read as memories and written from them.

What a note's text means is `cis.api.exchange.note`; where it lies is `cis.api.exchange.file_names`. Read
are the files ending in ``.md`` or ``.markdown`` in a folder and those below it, in sorted order; hidden
ones and symbolic links are passed over.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cis.api.exchange.entry import Entry, parts
from cis.api.exchange.file_names import FileNames, key_of
from cis.api.exchange.front_matter import HEAD_BYTES, FrontMatterFault, read_front_matter
from cis.api.exchange.note import (
    EXPORTED_BYTES_MAX,
    PLAIN_BYTES_MAX,
    entry_of_note,
    is_exported,
    note_of_entry,
)
from cis.api.exchange.output import open_folder, write_under
from cis.api.exchange.source import BYTE_ORDER_MARK, Problem, open_found, open_named, shown, size_of
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SUFFIXES = (".md", ".markdown")


def read_markdown(path: Path) -> Iterator[Entry | Problem]:
    """Yield the memory of each note in a folder, or of one file, holding one note at a time.

    `UsageError` when ``path`` itself cannot be read.
    """
    if not path.is_dir():
        open_named(path).close()
        yield _entry_of_file(path, (path.name,), named=True)
        return
    try:
        yield from _read_folder(path)
    except OSError as error:
        raise UsageError(f"cannot read {shown(path)}: {error.strerror}") from error


def write_markdown(entries: Iterable[Entry], folder: Path, *, overwrite: bool = False) -> int:
    """Write one note for each entry and return their number; reading the folder gives equal entries.

    The folder is made, or must be empty unless ``overwrite`` is set: then notes of the same names are
    replaced, and other files stay. Where no entry carries ``hlc``, ``updated_ms`` or ``author``, notes that
    were imported come out byte for byte. `UsageError` when an entry is invalid or the disk refuses.
    """
    open_folder(folder, overwrite=overwrite)
    names = FileNames()
    count = 0
    for entry in entries:
        for part in parts(entry):
            place = names.place(part.key)
            write_under(folder, place, note_of_entry(part, key_of(place)), overwrite=overwrite)
        count += 1
    return count


def _read_folder(root: Path) -> Iterator[Entry | Problem]:
    pending: list[tuple[tuple[str, ...], bool]] = [((), True)]
    while pending:
        place, is_folder = pending.pop()
        path = root.joinpath(*place)
        if not is_folder:
            yield _entry_of_file(path, place, named=False)
            continue
        try:
            pending.extend(((*place, name), inner) for name, inner in reversed(_notes_and_folders(path)))
        except OSError as error:
            if not place:
                raise
            yield Problem(shown(path), 0, f"cannot be read: {error.strerror}")


def _notes_and_folders(path: Path) -> list[tuple[str, bool]]:
    """Return the names to read in a folder, each with whether it is one itself."""
    with os.scandir(path) as found:
        return sorted(
            (item.name, item.is_dir(follow_symlinks=False))
            for item in found
            if not item.name.startswith(".")
            and not item.is_symlink()
            and (item.is_dir(follow_symlinks=False) or item.name.lower().endswith(SUFFIXES))
        )


def _entry_of_file(path: Path, place: tuple[str, ...], *, named: bool) -> Entry | Problem:
    try:
        return entry_of_note(_bytes_of(path, named=named), key_of(place))
    except FrontMatterFault as fault:
        return Problem(shown(path), fault.line, str(fault))
    except UsageError as error:
        return Problem(shown(path), 1, str(error))
    except OSError as error:
        return Problem(shown(path), 0, f"cannot be read: {error.strerror}")


def _bytes_of(path: Path, *, named: bool) -> bytes:
    """Return a note's bytes; `UsageError` when it declares, or turns out to have, more than it may."""
    with open_named(path) if named else open_found(path) as file:
        head = file.read(HEAD_BYTES + len(BYTE_ORDER_MARK))
        size_max = PLAIN_BYTES_MAX
        if is_exported(read_front_matter(head.removeprefix(BYTE_ORDER_MARK))):
            size_max = EXPORTED_BYTES_MAX
        size = size_of(file)
        if size > size_max:
            raise UsageError(f"a note of {size} bytes, above {size_max}: split it")
        rest = file.read(size_max)
    return head + rest
