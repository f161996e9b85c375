"""The disk under a running node fails a fifth of what is asked of it, for a while: it refuses, reads on, and recovers.

`faults.io_errors` has each operation of a store fail in turn; here a whole node meets such a disk, with a peer that
synchronises with it.
"""

from __future__ import annotations

import asyncio

from faults.nodes import Crowd, cluster, trial
from faults.report import Fault, Report, Task, main

SICK_MAX_S = 3.0


async def _sicken(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, SICK_MAX_S):
        victim = crowd.rng.choice(crowd.nodes)
        assert victim.sick is not None
        victim.sick.touch()
        crowd.counts["times a disk was sick"] += 1
        await crowd.while_writing(SICK_MAX_S)
        victim.sick.unlink()
        if not victim.ended:
            try:
                await crowd.wait_acknowledged([victim])
            except TimeoutError:
                crowd.report.broken.append(f"{victim.home.name} takes no writes on a disk that is well again")


def run(task: Task, report: Report) -> None:
    """Have disks be sick that often."""
    with cluster("first", "second") as nodes:
        for node in nodes:
            node.sick = node.home.with_suffix(".sick")
        asyncio.run(trial(task, report, nodes, _sicken, may_log=True))


FAULT = Fault("a sick disk", 100, "times that a disk is sick", run)

if __name__ == "__main__":
    main(FAULT)
