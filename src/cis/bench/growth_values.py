"""What memories with values of so many bytes cost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cis.bench.figures import BenchFailed
from cis.bench.growth_memories import bytes_in
from cis.bench.sync import bench_sync
from cis.bench.workload import Workload
from cis.bench.write import bench_write

BYTES = 32_000_000
"""About so many are synced at each size, in this many memories at least and at most."""
MEMORIES_MIN, MEMORIES_MAX = 100, 20_000
WRITES = 100


def memories_of(value_bytes: int) -> int:
    """Return how many memories of that size are synced."""
    return max(MEMORIES_MIN, min(MEMORIES_MAX, BYTES // value_bytes))


def measure_values(value_bytes: int) -> dict[str, float]:
    """Return what memories of that size cost."""
    memories = memories_of(value_bytes)
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        homes = Path(folder) / "homes"
        synced = bench_sync(Workload(memories, value_bytes=value_bytes), keep=homes)
        if not synced.in_step:
            raise BenchFailed("the two nodes hold different states after a sync: this is a defect, please report it")
        disk_bytes = bytes_in(homes / "serving")
    written = bench_write(Workload(MEMORIES_MIN, value_bytes=value_bytes), WRITES)
    return {
        "sync_ms_each": synced.elapsed_s * 1e3 / memories,
        "put_ms": written.p50_ms,
        "disk_bytes_each": disk_bytes / memories,
        "sync_mb_per_s": synced.mb_per_s,
        "memories": float(memories),
    }
