"""A node of the Mainline DHT in this process: it serves others, finds and puts items, and says how it stands.

::

    async with DhtSession(DhtOptions(public=False, bootstrap=entries)) as session, asyncio.TaskGroup() as group:
        group.create_task(session.run())
        copies = await session.put(key, b"value", sign)
        item = await session.get(key)

`cis.discovery.dht.engine` keeps the routing table and answers the others; what this node itself seeks and puts,
`cis.discovery.dht.asking` does, from that table.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from hashlib import sha1
from typing import Self

from cis.discovery.dht.asking import VALUE_BYTES_MAX, Asker, Found, Item, Sign, Sought
from cis.discovery.dht.engine import Engine
from cis.discovery.dht.lookup import Known
from cis.discovery.dht.options import DhtOptions
from cis.discovery.dht.table import Address, write_nodes

GET_S, GRACE_S = 5.0, 0.3
"""How long an item is sought, and for how long newer ones are once one is found."""
PUT_S = 10.0
_FEW_NODES, _ENOUGH_NODES = 3, 16
_JOIN_AGAIN_S, _FILL_AGAIN_S, _SAVE_S = 0.25, 20.0, 300.0
_RESOLVED_MAX = 8


class DhtSession:
    """A DHT node; an asynchronous context manager. Everything belongs to the loop's thread."""

    def __init__(self, options: DhtOptions) -> None:
        self.options = options
        self._bootstrap = list(options.bootstrap)
        self._entered_anew = asyncio.Event()
        self._engine: Engine
        self._asker: Asker

    async def __aenter__(self) -> Self:
        """Bind, and turn the DHT on; `Unavailable` without libtorrent or a free port."""
        self._engine = Engine(self.options)
        self._asker = Asker(self._engine.library, public=self.options.public)
        try:
            await self._engine.open()
            await self._asker.open(hosts_to_ask_from(self.options.host, self.addresses))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.save()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._asker.close()
        await self._engine.close()

    @property
    def addresses(self) -> list[Address]:
        """Where the DHT listens."""
        return self._engine.addresses

    @property
    def asking_from(self) -> list[Address]:
        """Where it is asked from; nothing listens there."""
        return self._asker.addresses

    # --- items ---------------------------------------------------------------------------------------------------

    async def put(self, key: bytes, value: bytes, sign: Sign, salt: bytes = b"") -> int:
        """Store a value under an Ed25519 key, numbered above what is there; returns how many nodes took it."""
        return await self._put(Sought.mutable(key, salt), value, sign)

    async def get(self, key: bytes, salt: bytes = b"", *, timeout_s: float = GET_S) -> Item | None:
        """Return the newest of what is stored under a key, as far as the first replies tell; None for nothing."""
        return (await self._search(Sought.mutable(key, salt), timeout_s, GRACE_S)).item

    async def put_immutable(self, value: bytes) -> tuple[bytes, int]:
        """Store a value under its own hash; returns that, and how many nodes took it."""
        target = sha1(b"%d:%s" % (len(value), value), usedforsecurity=False).digest()
        return target, await self._put(Sought(target), value, None)

    async def get_immutable(self, target: bytes, *, timeout_s: float = GET_S) -> Item | None:
        """Return the value whose hash it is; None where nobody has it."""
        return (await self._search(Sought(target), timeout_s, 0.0)).item

    async def closest(self, target: bytes, *, timeout_s: float = GET_S) -> list[Known]:
        """Return the nodes that answer closest to a target, the closest first."""
        return (await self._search(Sought(target), timeout_s)).answered

    async def _put(self, sought: Sought, value: bytes, sign: Sign | None) -> int:
        assert len(value) <= VALUE_BYTES_MAX, "BEP 44 has no room for more"
        return await self._asker.put(sought, value, await self._search(sought, PUT_S), sign)

    async def _search(self, sought: Sought, timeout_s: float, grace_s: float | None = None) -> Found:
        """Search until it is over or the time is; with a grace, no longer than that once an item is found."""
        found, now = Found(), asyncio.get_running_loop().time
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s) as limit:

                def end_soon() -> None:
                    if grace_s is not None and not limit.expired():
                        limit.reschedule(now() + grace_s)

                found.on_first = end_soon
                await self._asker.search(sought, await self.routing_table(), found)
        return found

    # --- nodes ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Enter the network, stay in it, fill the routing table and save it now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        save_at = loop.time() + _SAVE_S
        while True:
            self._entered_anew.clear()
            count = await self.nodes()
            if count < _FEW_NODES:
                await self._enter()
            if count < _ENOUGH_NODES:
                self._engine.wander()
            if loop.time() > save_at:
                save_at = loop.time() + _SAVE_S
                await self.save()
            with contextlib.suppress(TimeoutError):
                pause_s = _JOIN_AGAIN_S if count < _FEW_NODES else _FILL_AGAIN_S
                await asyncio.wait_for(self._entered_anew.wait(), pause_s)
                await self._enter()

    def add_bootstrap(self, host: str, port: int) -> None:
        """Enter the network there too, now and whenever it has to be entered."""
        if (host, port) not in self._bootstrap:
            self._bootstrap.insert(0, (host, port))
        self._entered_anew.set()

    async def statistics(self) -> dict[str, int]:
        """Return libtorrent's counters of the DHT."""
        return await self._engine.statistics()

    async def nodes(self) -> int:
        """Return how many nodes the routing table holds."""
        return (await self.statistics()).get("nodes", 0)

    async def routing_table(self) -> list[Known]:
        """Return the nodes in the routing table that answer."""
        return await self._engine.routing_table()

    async def save(self) -> None:
        """Write the nodes known to the file of the options, if there is one."""
        if self.options.state is not None and (nodes := await self._engine.nodes_to_keep()):
            await asyncio.to_thread(write_nodes, self.options.state, nodes)

    async def _enter(self) -> None:
        """Ask the entry points of one's own; the public ones libtorrent asks by itself."""
        for host, port in tuple(self._bootstrap):
            with contextlib.suppress(OSError, UnicodeError):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                for _, _, _, _, address in found[:_RESOLVED_MAX]:
                    self._engine.meet(str(address[0]), port)


def hosts_to_ask_from(host: str, addresses: list[Address]) -> list[str]:
    """Return the addresses to ask from, for a DHT told to listen on a host, which does so at these addresses."""
    if not ipaddress.ip_address(host).is_unspecified:
        return [host]
    families = {ipaddress.ip_address(one).version for one, _ in addresses}
    return [wildcard for version, wildcard in ((4, "0.0.0.0"), (6, "::")) if version in families]  # noqa: S104 - to ask
