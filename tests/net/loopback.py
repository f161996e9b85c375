"""What the tests of net share: a node on loopback, and waiting for what nothing announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cis.net import Certificate, Connection, Endpoint

Condition = Callable[[], object]


@dataclass
class Node:
    endpoint: Endpoint
    certificate: Certificate
    accepted: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)

    @property
    def port(self) -> int:
        return self.endpoint.address[1]

    async def dial(self, other: Node) -> Connection:
        return await self.endpoint.dial("127.0.0.1", other.port)


OpenNode = Callable[..., Awaitable[Node]]


async def until(condition: Condition, within_s: float = 10.0) -> None:
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0)


async def steady(measure: Callable[[], int], for_s: float = 0.3) -> int:
    """Wait until a number has stopped changing, and return it."""
    loop = asyncio.get_running_loop()
    last, since = measure(), loop.time()
    while loop.time() - since < for_s:
        await asyncio.sleep(0)
        if (now := measure()) != last:
            last, since = now, loop.time()
    return last
