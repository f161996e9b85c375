"""No descriptors are left: a running node may open nothing more for a while, and its peer comes back meanwhile.

Writes go on over what is open, what needs another file or socket waits or says so, and no node ends.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from faults.nodes import Crowd, cluster, trial
from faults.report import Fault, Report, Task, main

SQUEEZE_MAX_S = 2.0


async def _squeeze(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, SQUEEZE_MAX_S):
        victim = crowd.rng.choice(crowd.nodes)
        soft, hard = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
        used = _open(victim.pid)
        resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (used, hard))
        crowd.counts["nodes left without descriptors"] += 1
        if crowd.rng.random() < 0.5:
            (other,) = (node for node in crowd.nodes if node is not victim)
            await other.end()
            await crowd.start(other)
            crowd.counts["peers that came back meanwhile"] += 1
        await crowd.while_writing(SQUEEZE_MAX_S)
        if not victim.ended:
            resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (soft, hard))


def _open(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def run(task: Task, report: Report) -> None:
    """Squeeze that often."""
    with cluster("first", "second") as nodes:
        asyncio.run(trial(task, report, nodes, _squeeze, may_log=True))


FAULT = Fault("no descriptors", 100, "times that a node is left without", run)

if __name__ == "__main__":
    main(FAULT)
