"""Choosing the format of what is imported, from its name and its first lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from cis.api.exchange.csv_rows import header_of, read_csv
from cis.api.exchange.json_text import parse_json
from cis.api.exchange.jsonl import read_jsonl
from cis.api.exchange.markdown import SUFFIXES, read_markdown
from cis.api.exchange.mcp_memory import read_mcp_memory
from cis.api.exchange.source import Problem, bounded_lines, decoded, open_named, shown
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cis.api.exchange.entry import Entry

Format: TypeAlias = Literal["markdown", "jsonl", "mcp-memory", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_READERS: dict[Format, Callable[[Path], Iterator[Entry | Problem]]] = {
    "markdown": read_markdown,
    "jsonl": read_jsonl,
    "mcp-memory": read_mcp_memory,
    "csv": read_csv,
}
_BY_SUFFIX: dict[str, Format] = {**dict.fromkeys(SUFFIXES, "markdown"), ".csv": "csv", ".tsv": "csv"}


def read_entries(path: Path, form: Format | None = None) -> Iterator[Entry | Problem]:
    """Yield the memories of a file or folder in the format given or, without one, as `detect` finds it."""
    return _READERS[form or detect(path)](path)


def detect(path: Path) -> Format:
    """Return the format of a file or folder; `UsageError` naming the formats when it cannot be told."""
    if path.is_dir():
        return "markdown"
    line = _first_line(path)
    if (known := _BY_SUFFIX.get(path.suffix.lower())) is not None:
        return known
    found = _by_first_line(line)
    if found is None:
        raise UsageError(f"cannot tell the format of {shown(path)}: add --format {'|'.join(FORMATS)}")
    return found


def _first_line(path: Path) -> str:
    """Return the first line that is not blank, or nothing where it is no text; `UsageError` if unreadable."""
    with open_named(path) as file:
        try:
            lines = (decoded(line or b"") for _, line in bounded_lines(file))
            return next((line for line in lines if line.strip()), "")
        except UsageError:
            return ""


def _by_first_line(line: str) -> Format | None:
    if line.lstrip().startswith("{"):
        try:
            row = parse_json(line)
        except UsageError:
            return None
        is_graph = isinstance(row, dict) and row.get("type") in ("entity", "relation") and "key" not in row
        return "mcp-memory" if is_graph else "jsonl"
    header = header_of(line)
    return "csv" if header is not None and len(header[0]) > 1 else None
