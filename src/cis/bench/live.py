"""One hop of a live update: the writer's side notes when a commit returns, the other's when a recall shows it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from cis.model import Kind
from cis.store.author import Write
from cis.wire.content import Content

if TYPE_CHECKING:
    from cis.node.driver import Driver
    from cis.node.home.local import LocalNode
    from cis.store.engine import Commit

KEYS = 50
WITNESS_S = 120.0


async def publish(local: LocalNode, updates: int, pause_s: float) -> list[float]:
    """Overwrite some memories in turn, pausing between; returns when each commit returned, on its own thread."""
    committed_at: list[float] = [0.0] * updates

    def note(number: int, _: Future[Any]) -> None:
        committed_at[number] = time.monotonic()

    for number in range(updates):
        content = Content(_key(number), b"update %d" % number)
        future = local.store.write([Write(local.cluster.public, Kind.PUT, content)])
        future.add_done_callback(lambda done, number=number: note(number, done))  # type: ignore[misc] # bound now
        await asyncio.wrap_future(future)
        await asyncio.sleep(pause_s)
    return committed_at


async def witness(local: LocalNode, driver: Driver, updates: int) -> list[float]:
    """Return when each update could be recalled, looking after every commit."""
    seen_at: list[float] = []
    done = asyncio.Event()

    def look(_: Commit) -> None:
        while len(seen_at) < updates and _shows(local, len(seen_at)):
            seen_at.append(time.monotonic())
        if len(seen_at) == updates:
            done.set()

    end = driver.watch(look)
    try:
        async with asyncio.timeout(WITNESS_S + updates):
            await done.wait()
    finally:
        end()
    return seen_at


def _shows(local: LocalNode, number: int) -> bool:
    recalled = local.store.reader.recall(local.cluster.public, _key(number))
    content = recalled.latest.content if recalled is not None else None
    return content is not None and int(content.value.split()[1]) >= number


def _key(number: int) -> str:
    return f"live/{number % KEYS:02d}"
