"""Anchors: nodes of one cluster find each other through a rendezvous that knows neither (docs/anchor.md)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from cis.anchor.client import AnchorClient
from cis.discovery.provider import Announcement, Sighting
from cis.discovery.sealed import SealedRecords

SLOT_LAG_S_MAX = 60.0
"""Over which the nodes of an anchor spread that all go on to their next beacons with the clock."""


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
        lag_s = random.uniform(0, SLOT_LAG_S_MAX)
        records = SealedRecords(announcement, allow_loopback=self._allow_loopback, clock=self._clock, lag_s=lag_s)

        def on_found(tag: bytes, sealed: bytes) -> None:
            for sighting in records.sightings(tag, sealed):
                found(sighting)

        await self._client.run(records, on_found)
