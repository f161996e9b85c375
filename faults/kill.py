"""`kill -9` of either side, at any moment, while both write and synchronise: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio

from faults.nodes import Crowd, cluster, trial
from faults.report import Fault, Report, Task, main

LIFE_MAX_S = 0.6


async def _kill(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, LIFE_MAX_S):
        victim = crowd.rng.choice(crowd.nodes)
        await victim.end()
        crowd.counts["processes killed"] += 1
        await crowd.start(victim)


def run(task: Task, report: Report) -> None:
    """Kill that many processes."""
    with cluster("first", "second") as nodes:
        asyncio.run(trial(task, report, nodes, _kill))


FAULT = Fault("kill -9", 1_000, "kills", run)

if __name__ == "__main__":
    main(FAULT)
