"""``cis bench resync``: what a session costs two nodes that are in step already."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cis.bench.figures import median, say
from cis.bench.pair import Child
from cis.bench.two_nodes import CONNECT_S, found_cluster, run_both
from cis.bench.workload import Workload


@dataclass(frozen=True, slots=True)
class ResyncResult:
    """``bytes`` of stream data both ways; ``round_trips`` the session waited for."""

    memories: int
    sessions: int
    bytes: int
    round_trips: int
    p50_ms: float


def bench_resync(memories: int = 1000, sessions: int = 20) -> ResyncResult:
    """Measure sessions after one that brought everything; the most bytes and round trips count."""
    workload = Workload(memories)
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        serving, pulling = Path(folder) / "serving", Path(folder) / "pulling"
        found_cluster(serving, pulling)
        with Child("node") as writer:
            writer.ask("open", home=str(serving))
            writer.ask("write", CONNECT_S, workload=dataclasses.asdict(workload), part="writes")
        with run_both(serving, pulling) as nodes:
            nodes.connect()
            say(f"{sessions} sessions with nothing to do")
            held = [nodes.pulling.ask("resync", node=nodes.at["node"]) for _ in range(sessions + 1)][1:]
    return ResyncResult(
        memories=memories,
        sessions=sessions,
        bytes=max(one["bytes"] for one in held),
        round_trips=max(one["round_trips"] for one in held),
        p50_ms=median([one["elapsed_ms"] for one in held]),
    )
