"""CSV with a header, as spreadsheets write it; commas, semicolons or tabs between the columns.

Columns: ``key`` (required), ``value``, ``category``, ``tags`` (with commas or semicolons between them),
``ttl_s``. Any other column is kept: the value then is a JSON object of ``value`` and the other columns,
each a text. CSV is only read: it holds neither counters, sets, bytes nor vectors; export JSON Lines or
Markdown.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, BinaryIO

from cis.api.exchange.entry import VALUE_BYTES_MAX, Entry, validate
from cis.api.exchange.source import LINE_BYTES_MAX, Problem, bounded_lines, open_named, shown
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cis.api.exchange.json_text import JsonValue

DELIMITERS = ",;\t"
COLUMNS_MAX = 256
_OWN = ("key", "value", "category", "tags", "ttl_s")


def read_csv(path: Path) -> Iterator[Entry | Problem]:
    """Yield the memory of each row, holding one row at a time; a row's line is the one it begins on.

    `UsageError` when the file cannot be read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), VALUE_BYTES_MAX))  # its default is 128 KiB
    with open_named(path) as file:
        yield from _read(file, shown(path))


def header_of(line: str) -> tuple[list[str], str] | None:
    """Return the columns a header line names, and its delimiter; None when ``key`` is not among them."""
    for delimiter in DELIMITERS:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        columns = [cell.strip() for cell in cells]
        named = [column.lower() if column.lower() in _OWN else column for column in columns]
        if "key" in named:
            return named, delimiter
    return None


class _RowTooLong(Exception):
    """A row goes on beyond what is read of one; what follows cannot be told apart from it."""


class _Lines:
    """Feeds lines to `csv`, keeping bytes that are no UTF-8 as surrogates, and a bound on one row."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = bounded_lines(file)
        self.row_bytes = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.number = number
            self.row_bytes += LINE_BYTES_MAX + 1 if line is None else len(line)
            if line is None or self.row_bytes > LINE_BYTES_MAX:
                raise _RowTooLong
            yield line.decode("utf-8", "surrogateescape")


def _read(file: BinaryIO, name: str) -> Iterator[Entry | Problem]:
    lines = _Lines(file)
    feed = iter(lines)
    try:
        header = header_of(next(feed, ""))
    except _RowTooLong:
        header = None
    if header is None or len(header[0]) > COLUMNS_MAX or len(set(header[0])) != len(header[0]):
        yield Problem(name, 1, f"no header of at most {COLUMNS_MAX} different columns, one of them key")
        return
    columns, delimiter = header
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        begin = lines.number + 1
        lines.row_bytes = 0
        try:
            if cells := next(reader):
                yield _entry_of(columns, cells)
        except StopIteration:
            return
        except _RowTooLong:
            yield Problem(name, begin, f"a row above {LINE_BYTES_MAX} bytes: is a quote left open? Rest not read")
            return
        except csv.Error as error:
            yield Problem(name, begin, f"not CSV: {error}")
        except UsageError as error:
            yield Problem(name, begin, str(error))


def _entry_of(columns: list[str], cells: list[str]) -> Entry:
    if len(cells) != len(columns):
        raise UsageError(f"{len(cells)} columns where the header has {len(columns)}: quote commas and quotes")
    if any(re.search("[\udc80-\udcff]", cell) for cell in cells):
        raise UsageError("not UTF-8: save the file as CSV UTF-8")
    row = dict(zip(columns, cells, strict=True))
    others: dict[str, JsonValue] = {name: cell for name, cell in row.items() if name not in _OWN}
    if "value" in row:
        others = {"value": row["value"], **others} if others else {}
    elif not others:
        raise UsageError("no value: add a column value")
    entry = Entry(
        key=row["key"],
        value=others or row["value"],
        form="json" if others else "text",
        category=row.get("category") or "note",
        tags=tuple(tag for part in re.split("[,;]", row.get("tags", "")) if (tag := part.strip())),
        ttl_s=_seconds(row.get("ttl_s", "")),
    )
    validate(entry)
    return entry


def _seconds(cell: str) -> float | None:
    try:
        return float(cell) if cell.strip() else None
    except ValueError as error:
        raise UsageError(f"ttl_s {cell[:32]!r} is no number of seconds") from error
