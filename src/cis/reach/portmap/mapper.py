"""The one mapping a node holds: found, renewed, watched, removed.

All protocols are asked at once, without mapping anything; the first to answer is then asked to map, and only where
it refuses the next one. So no mapping is made twice, and none has to be taken back: on many routers the three
write the same table, and removing the second would remove the first.

A mapping is renewed at half its lease. In between the router is asked every minute whether it still knows it,
since a router that restarts forgets (RFC 6886 § 3.6, RFC 6887 § 8.5); many say so themselves (`announcements`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cis.reach.portmap.announcements import Announcements, listening
from cis.reach.portmap.gateway import Gateway, default_gateway, own_address
from cis.reach.portmap.values import (
    LEASE_S,
    Mapping,
    NoAnswer,
    Outcome,
    PortmapClient,
    PortmapFacts,
    ProtocolFacts,
    ProtocolName,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CHECK_S = 60.0
"""How often the router is asked whether it still knows the mapping."""
SILENT_S = 10.0
"""How soon it is asked again when it did not answer."""
RETRY_S = 300.0
"""How long until the network is asked again where nothing could be mapped."""
RENEW_MIN_S = 15.0
"""No lease, however short, is renewed more often."""
MAP_S = 10.0
"""How long a router may take to map a port, all its tries together."""
RELEASE_S = 1.0
_NAMES: tuple[ProtocolName, ...] = ("pcp", "nat-pmp", "upnp")
_SEARCHED = "239.255.255.250"


def clients_of(gateway: Gateway | None, port: int) -> list[PortmapClient]:
    """A client of each protocol that can be spoken here: without a known gateway only UPnP, which searches."""
    from cis.reach.portmap.natpmp import NatPmp  # noqa: PLC0415 - only a node that maps its port pays for them
    from cis.reach.portmap.pcp import Pcp  # noqa: PLC0415 - as above
    from cis.reach.portmap.upnp import Upnp  # noqa: PLC0415 - as above

    if gateway is not None:
        return [Pcp(gateway, port), NatPmp(gateway, port), Upnp(gateway.own, gateway, port)]
    own = own_address(_SEARCHED)
    return [] if own is None else [Upnp(own, None, port)]


class Mapper:
    """Holds a port of the router for one UDP port of ours, as long as `run` runs.

    ``on_change`` is called whenever `mapping` came, went or became another.
    """

    def __init__(
        self,
        port: int,
        on_change: Callable[[], None],
        *,
        locate: Callable[[], Awaitable[Gateway | None]] = default_gateway,
        clients: Callable[[Gateway | None, int], Sequence[PortmapClient]] = clients_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._on_change = on_change
        self._locate = locate
        self._make = clients
        self._clock = clock
        self._gateway: Gateway | None = None
        self._clients: Sequence[PortmapClient] = ()
        self._facts = {name: ProtocolFacts(name) for name in _NAMES}
        self._mapping: Mapping | None = None
        self._holder: PortmapClient | None = None
        self._mapped_at = 0.0
        self._doubted = False
        self._turn = asyncio.Lock()
        self._again = asyncio.Event()

    @property
    def mapping(self) -> Mapping | None:
        """What is held now."""
        return self._mapping

    def facts(self) -> PortmapFacts:
        """What was found out, for people."""
        gateway = None if self._gateway is None else self._gateway.address
        return PortmapFacts(gateway, tuple(self._facts[name] for name in _NAMES), self._mapping)

    def again(self) -> None:
        """Ask again now: the network changed."""
        self._again.set()

    async def run(self) -> None:
        """Find, hold and renew a mapping until cancelled; then remove it, within a second."""
        announcements = Announcements(lambda: self.facts().gateway, self._on_restart)
        try:
            async with listening(announcements):
                while True:
                    self._again.clear()
                    await self._find()
                    await self._hold()
        finally:
            await self._release()

    def _on_restart(self) -> None:
        """The router says that it started again."""
        self._doubted = True
        self.again()

    async def _find(self) -> None:
        """Ask all protocols at once, and map by the first that does."""
        gateway = await self._locate()
        if gateway is None or gateway != self._gateway:
            self._gateway = gateway
            self._clients = self._make(gateway, self._port)
            self._facts = {name: ProtocolFacts(name) for name in _NAMES}
        if gateway is None:
            for name in _NAMES[:2]:
                self._note(name, detail="no default gateway is known")
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._try(client))

    async def _try(self, client: PortmapClient) -> None:
        started = self._clock()
        try:
            external = await client.probe()
            latency_s = self._clock() - started
            self._facts[client.name] = ProtocolFacts(client.name, Outcome.OK, latency_s, external)
            async with self._turn:
                if self._holder is None:
                    await self._map(client, self._port)
        except Refused as error:
            self._note(client.name, Outcome.REFUSED, str(error))
        except NoAnswer as error:
            self._note(client.name, Outcome.SILENT, str(error))

    async def _map(self, client: PortmapClient, wanted: int) -> None:
        """Map or renew by a client; what fails raises and leaves that client the holder of nothing."""
        before, self._holder, self._doubted = self._mapping, client, False
        try:
            async with asyncio.timeout(MAP_S):
                mapping = await client.map(wanted)
        except (Refused, NoAnswer, TimeoutError) as error:
            if before is None:
                self._holder = None
            if isinstance(error, TimeoutError):
                raise NoAnswer("the router took too long") from error
            raise
        self._mapped_at = self._clock()
        facts = self._facts[client.name]
        self._facts[client.name] = replace(facts, external=facts.external or mapping.host)
        self._set(mapping)

    async def _hold(self) -> None:
        """Keep what is held until it is lost, or the network has changed, or it is time to look again."""
        if self._mapping is None:
            await self._pause(RETRY_S)
        pause_s = self._check_s()
        while self._mapping is not None:
            if await self._pause(pause_s) and await self._moved():
                self._drop()
            else:
                pause_s = await self._check()

    async def _check(self) -> float:
        """Renew the mapping if it is time to, or if the router lost it or was away; seconds until the next check."""
        holder, mapping = self._holder, self._mapping
        assert holder is not None
        assert mapping is not None
        try:
            doubted = self._doubted or self._facts[holder.name].outcome is Outcome.SILENT
            if doubted or self._renewal_s() <= 0 or not await holder.alive():
                await self._map(holder, mapping.port)
        except NoAnswer as error:
            self._note(holder.name, Outcome.SILENT, str(error))
            if self._clock() - self._mapped_at > (mapping.lease_s or LEASE_S):
                self._drop()
            return SILENT_S
        except Refused as error:
            self._note(holder.name, Outcome.REFUSED, str(error))
            self._drop()
        else:
            self._note(holder.name, Outcome.OK)
        return self._check_s()

    def _check_s(self) -> float:
        return min(CHECK_S, self._renewal_s())

    def _renewal_s(self) -> float:
        """How many seconds until the mapping is to be renewed."""
        lease_s = LEASE_S if self._mapping is None else min(self._mapping.lease_s or LEASE_S, LEASE_S)
        return self._mapped_at + max(lease_s / 2, RENEW_MIN_S) - self._clock()

    async def _pause(self, seconds: float) -> bool:
        """Wait so long, or until `again`; whether that came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._again.wait()
        called = self._again.is_set()
        self._again.clear()
        return called

    async def _moved(self) -> bool:
        """Whether the router is another one by now, or knows us by another address."""
        return await self._locate() != self._gateway

    def _drop(self) -> None:
        """Let go of a mapping that is beyond reach."""
        self._holder = None
        self._set(None)

    def _set(self, mapping: Mapping | None) -> None:
        before, self._mapping = self._mapping, mapping
        if _identity(before) != _identity(mapping):
            self._on_change()

    def _note(self, name: ProtocolName, outcome: Outcome | None = None, detail: str = "") -> None:
        facts = self._facts[name]
        self._facts[name] = replace(facts, outcome=outcome or facts.outcome, detail=detail)

    async def _release(self) -> None:
        """Remove the mapping, made or half made; best effort, since the node is stopping."""
        holder, self._holder = self._holder, None
        self._mapping = None
        if holder is not None:
            with suppress(TimeoutError, Refused, NoAnswer):
                async with asyncio.timeout(RELEASE_S):
                    await holder.release()


def _identity(mapping: Mapping | None) -> tuple[object, ...]:
    return () if mapping is None else (mapping.protocol, mapping.external)
