"""mDNS: nodes of one cluster find each other on the local network (RFC 6762, RFC 6763).

On each network it is on a node announces ``<random>._cis._udp.local.`` with its addresses there, its port and a TXT
record ``t=<tag>``; name and tag change every quarter of an hour, with the announcement that is due next. Tags of others
are recognised or ignored: whoever else is on the network learns that a cis node is at an address, and not whose.
What arrives is anybody's word: it is bounded, checked, and leads at most to an attempt to dial an address that
the local network may speak of (`cis.discovery.address`).

How much is said, and when, is in :mod:`cis.discovery.pace`; docs/discovery.md has the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cis.discovery import instances, multicast
from cis.discovery.address import Source, dialable
from cis.discovery.instances import Instance
from cis.discovery.pace import Pace
from cis.discovery.provider import SLOT_SECONDS, Sighting
from cis.discovery.tags import slot_of
from cis.rate import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cis.discovery.multicast import Channel, Interface
    from cis.discovery.provider import Announcement
    from cis.model.ids import NodeId

SERVICE = "_cis._udp"
INSTANCES_MAX = 512
"""Instances remembered on one network; of those beyond it each word counts once."""
TOLD_PER_S, TOLD_BURST = 50, 500
"""Instances told of a second; a flood of them must not keep the node busy."""
SIGHTINGS_MAX = 4
SECOND_S = 0.25
"""From one address of a node to the next (RFC 8305 §5): mostly the first one leads there."""
LOOK_S = 5.0
"""How often it is looked whether the interfaces are still the same, where nobody says so."""
_TTL_S_MAX = SLOT_SECONDS


@dataclass(frozen=True)
class MdnsStatistics:
    """Counts since the start.

    ``foreign`` are tags of no member known here, ``malformed`` instances without a usable tag or port, ``dropped``
    those that were too many, ``sent`` datagrams, ``failed`` those that could not be sent.
    """

    sighted: int = 0
    foreign: int = 0
    malformed: int = 0
    dropped: int = 0
    sent: int = 0
    failed: int = 0


@dataclass
class Segment:
    """One network this node is on: its sockets there, what it is called there, and who else was heard."""

    interface: Interface
    pace: Pace
    channels: list[Channel] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    name: str = ""
    tag: bytes | None = None
    heard: dict[str, tuple[Instance, float]] = field(default_factory=dict)
    tell_at: float = float("-inf")
    """when to tell of them again"""

    def send(self, datagram: bytes) -> tuple[int, int]:
        """Send on all families; returns how many times that worked and did not."""
        outcomes = [channel.send(datagram) for channel in self.channels]
        return sum(outcomes), len(outcomes) - sum(outcomes)

    def close(self) -> None:
        """Leave the network."""
        for channel in self.channels:
            channel.close()
        self.channels = []


class Mdns:
    """The provider for the local network; implements `cis.discovery.provider.Roaming` too.

    ``interfaces`` are the addresses to announce, and so the networks to speak on (all but loopback, if none are
    given); ``ipv6`` says whether this node has IPv6 at all; ``clock`` gives Unix seconds.
    """

    name = "mdns"

    def __init__(
        self,
        *,
        service: str = SERVICE,
        interval_s: float = 30.0,
        interfaces: Sequence[str] = (),
        ipv6: bool = True,
        allow_loopback: bool = False,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._service = f"{service}.local."
        self._interval_s = interval_s
        self._interfaces = tuple(interfaces)
        self._ipv6 = ipv6
        self._allow_loopback = allow_loopback
        self._clock = clock
        self._rng = rng or random.Random()
        self._segments: dict[int, Segment] = {}
        self._statistics = MdnsStatistics()
        self._stirred = asyncio.Event()
        self._changed = False
        self._telling = Bucket(per_s=TOLD_PER_S, burst=TOLD_BURST)
        self._later: list[tuple[float, Sighting]] = []
        self._announcement: Announcement
        self._found: Callable[[Sighting], None]

    def failures(self) -> dict[str, str]:
        """Return the interfaces it cannot speak on, and why."""
        return {
            f"mdns on {one.interface.name}": f"{', '.join(one.problems)}; peers can be set by address"
            for one in self._segments.values()
            if one.problems
        }

    def statistics(self) -> MdnsStatistics:
        return self._statistics

    def network_changed(self) -> None:
        """Begin anew on every network."""
        self._changed = True
        self._stirred.set()

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Announce and look until cancelled, on whatever networks there are at the time."""
        self._announcement, self._found = announcement, found
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        try:
            while True:
                now = loop.time()
                if now >= look_at or self._changed:
                    self._look(now)
                    look_at = now + LOOK_S
                for segment in list(self._segments.values()):
                    if segment.pace.due <= now:
                        self._speak(segment, now)
                self._tell_due(now)
                due = [one.pace.due for one in self._segments.values()] + [at for at, _ in self._later]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(min([look_at, *due])):
                        await self._stirred.wait()
                self._stirred.clear()
        finally:
            self._leave()

    # --- networks --------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Open what is new, close what is gone, and begin anew where something changed."""
        changed, self._changed = self._changed, False
        there = {one.index: one for one in multicast.interfaces(self._interfaces, ipv6=self._ipv6)}
        for index in [index for index in self._segments if index not in there]:
            self._segments.pop(index).close()
        for index, interface in there.items():
            segment = self._segments.get(index)
            if segment is None:
                segment = self._segments[index] = Segment(interface, Pace(self._rng, self._interval_s, now))
                self._open(segment)
            elif segment.interface != interface or (segment.problems and (changed or not segment.channels)):
                segment.interface = interface
                segment.close()
                self._open(segment)
                segment.pace.begin(now)
            elif changed:
                segment.pace.begin(now)

    def _open(self, segment: Segment) -> None:
        def on_datagram(data: bytes) -> None:
            self._on_datagram(segment, data)

        segment.channels, segment.problems = multicast.open_channels(segment.interface, on_datagram)

    def _leave(self) -> None:
        for segment in self._segments.values():
            if segment.tag is not None:
                segment.send(instances.goodbye(self._service, segment.name))
            segment.close()
        self._segments.clear()
        self._later.clear()

    # --- speaking --------------------------------------------------------------------------------------------------

    def _speak(self, segment: Segment, now: float) -> None:
        """Show this node, ask where that is due, and tell again of those who were heard."""
        segment.heard = {name: kept for name, kept in segment.heard.items() if kept[1] > now}
        around = len(segment.heard)
        tag = self._announcement.own_tag(slot_of(self._clock()))
        if tag != segment.tag:  # of a name that is left nothing is said: a goodbye would lead to the next one
            segment.tag, segment.name = tag, f"{secrets.token_hex(16)}.{self._service}"
        own = None
        if tag is not None:
            hosts = tuple(str(one.ip) for one in segment.interface.addresses)
            own = Instance(segment.name, tag, self._announcement.port(), hosts, segment.pace.ttl_s(around))
        datagrams = [instances.question(self._service, own)] if segment.pace.asks else []
        if own is not None:
            datagrams.append(instances.announcement(self._service, own))
        outcomes = [segment.send(datagram) for datagram in datagrams]
        sent, failed = sum(done for done, _ in outcomes), sum(lost for _, lost in outcomes)
        self._count(sent=sent, failed=failed)
        segment.pace.on_spoke(now, around, wanting=not around or tag is None, sent=not failed)
        if now >= segment.tell_at:  # a stranger may have become a member meanwhile
            segment.tell_at = now + segment.pace.interval_s(around)
            for instance, _ in list(segment.heard.values()):
                self._tell(segment, instance, now)

    # --- hearing ---------------------------------------------------------------------------------------------------

    def _on_datagram(self, segment: Segment, data: bytes) -> None:
        said = instances.read(data, self._service)
        now = asyncio.get_running_loop().time()
        self._count(malformed=said.malformed)
        if said.asked and self._is_asked(segment, said):
            segment.pace.on_asked(now, len(segment.heard))
            self._stirred.set()
        for name in said.gone:
            segment.heard.pop(name, None)
        own = {one.name for one in self._segments.values()}
        for instance in said.instances:
            if instance.name not in own:
                self._hear(segment, instance, now)

    def _is_asked(self, segment: Segment, said: instances.Said) -> bool:
        if segment.tag is None or segment.name in said.known:
            return False
        server = f"{segment.name.partition('.')[0]}.local."
        return any(name in {self._service, segment.name, server} for name in said.asked)

    def _hear(self, segment: Segment, instance: Instance, now: float) -> None:
        """Take in an instance, and tell of it if it says anything new."""
        kept, _ = segment.heard.get(instance.name, (None, now))
        if kept is not None or len(segment.heard) < INSTANCES_MAX:
            segment.heard[instance.name] = (instance, now + min(instance.ttl_s, _TTL_S_MAX))
        else:
            self._count(dropped=1)
        if kept is None or replace(kept, ttl_s=instance.ttl_s) != instance:
            self._tell(segment, instance, now)

    def _tell(self, segment: Segment, instance: Instance, now: float) -> None:
        """Tell where a member is, if the instance carries the tag of one."""
        node = self._recognise(instance.tag)
        if node is None:
            self._count(foreign=1)
        elif not self._telling.take(1, now):
            self._count(dropped=1)
        else:
            self._count(sighted=1)
            for place, host in enumerate(self._best(segment.interface, instance.hosts)):
                self._later.append((now + place * SECOND_S, Sighting(Source.MDNS, host, instance.port, node)))
            self._tell_due(now)
            self._stirred.set()

    def _tell_due(self, now: float) -> None:
        """Tell the first address of a member at once, and the next ones only once that had time to lead somewhere."""
        due = [sighting for at, sighting in self._later if at <= now]
        self._later = [(at, sighting) for at, sighting in self._later if at > now]
        for sighting in due:
            self._found(sighting)

    def _best(self, interface: Interface, hosts: Sequence[str]) -> list[str]:
        """Return where to dial: one address of each family that lies on this network; without any, whatever may be."""
        scoped = [interface.scoped(host) for host in hosts]
        usable = [host for host in scoped if dialable(host, Source.MDNS, allow_loopback=self._allow_loopback)]
        near = [host for host in usable if interface.reaches(host.partition("%")[0])]
        near.sort(key=lambda host: "%" in host)
        best = {":" in host: host for host in reversed(near)}
        if best:
            return [best[ipv6] for ipv6 in (False, True) if ipv6 in best]
        return [host for host in usable if "%" not in host][:SIGHTINGS_MAX]

    def _recognise(self, tag: bytes) -> NodeId | None:
        slot = slot_of(self._clock())
        nodes = (self._announcement.recognise(tag, near) for near in (slot, slot - 1, slot + 1))
        return next((node for node in nodes if node is not None), None)

    def _count(self, **more: int) -> None:
        counts = {key: getattr(self._statistics, key) + value for key, value in more.items()}
        self._statistics = replace(self._statistics, **counts)
