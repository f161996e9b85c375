"""Anchors: nodes of one cluster find each other through a rendezvous that knows neither (docs/anchor.md).

This node's signed record is registered, sealed, under the tag of its beacon; the tags of the other members are looked
up, of this slot and its neighbours since clocks differ. What comes back is opened with the discovery key, verified,
and told as sightings of what may be dialled; whatever is not a member's record counts for nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from cis.anchor.client import AnchorClient
from cis.discovery.address import Source, dialable
from cis.discovery.beacons import Sought
from cis.discovery.provider import Announcement, Sighting
from cis.errors import PeerFault
from cis.trust.beacons import Beacon, beacon_slot, open_record, seal_record
from cis.trust.records import read_record


class AnchorProvider:
    """The provider of one anchor; runs its client."""

    def __init__(
        self, client: AnchorClient, *, allow_loopback: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = f"anchor {client.name}"
        self._client = client
        self._allow_loopback = allow_loopback
        self._clock = clock

    def failures(self) -> dict[str, str]:
        """Return what keeps the anchor from serving now, if anything."""
        return {self.name: self._client.problem} if self._client.problem is not None else {}

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Stay registered and look until cancelled."""
        shown = _Shown(announcement, self._clock)

        def on_found(tag: bytes, sealed: bytes) -> None:
            for sighting in self._sightings(shown.sought_as(tag), tag, sealed):
                found(sighting)

        await self._client.run(shown, on_found)

    def _sightings(self, sought: Sought | None, tag: bytes, sealed: bytes) -> list[Sighting]:
        """Return where a member says it is, if that is what lies under its tag."""
        if sought is None:
            return []
        try:
            record = read_record(open_record(sought.key, tag, sealed))
        except PeerFault:
            return []
        if record.node != sought.node or record.expires_ms <= self._clock() * 1000:
            return []
        return [
            Sighting(Source.MEMBER, one.host, one.port, record.node)
            for one in record.candidates
            if dialable(one.host, Source.MEMBER, allow_loopback=self._allow_loopback)
        ]


class _Shown:
    """Implements `cis.anchor.client.Presence`."""

    def __init__(self, announcement: Announcement, clock: Callable[[], float]) -> None:
        self._announcement = announcement
        self._clock = clock
        self._sealed: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self._sought: dict[bytes, Sought] = {}

    def beacons(self) -> Sequence[Beacon]:
        """Return this node's, of this slot first."""
        found = (self._announcement.own_beacon(slot) for slot in self._slots())
        return [beacon for beacon in found if beacon is not None]

    def sealed_record(self, beacon: Beacon) -> bytes:
        """Return this node's record, sealed once for each beacon while it stays the same."""
        record = self._announcement.record()
        tag, of, sealed = self._sealed
        if (tag, of) != (beacon.tag, record):
            sealed = seal_record(beacon.discovery_key, beacon.tag, record, os.urandom)
            self._sealed = (beacon.tag, record, sealed)
        return sealed

    async def sought(self) -> Sequence[bytes]:
        """Return the others' tags; computed aside, as it takes a moment in a large cluster."""
        slots = self._slots()
        found = await asyncio.to_thread(lambda: [self._announcement.other_beacons(slot) for slot in slots])
        self._sought = {tag: whose for one in found for tag, whose in one.items()}
        return list(self._sought)

    def sought_as(self, tag: bytes) -> Sought | None:
        """Return whose tag it is."""
        return self._sought.get(tag)

    def _slots(self) -> tuple[int, int, int]:
        slot = beacon_slot(self._clock())
        return slot, slot - 1, slot + 1
