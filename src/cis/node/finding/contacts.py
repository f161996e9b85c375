"""Contacts that peers tell of in gossip: only members, and only with records these members signed themselves.

This is how nodes that know one member learn where the others are: samples of views walk through the overlay, and each
contact in them carries its node's own record. A record that has expired is dropped, and one that is older than
what is known here is replaced, so that old addresses do not go round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from cis.errors import PeerFault
from cis.model import NodeId, NodeRecord
from cis.node.membership.cluster import Cluster
from cis.trust.records import read_record
from cis.wire.gossip import Contact, ForwardJoin, GossipMessage, Join, Neighbour, Shuffle, ShuffleAnswer

READ_KEPT_MAX = 1024
NEWEST_KEPT_MAX = 4096

Held = tuple[int, bytes]
"""The number of a record, and the record."""


class Contacts:
    """Vets messages; the same record is verified once as long as it is remembered.

    ``held`` gives the newest record of a member that came otherwise than by gossip, if any did.
    """

    def __init__(self, cluster: Cluster, clock_ms: Callable[[], int], held: Callable[[NodeId], Held | None]) -> None:
        self._cluster = cluster
        self._clock_ms = clock_ms
        self._held = held
        self._read: dict[bytes, NodeRecord | None] = {}
        self._newest: dict[NodeId, Held] = {}

    def vetted(self, message: GossipMessage) -> GossipMessage | None:
        """Return the message with sound contacts alone; None where it is about one that is not."""
        match message:
            case ForwardJoin((node, _)) | Shuffle((node, _)) if not self._is_member(node):
                return None
            case Join(contact) | Neighbour(contact) | ForwardJoin(contact):
                return msgspec.structs.replace(message, contact=self._cleared(contact))
            case Shuffle(origin, contacts):
                return msgspec.structs.replace(message, origin=self._cleared(origin), contacts=self._members(contacts))
            case ShuffleAnswer(contacts):
                return ShuffleAnswer(self._members(contacts))
        return message

    def _members(self, contacts: Iterable[Contact]) -> list[Contact]:
        """The contacts that are members, without those whose record is not theirs or has expired."""
        members = [contact for contact in contacts if self._is_member(contact[0])]
        cleared = [(contact, self._cleared(contact)) for contact in members]
        return [sound for contact, sound in cleared if sound[1] or not contact[1]]

    def _is_member(self, node: NodeId) -> bool:
        return self._cluster.membership.member(node) is not None

    def _cleared(self, contact: Contact) -> Contact:
        """The contact with the newest record of it there is; without any where the one told is not sound."""
        node, raw = contact
        record = self._record(raw) if raw else None
        if record is None or record.node != node or record.expires_ms <= self._clock_ms():
            return node, b""
        known = [one for one in (self._newest.get(node), self._held(node)) if one is not None]
        newest = max([(record.number, raw), *known], key=lambda one: one[0])
        if len(self._newest) >= NEWEST_KEPT_MAX:
            self._newest.clear()
        self._newest[node] = newest
        return node, newest[1]

    def _record(self, raw: bytes) -> NodeRecord | None:
        if raw not in self._read:
            if len(self._read) >= READ_KEPT_MAX:
                self._read.clear()
            self._read[raw] = _readable(raw)
        return self._read[raw]


def _readable(raw: bytes) -> NodeRecord | None:
    try:
        return read_record(raw)
    except PeerFault:
        return None
