"""A peer that is slow to the point of standing still: stopped for a while, with all its connections open.

Nobody waits for it: the others go on acknowledging, and when it goes on, all come to the same.
"""

from __future__ import annotations

import asyncio
import signal

from faults.nodes import Crowd, cluster, trial
from faults.report import Fault, Report, Task, main

STOP_MAX_S = 5.0


async def _stop(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, STOP_MAX_S):
        victim = crowd.rng.choice(crowd.nodes)
        victim.signal(signal.SIGSTOP)
        crowd.counts["nodes stopped"] += 1
        try:
            await crowd.wait_acknowledged([node for node in crowd.nodes if node is not victim])
            await crowd.while_writing(STOP_MAX_S)
        except TimeoutError:
            crowd.report.broken.append("others wait for a node that stands still")
        finally:
            victim.signal(signal.SIGCONT)


def run(task: Task, report: Report) -> None:
    """Stop nodes that often."""
    with cluster("first", "second", "third") as nodes:
        asyncio.run(trial(task, report, nodes, _stop))


FAULT = Fault("slow peers", 100, "times that a node is stopped", run)

if __name__ == "__main__":
    main(FAULT)
