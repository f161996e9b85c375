"""Import and export between files and a node, whether it runs or not: files are read and written on this side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cis.api.control.client import Node
from cis.api.exchange.detect import FORMATS, read_entries
from cis.api.exchange.entry import Entry
from cis.api.exchange.jsonl import write_jsonl
from cis.api.exchange.markdown import write_markdown
from cis.api.exchange.mcp_memory import write_mcp_memory
from cis.api.exchange.rows import entry_of_row, row_of_entry
from cis.api.exchange.source import Problem
from cis.api.memories.memory_schema import BATCH_MAX, ExportMemories, ImportBatch
from cis.errors import UsageError

BATCH_BYTES = 4 << 20
"""About how much one batch may weigh."""
PROBLEMS_SHOWN = 1000
EXPORT_FORMATS = ("jsonl", "markdown", "mcp-memory")


@dataclass
class Imported:
    """What an import came to; ``problems`` are lines for people, the first thousand."""

    written: int = 0
    unchanged: int = 0
    left_out: int = 0
    stopped: bool = False
    problems: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Count a row that was left out."""
        self.left_out += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)


@dataclass(frozen=True)
class Exported:
    """How many memories were written, and how many the format cannot hold."""

    written: int
    left_out: int


def import_file(
    node: Node,
    path: Path,
    *,
    form: str | None = None,
    space: str = "public",
    stop_on_error: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Take in a file or folder; rows before the one that stops it are kept. `UsageError` if it cannot be read."""
    if form is not None and form not in FORMATS:
        raise UsageError(f"format {form!r}: there are {', '.join(FORMATS)}")
    result = Imported()
    for batch, problem in _batches(path, form):
        if batch:
            answer = node.call(ImportBatch(rows=tuple(batch), space=space))
            result.written += answer.written
            result.unchanged += answer.unchanged
            for one in answer.problems:
                result.note(f"{path}: {one.key!r}: {one.reason}")
            on_progress(result.written + result.unchanged)
        if problem is not None:
            result.note(str(problem))
        if stop_on_error and result.left_out:
            result.stopped = True
            break
    return result


def _batches(path: Path, form: str | None) -> Iterator[tuple[list[dict[str, Any]], Problem | None]]:
    """Yield batches of rows in order, each ended by its size or by a problem."""
    batch: list[dict[str, Any]] = []
    weight = 0
    for item in read_entries(path, form):  # type: ignore[arg-type] # checked by the caller
        if isinstance(item, Problem):
            yield batch, item
            batch, weight = [], 0
            continue
        batch.append(row_of_entry(item))
        weight += _weight(item)
        if len(batch) == BATCH_MAX or weight > BATCH_BYTES:
            yield batch, None
            batch, weight = [], 0
    yield batch, None


def export_file(
    node: Node,
    path: Path,
    *,
    form: str | None = None,
    space: str = "public",
    prefix: str = "",
    category: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write memories to a file or folder; `UsageError` where something is in the way."""
    form = form or ("jsonl" if path.suffix in {".jsonl", ".ndjson", ".json"} else None if path.suffix else "markdown")
    if form not in EXPORT_FORMATS:
        raise UsageError(f"cannot tell the format of {path}: add --format {'|'.join(EXPORT_FORMATS)}")
    rows = node.stream(ExportMemories(space=space, prefix=prefix, category=category))
    entries = _counted((entry_of_row(row) for row in rows), on_progress)
    if form == "mcp-memory":
        written = write_mcp_memory(entries, path, overwrite=overwrite)
        return Exported(written.written, written.left_out)
    write = write_jsonl if form == "jsonl" else write_markdown
    return Exported(write(entries, path, overwrite=overwrite), 0)


def _counted(entries: Iterator[Entry], on_progress: Callable[[int], None]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        if number % 100 == 0:
            on_progress(number)
        yield entry


def _weight(entry: Entry) -> int:
    value = entry.value
    if isinstance(value, str | bytes):
        size = len(value)
    elif isinstance(value, tuple):
        size = sum(len(str(element.value)) for element in value)
    else:
        size = len(str(value))
    return 200 + size + (len(entry.vector.data) if entry.vector else 0)
