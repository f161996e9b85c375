"""mDNS: nodes of one cluster find each other on the local network (RFC 6762, RFC 6763).

Each node announces ``<random>._cis._udp.local.`` with its addresses, port and a TXT record ``t=<tag>``; name
and tag change every quarter of an hour. Tags of others are recognised or ignored: whoever else is on the
network learns that a cis node is at an address, and not whose. What arrives is anybody's word: it is bounded,
checked, and leads at most to an attempt to dial an address of the local network.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import ifaddr
from zeroconf import Error, InterfaceChoice, IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from cis.discovery.address import Source, dialable
from cis.discovery.provider import SLOT_SECONDS, TAG_LENGTH, Sighting
from cis.discovery.tags import slot_of
from cis.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeroconf import Zeroconf

    from cis.discovery.provider import Announcement
    from cis.model.ids import NodeId

SERVICE = "_cis._udp"
TAG_KEY = b"t"
INSTANCES_MAX = 512
"""Instances remembered, and waiting to be looked at; beyond it new ones are dropped and counted."""
ADDRESSES_MAX = 16
_INCOMPLETE_MAX = 64
_ASKERS = 4
_ASK_MS = 3000
_HOST_TTL_S = 120
_CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class MdnsStatistics:
    """Counts since the start.

    ``foreign`` are tags of no member known here, ``malformed`` instances without a usable tag, ``dropped``
    what came too fast or was too much, ``failed`` announcements that could not be sent.
    """

    sighted: int = 0
    foreign: int = 0
    malformed: int = 0
    dropped: int = 0
    failed: int = 0


class Mdns:
    """The provider for the local network, over IPv4 multicast.

    ``interfaces`` are the IP addresses to speak on (all, if none are given); ``clock`` gives Unix seconds.
    """

    name = "mdns"

    def __init__(
        self,
        *,
        service: str = SERVICE,
        interval_s: float = 30.0,
        interfaces: Sequence[str] = (),
        allow_loopback: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._type = f"{service}.local."
        self._interval_s = interval_s
        self._interfaces = list(interfaces)
        self._allow_loopback = allow_loopback
        self._clock = clock
        self._own: AsyncServiceInfo | None = None
        self._own_tag: bytes | None = None
        self._instances: set[str] = set()
        self._new: asyncio.Queue[str] = asyncio.Queue(INSTANCES_MAX)
        self._incomplete: asyncio.Queue[str] = asyncio.Queue(_INCOMPLETE_MAX)
        self._statistics = MdnsStatistics()

    def failures(self) -> dict[str, str]:
        """Return nothing: what keeps it from working at all, `run` raises."""
        return {}

    def statistics(self) -> MdnsStatistics:
        return self._statistics

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Announce and look until cancelled; `Unavailable` when no interface can do multicast."""
        try:
            zeroconf = AsyncZeroconf(interfaces=self._interfaces or InterfaceChoice.All, ip_version=IPVersion.V4Only)
        except OSError as error:
            raise Unavailable(f"mDNS cannot use the network ({error}); peers can be set by address") from error
        browser: AsyncServiceBrowser | None = None
        try:
            browser = await self._browse(zeroconf.zeroconf)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._announce(zeroconf, announcement))
                group.create_task(self._look(zeroconf.zeroconf, announcement, found))
                for _ in range(_ASKERS):
                    group.create_task(self._ask(zeroconf.zeroconf, announcement, found))
        finally:
            await self._close(zeroconf, browser)

    async def _browse(self, zeroconf: Zeroconf) -> AsyncServiceBrowser:
        def on_change(*, name: str, state_change: ServiceStateChange, **_: object) -> None:
            if state_change is ServiceStateChange.Removed:
                self._instances.discard(name)
            else:
                self._remember(name)

        try:
            await zeroconf.async_wait_for_start()
        except (Error, TimeoutError) as error:
            raise Unavailable("mDNS did not start; peers can be set by address") from error
        return AsyncServiceBrowser(zeroconf, self._type, handlers=[on_change])

    def _remember(self, name: str) -> None:
        if self._own is not None and name == self._own.name:
            return
        if name not in self._instances and len(self._instances) >= INSTANCES_MAX:
            self._count(dropped=1)
            return
        self._instances.add(name)
        self._put(self._new, name)

    def _put(self, queue: asyncio.Queue[str], name: str) -> None:
        """Queue a name; when full it is dropped, counted, and looked at again after the next interval."""
        try:
            queue.put_nowait(name)
        except asyncio.QueueFull:
            self._count(dropped=1)

    async def _announce(self, zeroconf: AsyncZeroconf, announcement: Announcement) -> None:
        """Announce in intervals, under a new name and tag in every slot, and look again at who is there."""
        while True:
            now = self._clock()
            try:
                await self._announce_once(zeroconf, announcement, slot_of(now))
            except (Error, OSError):  # the network is away; it is tried again after the interval
                self._count(failed=1)
            await asyncio.sleep(min(self._interval_s, SLOT_SECONDS - now % SLOT_SECONDS))
            for name in sorted(self._instances):  # a stranger may have become a member meanwhile
                self._remember(name)

    async def _announce_once(self, zeroconf: AsyncZeroconf, announcement: Announcement, slot: int) -> None:
        tag = announcement.own_tag(slot)
        if self._own is not None and tag == self._own_tag:
            self._own = self._service(self._own.name.partition(".")[0], tag or b"", announcement.port())
            await (await zeroconf.async_update_service(self._own))
            return
        if self._own is not None:
            leaving, self._own = self._own, None
            await (await zeroconf.async_unregister_service(leaving))
        self._own_tag = tag
        if tag is not None:
            self._own = self._service(secrets.token_hex(16), tag, announcement.port())
            # The name is 128 random bits: asking around whether it is taken would only cost a second.
            await (await zeroconf.async_register_service(self._own, cooperating_responders=True))

    def _service(self, instance: str, tag: bytes, port: int) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            self._type,
            f"{instance}.{self._type}",
            server=f"{instance}.local.",
            port=port,
            properties={TAG_KEY: tag},
            parsed_addresses=self._interfaces or local_addresses(),
            host_ttl=_HOST_TTL_S,
            other_ttl=SLOT_SECONDS,
        )

    async def _look(self, zeroconf: Zeroconf, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Read instances whose records came along with their names; the others are asked for."""
        while True:
            name = await self._new.get()
            try:
                service = AsyncServiceInfo(self._type, name)
                complete = service.load_from_cache(zeroconf)
            except (Error, ValueError):
                self._reject(name)
                continue
            if complete:
                self._tell(service, announcement, found)
            else:
                self._put(self._incomplete, name)

    async def _ask(self, zeroconf: Zeroconf, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        while True:
            name = await self._incomplete.get()
            try:
                service = AsyncServiceInfo(self._type, name)
                answered = await service.async_request(zeroconf, _ASK_MS)
            except (Error, ValueError, OSError):
                answered = False
            if answered:
                self._tell(service, announcement, found)
            else:
                self._reject(name)

    def _reject(self, name: str) -> None:
        self._instances.discard(name)
        self._count(malformed=1)

    def _tell(self, service: AsyncServiceInfo, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        for sighting in self._sightings(service, announcement):
            found(sighting)

    def _sightings(self, service: AsyncServiceInfo, announcement: Announcement) -> list[Sighting]:
        """What an instance tells, if it carries the tag of a member."""
        tag = service.properties.get(TAG_KEY)
        if tag is None or len(tag) != TAG_LENGTH or not service.port:
            self._count(malformed=1)
            return []
        node = self._recognise(tag, announcement)
        if node is None:
            self._count(foreign=1)
            return []
        hosts = service.parsed_scoped_addresses(IPVersion.All)[:ADDRESSES_MAX]
        self._count(sighted=1)
        return [
            Sighting(Source.MDNS, host, service.port, node)
            for host in hosts
            if dialable(host, Source.MDNS, allow_loopback=self._allow_loopback)
        ]

    def _recognise(self, tag: bytes, announcement: Announcement) -> NodeId | None:
        slot = slot_of(self._clock())
        nodes = (announcement.recognise(tag, near) for near in (slot, slot - 1, slot + 1))
        return next((node for node in nodes if node is not None), None)

    def _count(self, **more: int) -> None:
        counts = {key: getattr(self._statistics, key) + value for key, value in more.items()}
        self._statistics = replace(self._statistics, **counts)

    async def _close(self, zeroconf: AsyncZeroconf, browser: AsyncServiceBrowser | None) -> None:
        """Say goodbye and close; bounded, since it happens while the node stops."""
        self._own = self._own_tag = None
        self._instances.clear()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                if browser is not None:
                    await browser.async_cancel()
                await zeroconf.async_close()
        except TimeoutError:
            zeroconf.zeroconf.close()


def local_addresses() -> list[str]:
    """The addresses of this machine's interfaces that others on its networks can use."""
    found = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ip_address(text)
            if not (address.is_loopback or address.is_unspecified or address.is_link_local):
                found.append(text)
    return found
