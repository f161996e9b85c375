"""A process that is a hash table of one's own: so many DHT nodes on loopback, and a client that measures it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from typing import Any

from cis.bench.figures import BenchFailed
from cis.discovery.dht.lookup import CLOSEST
from cis.discovery.dht.loopback import LoopbackNetwork, loopback_network
from cis.discovery.dht.options import DhtOptions
from cis.discovery.dht.session import DhtSession

VALUE_BYTES = 900
"""About what a sealed record has."""
JOINED_S = 30.0
_POLL_S = 0.005


class DhtRole:
    """``start`` first."""

    def __init__(self, _: asyncio.TaskGroup) -> None:
        self._kept = AsyncExitStack()
        self._network: LoopbackNetwork
        self._values: list[bytes] = []

    async def close(self) -> None:
        await self._kept.aclose()

    async def on_start(self, nodes: int, values: int = 0) -> dict[str, Any]:
        """Run so many nodes and store values among them; returns where others enter."""
        self._network = await self._kept.enter_async_context(loopback_network(nodes))
        for place in range(values):
            session = self._network.sessions[place % len(self._network.sessions)]
            target, copies = await session.put_immutable(os.urandom(VALUE_BYTES))
            if not copies:
                raise BenchFailed("no node took a value")
            self._values.append(target)
        return {"bootstrap": list(self._network.bootstrap)}

    async def on_kill(self, count: int) -> None:
        """End so many of them without a word."""
        await self._network.kill(count)

    async def on_client(self) -> dict[str, Any]:
        """Join with one more node, and look every value up from there.

        It has joined once a search of its own reaches as many nodes as keep an item. A value that is not found is
        missing from the times.
        """
        began = time.monotonic()
        options = DhtOptions(host="127.0.0.1", bootstrap=self._network.entries, public=False)
        async with DhtSession(options) as client, asyncio.TaskGroup() as group:
            running = group.create_task(client.run())
            while len(await client.closest(os.urandom(20))) < CLOSEST:
                if time.monotonic() - began > JOINED_S:
                    raise BenchFailed(f"a DHT node had not joined after {JOINED_S:g} s")
                await asyncio.sleep(_POLL_S)
            join_s = time.monotonic() - began
            times_ms = []
            for target in self._values:
                asked = time.perf_counter()
                if await client.get_immutable(target) is not None:
                    times_ms.append((time.perf_counter() - asked) * 1e3)
            running.cancel()
        return {"join_s": join_s, "lookups_ms": times_ms}
