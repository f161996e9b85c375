"""JSON Lines: one memory a line, nothing lost; the fields are those of `cis.api.exchange.rows`.

Rows made elsewhere are read as well: ``{"key": "editor", "value": "vim"}`` is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.api.exchange.entry import Entry, parts
from cis.api.exchange.json_text import JsonValue, dump_json, parse_json
from cis.api.exchange.output import new_file
from cis.api.exchange.rows import Row, entry_of_row, row_of_entry
from cis.api.exchange.source import LINE_BYTES_MAX, Problem, bounded_lines, decoded, open_named, shown
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def read_jsonl(path: Path) -> Iterator[Entry | Problem]:
    """Yield the memory of each line, holding one at a time; `UsageError` when the file cannot be read."""
    for number, row in rows_of(path):
        try:
            yield Problem(shown(path), number, row) if isinstance(row, str) else entry_of_row(row)
        except UsageError as error:
            yield Problem(shown(path), number, str(error))


def write_jsonl(entries: Iterable[Entry], path: Path, *, overwrite: bool = False) -> int:
    """Write a file of one line for each entry and return their number.

    `UsageError` when the file exists and ``overwrite`` is not set, an entry is invalid, or the disk refuses;
    then no file appears.
    """
    count = 0
    with new_file(path, overwrite=overwrite) as file:
        for entry in entries:
            file.write(jsonl_of(entry))
            count += 1
    return count


def jsonl_of(entry: Entry) -> bytes:
    """Return the lines of an entry, more than one only for a large set; `UsageError` when it is invalid."""
    return "".join(f"{dump_json(row_of_entry(part))}\n" for part in parts(entry)).encode()


def rows_of(path: Path) -> Iterator[tuple[int, Row | str]]:
    """Yield the number of each line that is not blank with its JSON object, or with why it has none."""
    with open_named(path) as file:
        for number, line in bounded_lines(file):
            if line is None:
                yield number, f"a line above {LINE_BYTES_MAX} bytes: split it"
            elif line.strip():
                try:
                    yield number, _object(parse_json(decoded(line)))
                except UsageError as error:
                    yield number, str(error)


def _object(value: JsonValue) -> Row:
    if not isinstance(value, dict):
        raise UsageError('not a JSON object: one line is one {"key": …, "value": …}')
    return value
