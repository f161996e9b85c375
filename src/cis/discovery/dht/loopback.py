"""A DHT of one's own on this machine: so many nodes on loopback, for tests and benchmarks, about 1 MB each.

::

    async with loopback_network(20) as network:
        settings = {"enable_dht": True, "dht_public_bootstrap": False, "bootstrap_nodes": network.bootstrap}
        await network.kill(5)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cis.discovery.address import join_endpoint
from cis.discovery.dht.options import DhtOptions
from cis.discovery.dht.session import DhtSession
from cis.discovery.dht.table import Address

ENTRIES = 3
_KNOWN_MIN, _JOINED_S, _POLL_S = 3, 30.0, 0.05


@dataclass
class LoopbackNetwork:
    """Sessions that know each other; the first `ENTRIES` are where others enter."""

    sessions: list[DhtSession] = field(default_factory=list)
    _running: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[Address, ...]:
        """Where others enter."""
        return tuple(one.addresses[0] for one in self.sessions[:ENTRIES])

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """The same as settings write it."""
        return tuple(join_endpoint(*address) for address in self.entries)

    async def kill(self, count: int) -> None:
        """End so many nodes, those that are entries last, without a word to the others."""
        for _ in range(count):
            session = self.sessions.pop()
            running = self._running.pop(id(session))
            running.cancel()
            await asyncio.wait((running,))
            await session.__aexit__()

    async def _add(self, host: str, group: asyncio.TaskGroup) -> None:
        session = await DhtSession(DhtOptions(host=host, bootstrap=self.entries, public=False)).__aenter__()
        self.sessions.append(session)
        self._running[id(session)] = group.create_task(session.run())


@asynccontextmanager
async def loopback_network(count: int, host: str = "127.0.0.1") -> AsyncIterator[LoopbackNetwork]:
    """Run so many DHT nodes until the block ends; all have joined when it begins."""
    network = LoopbackNetwork()
    async with asyncio.TaskGroup() as group:
        try:
            for _ in range(count):
                await network._add(host, group)  # noqa: SLF001 - of this room
            async with asyncio.timeout(_JOINED_S):
                for session in network.sessions:
                    while await session.nodes() < min(_KNOWN_MIN, count - 1):  # noqa: ASYNC110 - nothing tells of it
                        await asyncio.sleep(_POLL_S)
            yield network
        finally:
            await network.kill(len(network.sessions))
