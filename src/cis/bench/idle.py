"""``cis bench idle``: a daemon with one connected peer and nothing to do; and how soon it is ready."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cis.bench.daemon import Daemon
from cis.bench.figures import BenchFailed, say
from cis.bench.pair import Child
from cis.bench.two_nodes import found_cluster
from cis.discovery.address import split_endpoint

LULL_S = 3.0
"""Let what follows a connection pass: records, the first session, the index."""
COMMANDS = 5


@dataclass(frozen=True, slots=True)
class IdleResult:
    """``bytes_per_s`` counts UDP payloads both ways, per neighbour; ``start_s`` from the process's start to ready.

    ``command_s`` is `cis status` beside it, a process of its own, the shortest of `COMMANDS`.
    """

    seconds: float
    rss_mb: float
    cpu_percent: float
    bytes_per_s: float
    start_s: float
    start_cpu_s: float
    command_s: float


def bench_idle(seconds: float = 20.0, lull_s: float = LULL_S) -> IdleResult:
    """Run `cis up`, let a neighbour connect to it, and watch."""
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        home, other = Path(folder) / "daemon", Path(folder) / "neighbour"
        found_cluster(home, other)
        with Daemon(home) as daemon, Child("node") as neighbour:
            status = daemon.status()
            assert status.listen is not None
            host, port = split_endpoint(status.listen)
            neighbour.ask("open", home=str(other))
            neighbour.ask("start")
            neighbour.ask("connect", node=status.did, host=host, port=port)
            time.sleep(lull_s)
            say(f"watching for {seconds:g} s")
            before, (_, cpu_before), began = neighbour.ask("mark"), daemon.usage(), time.monotonic()
            time.sleep(seconds)
            elapsed_s = time.monotonic() - began
            after, (rss_mb, cpu_after) = neighbour.ask("mark"), daemon.usage()
            connected, command_s = daemon.status().connected, daemon.command_s(COMMANDS)
    if len(connected) != 1:
        raise BenchFailed("the two nodes did not stay connected")
    passed = sum(after[name] - before[name] for name in ("bytes_in", "bytes_out"))
    return IdleResult(
        seconds=elapsed_s,
        rss_mb=rss_mb,
        cpu_percent=100 * (cpu_after - cpu_before) / elapsed_s,
        bytes_per_s=passed / elapsed_s,
        start_s=daemon.start_s,
        start_cpu_s=daemon.start_cpu_s,
        command_s=command_s,
    )
