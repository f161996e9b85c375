"""No memory is left: a running node may take no more address space for a while.

It may refuse writes, and it may end, as it would where the system ends it: what it acknowledged is there all the same.
It may stand still as well, and is then ended: a thread that lacks the memory to begin leaves whoever started it waiting
for ever (CPython's ``Thread.start``).
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from faults.nodes import Crowd, cluster, trial
from faults.report import Fault, Report, Task, main

SQUEEZE_MAX_S = 2.0
_ROOM_BYTES = (0, 1 << 20, 8 << 20, 32 << 20)


async def _squeeze(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, SQUEEZE_MAX_S):
        victim = crowd.rng.choice(crowd.nodes)
        limits = resource.prlimit(victim.pid, resource.RLIMIT_AS)
        bound = _taken(victim.pid) + crowd.rng.choice(_ROOM_BYTES)
        resource.prlimit(victim.pid, resource.RLIMIT_AS, (bound, limits[1]))
        crowd.counts["nodes left without memory"] += 1
        await crowd.while_writing(SQUEEZE_MAX_S)
        if not victim.ended:
            resource.prlimit(victim.pid, resource.RLIMIT_AS, limits)
            if not await crowd.answers(victim):
                crowd.counts["nodes that stood still, and were ended"] += 1
                await victim.end()
                await crowd.start(victim)


def _taken(pid: int) -> int:
    """Return how many bytes of address space a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def run(task: Task, report: Report) -> None:
    """Squeeze that often."""
    with cluster("first", "second") as nodes:
        asyncio.run(trial(task, report, nodes, _squeeze, may_end=True, may_log=True))


FAULT = Fault("no memory", 100, "times that a node is left without", run)

if __name__ == "__main__":
    main(FAULT)
