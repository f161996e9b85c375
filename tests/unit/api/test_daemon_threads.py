"""The node's threads: those who ask wait in them, and nothing else waits for those who ask."""

from __future__ import annotations

import asyncio
import threading

from cis.api.daemon import _new_loop

ASKING = 40
PATIENCE_S = 20.0


def test_many_requests_that_wait_keep_nothing_else_waiting() -> None:
    gate = threading.Event()

    async def ask() -> bool:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for _ in range(ASKING):
                group.create_task(asyncio.to_thread(gate.wait, PATIENCE_S))
            try:
                return await asyncio.to_thread(lambda: not gate.is_set())
            finally:
                gate.set()

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        assert runner.run(ask())
