"""``cis bench write``: local durable writes, in bulk and one at a time onto them, through the full path."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cis.bench.bare_disk import commit_ms
from cis.bench.figures import median, percentile, ratio, say
from cis.bench.pair import Child
from cis.bench.workload import Workload

WRITE_S = 600.0


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Memories a second in bulk; then milliseconds of one write at a time until it is durable, half overwriting.

    ``embedder`` is the model that meanwhile embeds behind them, null where there is none.
    """

    memories: int
    one_by_one: int
    p50_ms: float
    p99_ms: float
    bulk_memories_per_s: float
    embedder: str | None
    pages: int
    """of the disk that such a write changes, in the median"""
    bare_p50_ms: float
    """a commit of as many pages by SQLite alone, on the same disk"""
    ratio_bare_commit: float


def bench_write(workload: Workload, one_by_one: int = 1000) -> WriteResult:
    """Measure on a home of its own."""
    singles = dataclasses.replace(workload, memories=one_by_one, onto=workload.memories)
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder, Child("node") as node:
        node.ask("create", home=str(Path(folder) / "home"), name="writer")
        say(f"writing {workload.memories:,} memories in bulk, then {one_by_one:,} one at a time")
        bulk = node.ask("write", WRITE_S, workload=dataclasses.asdict(workload), part="writes")
        node.ask("settle", WRITE_S)
        timed = node.ask("write_one_by_one", WRITE_S, workload=dataclasses.asdict(singles))
        pages = round(median(timed["pages"]))
        bare_p50_ms = percentile(commit_ms(Path(folder), pages, one_by_one), 50)
    latencies = timed["latencies_ms"]
    return WriteResult(
        memories=workload.memories,
        one_by_one=len(latencies),
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        bulk_memories_per_s=bulk["written"] / bulk["elapsed_s"],
        embedder=timed["model"],
        pages=pages,
        bare_p50_ms=bare_p50_ms,
        ratio_bare_commit=ratio(percentile(latencies, 50), bare_p50_ms),
    )
