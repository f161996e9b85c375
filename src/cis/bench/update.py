"""``cis bench update``: one hop of a live update, from the commit's return to a recall that shows it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from cis.bench.figures import BenchFailed, percentile, say
from cis.bench.two_nodes import found_cluster, run_both

_MARGIN_S = 60.0


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """Milliseconds between two processes on loopback."""

    updates: int
    pause_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def bench_update(updates: int = 600, pause_s: float = 0.02) -> UpdateResult:
    """Measure that many updates, pausing after each; the first tenth warms up and is left out."""
    warm = updates // 10
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        serving, pulling = Path(folder) / "serving", Path(folder) / "pulling"
        found_cluster(serving, pulling)
        with run_both(serving, pulling) as nodes:
            nodes.connect()
            say(f"{updates + warm:,} updates, {pause_s * 1e3:g} ms apart")
            nodes.pulling.send("witness", updates=updates + warm)
            limit_s = (updates + warm) * (pause_s + 0.1) + _MARGIN_S
            committed = nodes.serving.ask("publish", limit_s, updates=updates + warm, pause_s=pause_s)
            seen = nodes.pulling.answer(limit_s)
    pairs = zip(committed["committed_at_s"], seen["seen_at_s"], strict=True)
    latencies = [(shown - returned) * 1e3 for returned, shown in pairs][warm:]
    if len(latencies) != updates:
        raise BenchFailed(f"{len(latencies)} updates arrived of {updates}")
    return UpdateResult(updates, pause_s * 1e3, percentile(latencies, 50), percentile(latencies, 99), max(latencies))
