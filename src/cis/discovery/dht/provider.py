"""The Mainline DHT: a node leaves its sealed record there, and looks for those of members it has no connection with.

In each slot of 15 minutes a node's item (BEP 44) lies under another key, its beacon's (`cis.trust.beacons`): members
compute it, nobody else can tell whose it is or that it is the same node's as the last one, and only the node can write
it. All items are of one size. Nothing is announced for an info-hash. An item is put at the beginning of its slot, a
little before that for those whose clocks are ahead, when the record changes, and every few minutes, since the nodes
that keep it come and go. Members are sought in this slot and its neighbours.

What is found there proves nothing; the handshake does. When the network under the node changes, the DHT node is
made anew, with another port and id, so that it is not the same one to be met again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from cis.discovery.beacons import Sought
from cis.discovery.dht.options import DhtOptions, load_libtorrent
from cis.discovery.dht.seeking import Seeking
from cis.discovery.dht.session import DhtSession
from cis.discovery.provider import Announcement, Sighting
from cis.discovery.sealed import SealedRecords
from cis.errors import PeerFault, Unavailable
from cis.model import NodeId
from cis.trust.beacons import SLOT_S, Beacon, beacon_slot, open_item, seal_item

AGAIN_S = 240.0
"""How long an item is left alone; each time a little else, so that no two nodes keep in step."""
EARLY_S = (20.0, 80.0)
"""How long before its slot an item is put."""
BIND_AGAIN_S = 30.0
UNHEARD_S = 30.0
"""How long nobody in the DHT may answer before that is told as a problem."""
_POLL_S = 0.5
_PUT_AGAIN_S = (0.5, 4.0)
_KEPT_SLOTS = 4


@dataclass
class Published:
    """What became of an item: the record in it, when it was put last and when it is again, and how many took it."""

    record: bytes
    at: float
    again_at: float
    copies: int = 0
    failures: int = 0


class _Changed(Exception):
    """The network under the node is another."""


class DhtProvider:
    """The provider of one node; ``clock`` gives Unix seconds."""

    name = "dht"

    def __init__(
        self,
        options: DhtOptions,
        *,
        allow_loopback: bool = False,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        self.options = options
        self.session: DhtSession | None = None
        self.published: dict[int, Published] = {}
        """by slot"""
        self.looked, self.found = 0, 0
        self._allow_loopback = allow_loopback
        self._clock = clock
        self._rng = rng or Random()
        self._seeking = Seeking(self._rng)
        self._early_s = self._rng.uniform(*EARLY_S)
        self._changed = asyncio.Event()
        self._problem: str | None = None
        self._announcement: Announcement | None = None

    def failures(self) -> dict[str, str]:
        """Return why nothing can be found there now, if so."""
        return {self.name: self._problem} if self._problem is not None else {}

    def network_changed(self) -> None:
        """Begin anew."""
        self._changed.set()

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Publish and look until cancelled; `Unavailable` where libtorrent is missing."""
        load_libtorrent()
        self._announcement = announcement
        while True:
            self._changed.clear()
            try:
                async with DhtSession(self.options) as self.session:
                    self._problem = None
                    await self._live(self.session, announcement, found)
            except Unavailable as error:
                self._problem = str(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), BIND_AGAIN_S)
            finally:
                self.session = None
            self._seeking.hurry(time.monotonic())

    async def announce(self) -> int:
        """Put this node's item of the present slot now; returns how many nodes took it."""
        if self.session is None or self._announcement is None:
            raise Unavailable(self._problem or "the DHT is about to start: try again in a moment")
        slot = beacon_slot(self._clock())
        beacon, record = self._announcement.own_beacon(slot), self._announcement.short_record()
        if beacon is None or not record:
            raise Unavailable("this node has nothing to announce yet")
        return (await self._put(self.session, slot, beacon, record)).copies

    def add_bootstrap(self, host: str, port: int) -> None:
        """Enter the network there too, now and after the network has changed."""
        entries = ((host, port), *(one for one in self.options.bootstrap if one != (host, port)))
        self.options = replace(self.options, bootstrap=entries)
        if self.session is not None:
            self.session.add_bootstrap(host, port)

    async def _live(self, session: DhtSession, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Do everything until the network changes."""
        self.published.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(session.run())
                group.create_task(self._publish(session, announcement))
                group.create_task(self._look(session, announcement, found, group))
                group.create_task(self._listen(session))
                await self._changed.wait()
                raise _Changed
        except* _Changed:
            pass

    async def _listen(self, session: DhtSession) -> None:
        """Notice when nobody answers."""
        heard_at = time.monotonic()
        while True:
            if await session.nodes():
                heard_at, self._problem = time.monotonic(), None
            elif time.monotonic() - heard_at > UNHEARD_S:
                where = "the public entry points" if self.options.public else "p2p.discovery.bootstrap_nodes"
                self._problem = f"no node of the DHT answers: does UDP reach {where}?"
            await asyncio.sleep(UNHEARD_S / 6)

    # --- this node's item ----------------------------------------------------------------------------------------

    async def _publish(self, session: DhtSession, announcement: Announcement) -> None:
        while True:
            record = announcement.short_record()
            for slot in self._slots_to_show():
                beacon, before = announcement.own_beacon(slot), self.published.get(slot)
                due = before is None or before.record != record or time.monotonic() >= before.again_at
                if beacon is not None and record and due:
                    await self._put(session, slot, beacon, record)
            await asyncio.sleep(_POLL_S)

    async def _put(self, session: DhtSession, slot: int, beacon: Beacon, record: bytes) -> Published:
        item = seal_item(beacon.discovery_key, beacon.tag, record, os.urandom)
        copies = await session.put(beacon.key, item, beacon.sign)
        before, now = self.published.get(slot), time.monotonic()
        failures = 0 if copies else (before.failures if before is not None else 0) + 1
        least, most = _PUT_AGAIN_S
        wait_s = AGAIN_S if copies else min(least * 2 ** min(failures, 16), most)
        done = Published(record, now, now + wait_s * self._rng.uniform(0.7, 1.0), copies, failures)
        self.published[slot] = done
        for old in sorted(self.published)[:-_KEPT_SLOTS]:
            del self.published[old]
        return done

    def _slots_to_show(self) -> list[int]:
        """This slot, and towards its end the next: until then those whose clocks are ahead find this one."""
        now = self._clock()
        slot = beacon_slot(now)
        return [slot, slot + 1] if (slot + 1) * SLOT_S - now < self._early_s else [slot]

    # --- the others' ---------------------------------------------------------------------------------------------

    async def _look(
        self,
        session: DhtSession,
        announcement: Announcement,
        found: Callable[[Sighting], None],
        group: asyncio.TaskGroup,
    ) -> None:
        records = SealedRecords(announcement, allow_loopback=self._allow_loopback, clock=self._clock)
        while True:
            members = await asyncio.to_thread(self._members, announcement)
            for node in self._seeking.due(members, announcement.connected(), time.monotonic()):
                group.create_task(self._look_for(session, node, members[node], records, found))
            await asyncio.sleep(_POLL_S)

    def _members(self, announcement: Announcement) -> dict[NodeId, list[list[tuple[bytes, Sought]]]]:
        """Return for each member what it may be found under: in this slot, and in its neighbours."""
        slot = beacon_slot(self._clock())
        members: dict[NodeId, list[list[tuple[bytes, Sought]]]] = {}
        for place, near in enumerate(((slot,), (slot - 1, slot + 1))):
            for one in near:
                for tag, sought in announcement.other_beacons(one).items():
                    members.setdefault(sought.node, [[], []])[place].append((tag, sought))
        return members

    async def _look_for(
        self,
        session: DhtSession,
        node: NodeId,
        places: list[list[tuple[bytes, Sought]]],
        records: SealedRecords,
        found: Callable[[Sighting], None],
    ) -> None:
        """Look for a member in this slot, then in its neighbours, until it is found."""
        try:
            for beacons in places:
                self.looked += len(beacons)
                items = await asyncio.gather(*(session.get(sought.public) for _, sought in beacons))
                told = [
                    sighting
                    for (tag, sought), item in zip(beacons, items, strict=True)
                    for sighting in records.sightings_in(node, _opened(sought, tag, item.value if item else None))
                ]
                for sighting in told:
                    found(sighting)
                if told:
                    self.found += 1
                    return
        finally:
            self._seeking.ended(node)


def _opened(sought: Sought, tag: bytes, value: object) -> bytes:
    """Return the record in what was found under a beacon's key; empty where it is none."""
    if not isinstance(value, bytes):
        return b""
    try:
        return open_item(sought.key, tag, value)
    except PeerFault:
        return b""
