"""``cis bench write``: local durable writes, one at a time and in bulk, through the full path."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cis.bench.figures import percentile, say
from cis.bench.pair import Child
from cis.bench.workload import Workload

WRITE_S = 600.0


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Milliseconds of one write at a time until it is durable; memories a second in bulk."""

    one_by_one: int
    p50_ms: float
    p99_ms: float
    bulk: int
    bulk_memories_per_s: float


def bench_write(workload: Workload, one_by_one: int = 1000) -> WriteResult:
    """Measure on a home of its own."""
    singles = dataclasses.replace(workload, memories=one_by_one, seed=workload.seed + 1)
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder, Child("node") as node:
        node.ask("create", home=str(Path(folder) / "home"), name="writer")
        say(f"writing {one_by_one:,} memories one at a time, then {workload.memories:,} in bulk")
        latencies = node.ask("write_one_by_one", WRITE_S, workload=dataclasses.asdict(singles))["latencies_ms"]
        bulk = node.ask("write", WRITE_S, workload=dataclasses.asdict(workload), part="writes")
    return WriteResult(
        one_by_one=len(latencies),
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        bulk=bulk["written"],
        bulk_memories_per_s=bulk["written"] / bulk["elapsed_s"],
    )
