"""Sealed records: what a node leaves with a service that can read none of them, and what it makes of the others'.

Every provider that keeps records with strangers, an anchor, a hash table or one of somebody else's, leaves this node's
signed record sealed under its beacon of the slot (`cis.trust.beacons`) and looks for those of the other members, of
this slot and its neighbours since clocks differ. What comes back is opened with the discovery key, verified, and told
as sightings of what may be dialled; whatever is not a member's record counts for nothing::

    records = SealedRecords(announcement)
    for beacon in records.own():
        await service.put(beacon.tag, records.sealed(beacon))
    for tag in await records.sought():
        for sighting in records.sightings(tag, await service.get(tag)):
            found(sighting)
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence

from cis.discovery.address import Source, dialable
from cis.discovery.beacons import Sought
from cis.discovery.provider import Announcement, Sighting
from cis.errors import PeerFault
from cis.model import NodeId
from cis.trust.beacons import Beacon, beacon_slot, open_record, seal_record
from cis.trust.records import read_record


class SealedRecords:
    """This node's, and how to open those of the other members; ``clock`` gives Unix seconds.

    By ``lag_s`` after the others this node goes on to its next beacon, so that not all come at the same moment.
    """

    def __init__(
        self,
        announcement: Announcement,
        *,
        allow_loopback: bool = False,
        clock: Callable[[], float] = time.time,
        lag_s: float = 0.0,
    ) -> None:
        self._announcement = announcement
        self._allow_loopback = allow_loopback
        self._clock = clock
        self._lag_s = lag_s
        self._sealed: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self._sought: dict[bytes, Sought] = {}

    def own(self) -> Sequence[Beacon]:
        """Return this node's beacons, of this slot first; none while it has no key."""
        found = (self._announcement.own_beacon(slot) for slot in self._slots(self._lag_s))
        return [beacon for beacon in found if beacon is not None]

    def sealed(self, beacon: Beacon) -> bytes:
        """Return this node's record, sealed once for each beacon while it stays the same."""
        record = self._announcement.record()
        tag, of, sealed = self._sealed
        if (tag, of) != (beacon.tag, record):
            sealed = seal_record(beacon.discovery_key, beacon.tag, record, os.urandom)
            self._sealed = (beacon.tag, record, sealed)
        return sealed

    async def sought(self) -> Mapping[bytes, Sought]:
        """Return whose tag is whose among the others; computed aside, as it takes a moment in a large cluster."""
        slots = self._slots()
        found = await asyncio.to_thread(lambda: [self._announcement.other_beacons(slot) for slot in slots])
        self._sought = {tag: whose for one in found for tag, whose in one.items()}
        return self._sought

    def sightings(self, tag: bytes, sealed: bytes) -> list[Sighting]:
        """Return where a member says it is, if that is what lies under its tag; empty for anything else."""
        sought = self._sought.get(tag)
        if sought is None:
            return []
        try:
            return self.sightings_in(sought.node, open_record(sought.key, tag, sealed))
        except PeerFault:
            return []

    def sightings_in(self, node: NodeId, raw: bytes) -> list[Sighting]:
        """Return where a record says that a node is, if it is a live one of that node; empty for anything else."""
        try:
            record = read_record(raw)
        except PeerFault:
            return []
        if record.node != node or record.expires_ms <= self._clock() * 1000:
            return []
        return [
            Sighting(Source.MEMBER, one.host, one.port, record.node)
            for one in record.candidates
            if dialable(one.host, Source.MEMBER, allow_loopback=self._allow_loopback)
        ]

    def _slots(self, lag_s: float = 0.0) -> tuple[int, int, int]:
        slot = beacon_slot(self._clock() - lag_s)
        return slot, slot - 1, slot + 1
