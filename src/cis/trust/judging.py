"""What the membership log says of nodes that come and of changes: who is heard, who may write, where logs end.

*Authority.* A changeset names one entry, and its author has the rights that this entry's ancestry gives.
An author names, of the heads in whose ancestry it may write to the space, the one ranked last by (depth, id).
Such a head exists for everyone with the right, since some head follows every grant; so one id suffices
even while the log has several heads, and no merging entry is needed. A reader that lacks the entry parks the
changeset until it has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cis.errors import Fault
from cis.model import NodeId, ReplicaId, SpaceId, node_of
from cis.trust.entries import read_chain, without_attachment
from cis.trust.members import Members
from cis.wire.handshake import CHAIN_BYTES_MAX, CHAIN_ENTRIES_MAX
from cis.wire.membership import Cut, Role

ANSWERS_KEPT_MAX = 16_384
"""Answers of `Judging.may_write` kept at hand; they change only when what stands of the revocations does."""


class Judging(Members):
    """A log that is asked about nodes and what they wrote."""

    def __init__(self, cluster: bytes, entries: Iterable[bytes] = ()) -> None:
        self._may_write: dict[tuple[NodeId, SpaceId, bytes], bool] = {}
        self._answered_at = 0
        super().__init__(cluster, entries)

    def judge(self, node: NodeId, chain: Sequence[bytes]) -> Fault | None:
        """Return None for a member, by this log or by the chain it shows.

        UNAUTHORISED for one that was removed, NOT_MEMBER for others.
        """
        if self.member(node) is not None:
            return None
        if self.revoked(node):
            return Fault.UNAUTHORISED
        links = read_chain(self.cluster, node, chain)
        for link in links:
            known = self.log.known.get(link.id)
            void = self.revoked(link.issuer) if known is None else self.rights.blame(known) is not None
            if void:
                return Fault.UNAUTHORISED
        return None if links else Fault.NOT_MEMBER

    def may_write(self, node: NodeId, space: SpaceId, head: bytes) -> bool:
        """Tell whether the node may write to the space at the entry ``head``; False where it is unknown."""
        known = self.log.known.get(head)
        if known is None:
            return False
        self._forget_answers()
        question = (node, space, head)
        if question not in self._may_write:
            self._may_write[question] = self.rights.writes_at(node, space, known.ancestry)
        return self._may_write[question]

    def might_write(self, node: NodeId, space: SpaceId, head: bytes) -> bool:
        """Tell whether some grant gave the node that right at ``head``: then only what was revoked may void it."""
        known = self.log.known.get(head)
        return known is not None and self.rights.ever_writes(node, space, known.ancestry)

    def authority(self, node: NodeId, space: SpaceId) -> bytes | None:
        """Return the head a changeset of this node names as its authority, None when it may not write."""
        able = [head for head in self.heads() if self.rights.writes_at(node, space, head.ancestry)]
        return max(able, key=lambda head: head.rank).entry.id if able else None

    def limit(self, space: SpaceId, replica: ReplicaId) -> Cut | None:
        """Return how far a log counts, None where revocations set it no end.

        Of a node removed from the space, and not granted it again, a log that no revocation names ends at 0.
        """
        named = self.rights.limit(space, replica)
        node = node_of(replica)
        if named is not None or not self.rights.covering(node, space):
            return named
        if self.rights.writes_at(node, space, self.log.everything):
            return None
        return Cut(space, replica, 0)

    def refuses(self, replica: ReplicaId, space: SpaceId, authority: bytes) -> bool:
        """Tell whether a revocation that does not name this log voids what it wrote under the head ``authority``.

        That is so of every standing revocation of its author, covering the space, which ``authority`` does not
        follow, unless one of them names the log: then `limit` alone decides. `may_write` is asked apart.
        """
        covering = self.rights.covering(node_of(replica), space)
        if not covering or self.rights.limit(space, replica) is not None:
            return False
        known = self.log.known.get(authority)
        return known is None or any(not known.ancestry >> revoke.place & 1 for revoke in covering)

    def chain(self, node: NodeId) -> tuple[bytes, ...]:
        """Return the grants from the founding one to the node's own, to show to who has not seen them.

        Empty for a node that is no member, and where the chain would not fit in a handshake: the other side
        must then have learned of this node from a third.
        """
        links: list[bytes] = []
        ancestry, subject = self.log.everything, node
        while grants := [
            known for known, grant in self.rights.at(subject, ancestry) if not links or grant.role is Role.ADMIN
        ]:
            first = min(grants, key=lambda known: known.rank)
            links.insert(0, without_attachment(first.entry.raw))
            ancestry, subject = first.ancestry & ~(1 << first.place), first.entry.issuer
        founding = self.rights.founding
        if links and subject == self.rights.recovery and founding is not None:
            links.insert(0, without_attachment(founding.entry.raw))
        fits = len(links) <= CHAIN_ENTRIES_MAX and sum(map(len, links)) <= CHAIN_BYTES_MAX
        return tuple(links) if fits else ()

    def _forget_answers(self) -> None:
        if not self.rights.monotone:
            _ = self.rights.standing
        if self._answered_at != self.rights.changed or len(self._may_write) >= ANSWERS_KEPT_MAX:
            self._may_write = {}
            self._answered_at = self.rights.changed
