"""The membership log: a graph of signed entries from which every node reads the same members.

Each entry names the latest ones its issuer knew, so its ancestry is fixed when it is signed, and its right is
judged by that ancestry alone: all nodes accept the same entries in whatever order they arrive (Kleppmann and
Howard, "Byzantine Eventual Consistency", 2020). Rights only grow; taking them away is an entry of its own.

*Authority.* A changeset names one entry, and its author has the rights that this entry's ancestry gives.
An author names, of the heads in whose ancestry it may write to the space, the one ranked last by (depth, id).
Such a head exists for everyone with the right, since some head follows every grant; so one id suffices
even while the log has several heads, and no merging entry is needed. A reader that lacks the entry parks the
changeset until it has it.

Sketch: ``entry, log, keys = found(identity, "laptop", entropy, now_ms)``; ``log.grant(…)`` returns a signed
entry, which takes effect, here as anywhere, by ``log.add(entry)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cis.errors import Denied, Fault, PeerFault, UsageError
from cis.model import NodeId, SpaceId, did_of
from cis.trust.entries import (
    SignedEntry,
    hash_attachment,
    read_entry,
    sign_entry,
    verify_chain,
    without_attachment,
)
from cis.trust.identity import Entropy, Identity
from cis.trust.keys import ClusterKeys, Parties, found_keys, open_keys, seal_keys
from cis.trust.log import EntryLog, Known
from cis.trust.names import Member, check_name, free_name, name_members
from cis.trust.rights import Rights
from cis.trust.sealing import SpaceKeys
from cis.wire.handshake import CHAIN_BYTES_MAX, CHAIN_ENTRIES_MAX
from cis.wire.membership import (
    NO_CLUSTER,
    PARENTS_MAX,
    EntryKind,
    Grant,
    Role,
    Statement,
    decode_sealed_keys,
    encode_part,
)

ANSWERS_KEPT_MAX = 16_384
"""Answers of `Membership.may_write` kept at hand; an ancestry never changes, so neither do they."""


class Founded(NamedTuple):
    """A new cluster: the bytes of its founding entry, its log, and its keys."""

    entry: bytes
    membership: Membership
    keys: ClusterKeys


class Membership:
    """The log of one cluster as far as this node has it; ``cluster`` is the id of its founding entry.

    Made from nothing (a joiner knows the id from its ticket) or from stored ``entries``, parents first.
    """

    def __init__(self, cluster: bytes, entries: Iterable[bytes] = ()) -> None:
        self.cluster = cluster
        self.log = EntryLog(self._judge_entry, self._on_admitted)
        self._rights = Rights()
        self._members: dict[NodeId, Member] | None = None
        self._may_write: dict[tuple[NodeId, SpaceId, bytes], bool] = {}
        for raw in entries:
            self.add(raw)

    def add(self, raw: bytes) -> list[SignedEntry]:
        """Take an entry in; return what became known by it: itself, and entries that waited for it.

        Returns nothing for an entry known already, or parked until its parents are known (bounded, the oldest
        dropped: comparing logs brings them again). Raises `PeerFault`: MALFORMED, TOO_LARGE, BAD_SIGNATURE,
        BAD_HASH, or UNAUTHORISED when its issuer had no right to state it; no correct node relays such a one.
        """
        entry = read_entry(raw)
        if (entry.id if entry.founding else entry.statement.cluster) != self.cluster:
            raise PeerFault(Fault.UNAUTHORISED, "a membership entry of another cluster")
        return [known.entry for known in self.log.add(entry)]

    def grant(self, issuer: Identity, grant: Grant, keys: ClusterKeys, entropy: Entropy, now_ms: int) -> bytes:
        """Return a signed entry that makes ``grant`` and carries the keys of its spaces; it is not added yet.

        Raises `Denied` when the issuer is no admin, `UsageError` when another member has the name, and
        `PeerFault` when the subject's sealing key is unusable.
        """
        if self._rights.role_at(issuer.node, self.log.everything) is not Role.ADMIN:
            raise Denied("only an admin admits members: ask one for an invitation (`cis invite` there)")
        for member in self.members():
            if member.name == grant.name and member.node != grant.subject:
                raise UsageError(f"the name {grant.name!r} is taken by {did_of(member.node)}: choose another")
        spaces = () if grant.role is Role.BLIND else grant.spaces
        parties = Parties(self.cluster, grant.subject, issuer.node)
        sealed = encode_part(seal_keys(keys, spaces, parties, grant.sealing_key))
        return _sign(issuer, self.cluster, self._parents_for(issuer.node), grant, sealed, entropy(16), now_ms)

    def members(self) -> tuple[Member, ...]:
        """Return all members, in an order all nodes agree on."""
        return tuple(self._by_node().values())

    def member(self, node: NodeId) -> Member | None:
        """Return a member, None for a node that is none."""
        return self._by_node().get(node)

    def judge(self, node: NodeId, chain: Sequence[bytes]) -> Fault | None:
        """Return None for a member, by this log or by the chain it shows, and NOT_MEMBER for others."""
        if self._rights.granted(node) or verify_chain(self.cluster, node, chain):
            return None
        return Fault.NOT_MEMBER

    def may_write(self, node: NodeId, space: SpaceId, head: bytes) -> bool:
        """Tell whether the node may write to the space at the entry ``head``; False where it is unknown."""
        known = self.log.known.get(head)
        if known is None:
            return False
        question = (node, space, head)
        if question not in self._may_write:
            if len(self._may_write) >= ANSWERS_KEPT_MAX:
                self._may_write.clear()
            self._may_write[question] = self._rights.writes_at(node, space, known.ancestry)
        return self._may_write[question]

    def authority(self, node: NodeId, space: SpaceId) -> bytes | None:
        """Return the head a changeset of this node names as its authority, None when it may not write."""
        able = [head for head in self.log.heads.values() if self._rights.writes_at(node, space, head.ancestry)]
        return max(able, key=lambda head: head.rank).entry.id if able else None

    def chain(self, node: NodeId) -> tuple[bytes, ...]:
        """Return the grants from the founding one to the node's own, to show to who has not seen them.

        Empty for a node that is no member, and where the chain would not fit in a handshake: the other side
        must then have learned of this node from a third.
        """
        links: list[bytes] = []
        ancestry, subject = self.log.everything, node
        while grants := [
            known
            for known, grant in self._rights.granted(subject)
            if ancestry >> known.place & 1 and (not links or grant.role is Role.ADMIN)
        ]:
            first = min(grants, key=lambda known: known.rank)
            links.insert(0, without_attachment(first.entry.raw))
            ancestry, subject = first.ancestry & ~(1 << first.place), first.entry.statement.issuer
        fits = len(links) <= CHAIN_ENTRIES_MAX and sum(map(len, links)) <= CHAIN_BYTES_MAX
        return tuple(links) if fits else ()

    def keys_of(self, identity: Identity, private: SpaceKeys) -> ClusterKeys:
        """Open all keys this log seals to the identity; ``private`` is what this node made for itself.

        Raises `PeerFault` MALFORMED when there are none, as for the founder: its keys are in its store alone.
        """
        return open_keys(
            identity,
            [
                (Parties(entry.statement.cluster, identity.node, entry.statement.issuer), key)
                for entry in (known.entry for known, _ in self._rights.granted(identity.node))
                for key in decode_sealed_keys(entry.attachment)
            ],
            private,
        )

    def free_name(self, wanted: str) -> str:
        """Return ``wanted``, or with the least suffix (``-2``, ``-3`` …) that no member has."""
        return free_name(wanted, {member.name for member in self.members()})

    def knows(self, head: bytes) -> bool:
        """Tell whether an entry, and so all its ancestry, is here."""
        return head in self.log.known

    def ids(self) -> tuple[bytes, ...]:
        """Return the ids of all known entries, parents first."""
        return tuple(self.log.known)

    def entries_missing_from(self, ids: Iterable[bytes] = ()) -> list[bytes]:
        """Return the raw entries whose ids are not among ``ids``, parents first."""
        return self.log.missing_from(ids)

    def digest(self) -> bytes:
        """Return 32 bytes that are equal exactly when two logs hold the same entries."""
        return self.log.digest()

    def _judge_entry(self, entry: SignedEntry, ancestry: int) -> None:
        if entry.founding:
            return
        if self._rights.role_at(entry.statement.issuer, ancestry) is not Role.ADMIN:
            raise PeerFault(Fault.UNAUTHORISED, "a membership entry whose issuer had no right to state it")

    def _on_admitted(self, known: Known) -> None:
        self._members = None
        self._rights.admit(known)

    def _parents_for(self, issuer: NodeId) -> tuple[bytes, ...]:
        """The heads, beginning with one at which the issuer is an admin, then the deepest."""
        ranked = sorted(self.log.heads.values(), key=lambda head: head.rank, reverse=True)
        ranked.sort(key=lambda head: self._rights.role_at(issuer, head.ancestry) is not Role.ADMIN)
        return tuple(head.entry.id for head in ranked[:PARENTS_MAX])

    def _by_node(self) -> dict[NodeId, Member]:
        if self._members is None:
            ranked = sorted(self.log.known.values(), key=lambda known: known.rank)
            self._members = name_members([known.entry for known in ranked])
        return self._members


def found(identity: Identity, name: str, entropy: Entropy, now_ms: int) -> Founded:
    """Found a cluster of one: its founding entry, whose hash is the cluster's id, its log and its keys.

    Raises `UsageError` for a name that is not 1 to 32 of a-z, 0-9 and the hyphen.
    """
    grant = Grant(identity.node, identity.sealing_public, check_name(name), Role.ADMIN, ())
    entry = _sign(identity, NO_CLUSTER, (), grant, b"", entropy(16), now_ms)
    cluster = read_entry(entry).id
    return Founded(entry, Membership(cluster, [entry]), found_keys(cluster, entropy))


def _sign(
    issuer: Identity,
    cluster: bytes,
    parents: tuple[bytes, ...],
    grant: Grant,
    sealed: bytes,
    nonce: bytes,
    now_ms: int,
) -> bytes:
    statement = Statement(
        EntryKind.GRANT,
        cluster,
        parents,
        issuer.node,
        now_ms,
        nonce,
        encode_part(grant),
        hash_attachment(sealed),
    )
    return sign_entry(issuer, statement, sealed)
