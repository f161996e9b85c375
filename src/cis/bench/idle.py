"""``cis bench idle``: a node with one connected peer and nothing to do; and how soon it is ready."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cis.bench.figures import BenchFailed, say
from cis.bench.pair import Child
from cis.bench.two_nodes import found_cluster, run_both

_LULL_S = 1.0


@dataclass(frozen=True, slots=True)
class IdleResult:
    """``bytes_per_s`` counts UDP payloads both ways, per neighbour; ``start_s`` from the process's start to ready."""

    seconds: float
    rss_mb: float
    cpu_percent: float
    bytes_per_s: float
    start_s: float


def bench_idle(seconds: float = 20.0) -> IdleResult:
    """Let two nodes meet, then watch the first one."""
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        serving, pulling = Path(folder) / "serving", Path(folder) / "pulling"
        found_cluster(serving, pulling)
        start_s = _start_s(serving)
        with run_both(serving, pulling) as nodes:
            nodes.connect()
            time.sleep(_LULL_S)
            say(f"watching for {seconds:g} s")
            before = nodes.serving.ask("mark")
            time.sleep(seconds)
            after = nodes.serving.ask("mark")
    if before["links"] != 1 or after["links"] != 1:
        raise BenchFailed("the two nodes did not stay connected")
    elapsed_s = after["at_s"] - before["at_s"]
    passed = sum(after[name] - before[name] for name in ("bytes_in", "bytes_out"))
    return IdleResult(
        seconds=elapsed_s,
        rss_mb=after["rss_mb"],
        cpu_percent=100 * (after["cpu_s"] - before["cpu_s"]) / elapsed_s,
        bytes_per_s=passed / elapsed_s,
        start_s=start_s,
    )


def _start_s(home: Path) -> float:
    with Child("node") as node:
        node.ask("open", home=str(home))
        ready_at: float = node.ask("start")["at_s"]
        return ready_at - node.started_at
