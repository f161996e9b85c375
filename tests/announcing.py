"""What nodes of tests announce: tags, or sealed records; and what a listener can read in an announcement."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from zeroconf import DNSAddress, DNSPointer, DNSRecord, DNSService, DNSText

from cis.discovery.beacons import Beacons, Sought
from cis.discovery.provider import Announcement
from cis.discovery.tags import Tags
from cis.model import Candidate, NodeId
from cis.trust.beacons import Beacon
from cis.trust.identity import Identity
from cis.trust.records import sign_record

PORT = 7677
DIRECT = (Candidate("127.0.0.1", PORT, "direct"),)


class Tagged(Announcement):
    """A member that announces itself by tags, and knows those of the others."""

    def __init__(self, node: NodeId, members: Sequence[NodeId], key: bytes, port: int = PORT) -> None:
        self._tags = Tags(node, lambda: [key], lambda: members)
        self._port = port

    def port(self) -> int:
        """Return the port it says it is at."""
        return self._port

    def own_tag(self, slot: int) -> bytes | None:
        """Return its tag."""
        return self._tags.own_tag(slot)

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        """Return whose tag it is."""
        return self._tags.recognise(tag, slot)


class Recorded(Announcement):
    """A member that leaves its record with services, sealed, and announces no tag; ``raw`` is the record."""

    def __init__(
        self,
        own: Identity,
        members: Sequence[NodeId],
        key: bytes,
        candidates: Sequence[Candidate] = DIRECT,
        now: float | None = None,
    ) -> None:
        self._beacons = Beacons(own, lambda: [key], lambda: members)
        self._port = candidates[0].port
        self.raw = sign_record(own, tuple(candidates), round((time.time() if now is None else now) * 1000))

    def port(self) -> int:
        """Return the port of its first candidate."""
        return self._port

    def own_tag(self, _slot: int) -> bytes | None:
        """Announce none."""
        return None

    def recognise(self, _tag: bytes, _slot: int) -> NodeId | None:
        """Look for nobody."""
        return None

    def record(self) -> bytes:
        """Return what it wants members to know."""
        return self.raw

    def own_beacon(self, slot: int, /) -> Beacon | None:
        """Return what the record is left under."""
        return self._beacons.own(slot)

    def other_beacons(self, slot: int, /) -> dict[bytes, Sought]:
        """Return what those of the others are left under."""
        return self._beacons.others(slot)


def fields_of(records: Iterable[DNSRecord]) -> set[object]:
    """Return what could tell one node from another."""
    found: set[object] = set()
    for record in records:
        found.add(record.name)
        match record:
            case DNSPointer():
                found.add(record.alias)
            case DNSService():
                found |= {record.server, record.port}
            case DNSText():
                found.add(record.text)
            case DNSAddress():
                found.add(record.address)
    return found
