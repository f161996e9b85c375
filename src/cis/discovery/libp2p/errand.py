"""What one worker is to do in its slot, and what becomes of what it finds: the part that holds the keys.

A worker is told of what changed alone. Of members those that are neither connected nor seen lately are sought, so many
at once as `MEMBERS_MAX`, others of them in every slot.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from cis.discovery.beacons import Sought
from cis.discovery.libp2p.messages import HOSTS_MAX, MEMBERS_MAX, TAGS_EACH_MAX, Found, Seek, Show
from cis.discovery.libp2p.options import Libp2pOptions
from cis.discovery.provider import SLOT_SECONDS, Announcement, Sighting
from cis.discovery.sealed import SealedRecords
from cis.errors import PeerFault, Unavailable
from cis.model.ids import NodeId
from cis.trust.beacons import Beacon, beacon_slot
from cis.trust.records import read_record

SEEN_S = 300.0
"""A member that was found is not sought again for so long."""
SPREAD_S = 60.0
"""A worker ends within so long after its slot, so that not all nodes end theirs at once."""
MESSAGES_MAX_PER_LOOK = 500
"""What a worker may say between two looks at what changed, since opening a record costs a signature."""


class Errand:
    """What one worker is to do: show this node under its tag of this slot, and look for the other members."""

    def __init__(
        self,
        announcement: Announcement,
        options: Libp2pOptions,
        found: Callable[[Sighting], None],
        clock: Callable[[], float],
    ) -> None:
        self._announcement = announcement
        self._options = options
        self._found = found
        self._clock = clock
        self._records = SealedRecords(announcement, allow_loopback=options.allow_loopback, clock=clock)
        self._until = (beacon_slot(clock()) + 1) * SLOT_SECONDS + random.uniform(0, SPREAD_S)
        self._ranks: dict[NodeId, float] = {}
        self._beacon: Beacon | None = None
        self._told: tuple[Show | None, Seek] = (None, Seek(()))
        self._seen: dict[NodeId, float] = {}
        self._whose: Mapping[bytes, Sought] = {}
        self._heard = 0

    async def is_due(self) -> bool:
        """Tell whether there is a node to show and another to look for: a lone one needs no worker."""
        own = self._records.own()
        self._beacon = own[0] if own else None
        return self._beacon is not None and bool(await self._records.sought())

    def is_over(self) -> bool:
        """Tell whether another worker is due: the slot is over, or the cluster's key is another."""
        shown = self._beacon.tag if self._beacon is not None else None
        return self._clock() >= self._until or all(beacon.tag != shown for beacon in self._records.own())

    async def orders(self) -> list[Show | Seek]:
        """Return what the worker was not told yet; called at every look."""
        self._heard = 0
        show, seek = self._to_show(), Seek(self._to_seek(await self._records.sought()))
        told_show, told_seek = self._told
        self._told = (show, seek)
        changed: list[Show | Seek] = [show] if show is not None and show != told_show else []
        return [*changed, seek] if seek != told_seek else changed

    def count(self) -> None:
        """Count a message of the worker; `Unavailable` where there are more than a sound one has cause for."""
        self._heard += 1
        if self._heard > MESSAGES_MAX_PER_LOOK:
            raise Unavailable("the libp2p process says more than there is to say")

    def open(self, message: Found) -> None:
        """Tell what was found, if it is a member's."""
        sightings = self._records.sightings(message.tag, message.sealed)
        for sighting in sightings:
            self._found(sighting)
        if sightings:
            self._seen[self._whose[message.tag].node] = self._clock()

    def _to_show(self) -> Show | None:
        record = self._announcement.record()
        if self._beacon is None or not record:
            return None
        try:
            candidates = read_record(record).candidates
        except PeerFault:
            return None
        # A mapped address forwards the node's own port, and TCP only where the user saw to it, with a fixed port.
        paths = ("lan", "direct", "mapped") if self._options.port else ("lan", "direct")
        hosts = dict.fromkeys(one.host for one in candidates if one.path in paths)
        return Show(self._beacon.tag, self._records.sealed(self._beacon), tuple(hosts)[:HOSTS_MAX])

    def _to_seek(self, sought: Mapping[bytes, Sought]) -> tuple[tuple[bytes, ...], ...]:
        """Return the tags of members neither connected nor seen lately; where they are too many, of some by chance."""
        self._whose = sought
        connected = self._announcement.connected()
        since = self._clock() - SEEN_S
        tags: dict[NodeId, list[bytes]] = {}
        for tag, whose in sought.items():
            if whose.node not in connected and self._seen.get(whose.node, 0.0) <= since:
                tags.setdefault(whose.node, []).append(tag)
        chosen = sorted(tags, key=lambda node: self._ranks.setdefault(node, random.random()))[:MEMBERS_MAX]
        return tuple(tuple(tags[node][:TAGS_EACH_MAX]) for node in chosen)
