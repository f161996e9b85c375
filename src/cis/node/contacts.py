"""Contacts that peers tell of in gossip: only members, and only with records these members signed themselves."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cis.errors import PeerFault
from cis.model import NodeId
from cis.node.cluster import Cluster
from cis.trust.records import read_record
from cis.wire.gossip import Contact, ForwardJoin, GossipMessage, Join, Neighbour, Shuffle, ShuffleAnswer

SIGNERS_KEPT_MAX = 1024


class Contacts:
    """Vets messages; the same record is verified once as long as it is remembered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._signers: dict[bytes, NodeId | None] = {}

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
        """The contacts that are members, without those whose record is not theirs."""
        members = [contact for contact in contacts if self._is_member(contact[0])]
        return [contact for contact in members if contact == self._cleared(contact)]

    def _is_member(self, node: NodeId) -> bool:
        return self._cluster.membership.member(node) is not None

    def _cleared(self, contact: Contact) -> Contact:
        """The contact, without its record where that node did not sign it."""
        node, raw = contact
        if raw and raw not in self._signers:
            if len(self._signers) >= SIGNERS_KEPT_MAX:
                self._signers.clear()
            self._signers[raw] = _signer(raw)
        return contact if raw and self._signers[raw] == node else (node, b"")


def _signer(raw: bytes) -> NodeId | None:
    try:
        return read_record(raw).node
    except PeerFault:
        return None
