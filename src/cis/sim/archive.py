"""Every membership entry that any log ever took in, read and verified apart from `cis.trust`.

A log may hold forgeries only if the rules let them in, so each entry is checked again here: its signature, the hash of
its attachment, its cluster, its ancestry. `cis.sim.law` says what a set of these entries means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cis.model import NodeId, ReplicaId, SpaceId
from cis.wire.membership import (
    NO_CLUSTER,
    EntryKind,
    Grant,
    Revoke,
    Role,
    Rotate,
    Statement,
    decode_cuts,
    decode_entry,
    decode_grant,
    decode_revoke,
    decode_rotate,
    decode_sealed,
    decode_sealed_keys,
    decode_statement,
)

Epoch = tuple[SpaceId, int]
_LABEL = b"cis/1 membership\0"


@dataclass(frozen=True)
class Item:
    """One entry: who states what, after which others. ``before`` are all entries it follows."""

    id: bytes
    issuer: NodeId
    stated: Grant | Revoke | Rotate | None
    before: frozenset[bytes]
    depth: int
    cuts: dict[tuple[SpaceId, ReplicaId], int] = field(default_factory=dict)
    tells: tuple[tuple[NodeId, Epoch], ...] = ()
    """to whom it seals the key of which epoch"""
    recovery: NodeId | None = None

    @property
    def rank(self) -> tuple[int, bytes]:
        """What orders entries alike everywhere, each after all it follows."""
        return self.depth, self.id

    @property
    def crowns(self) -> NodeId | None:
        """Whom it makes an admin."""
        return self.stated.subject if isinstance(self.stated, Grant) and self.stated.role is Role.ADMIN else None


class Archive:
    """Entries by id; those of one cluster alone."""

    def __init__(self, cluster: bytes) -> None:
        self.cluster = cluster
        self.items: dict[bytes, Item] = {}

    def take(self, raw: bytes) -> str:
        """Take an entry in; returns what is wrong with it, nothing where it may stand in a log."""
        envelope = decode_entry(raw)
        statement = decode_statement(envelope.statement)
        id_ = blake2b(envelope.statement, digest_size=32, person=b"cis entry").digest()
        if id_ in self.items:
            return ""
        try:
            Ed25519PublicKey.from_public_bytes(statement.issuer).verify(envelope.signature, _LABEL + envelope.statement)
        except InvalidSignature:
            return "whose signature is not that of its issuer"
        hashed = blake2b(envelope.attachment, digest_size=32, person=b"cis attachment").digest()
        if hashed != statement.attachment_hash:
            return "whose attachment was changed"
        foreign = statement.cluster != (NO_CLUSTER if id_ == self.cluster else self.cluster)
        if foreign or not set(statement.parents) <= set(self.items):
            return "of a foreign cluster" if foreign else "whose parents are not there"
        item = _item(id_, statement, envelope.attachment, self._ancestry(statement.parents), self._depth(statement))
        if id_ != self.cluster and not self._was_admin(item):
            return "whose issuer was never an admin"
        self.items[id_] = item
        return ""

    def ranked(self, ids: Iterable[bytes]) -> list[Item]:
        """Return those entries in the order that is the same everywhere."""
        return sorted((self.items[one] for one in ids), key=lambda item: item.rank)

    def _ancestry(self, parents: Iterable[bytes]) -> frozenset[bytes]:
        return frozenset().union(*({parent, *self.items[parent].before} for parent in parents))

    def _depth(self, statement: Statement) -> int:
        return max((self.items[parent].depth + 1 for parent in statement.parents), default=0)

    def _was_admin(self, item: Item) -> bool:
        before = [self.items[one] for one in sorted(item.before)]
        return any(item.issuer in {one.crowns, one.recovery} for one in before)


def _item(id_: bytes, statement: Statement, attachment: bytes, before: frozenset[bytes], depth: int) -> Item:
    issuer = NodeId(statement.issuer)
    match statement.kind:
        case EntryKind.GRANT if not before:
            recovery = NodeId(attachment) if attachment else None
            return Item(id_, issuer, decode_grant(statement.body), before, depth, recovery=recovery)
        case EntryKind.GRANT:
            grant = decode_grant(statement.body)
            tells = tuple((NodeId(grant.subject), (key.space, key.epoch)) for key in decode_sealed_keys(attachment))
            return Item(id_, issuer, grant, before, depth, tells=tells)
        case EntryKind.REVOKE:
            cuts = {(SpaceId(cut.space), ReplicaId(cut.replica)): cut.seq for cut in decode_cuts(attachment)}
            return Item(id_, issuer, decode_revoke(statement.body), before, depth, cuts=cuts)
        case EntryKind.ROTATE:
            sealed = decode_sealed(attachment)
            tells = tuple((NodeId(one.recipient), (one.key.space, one.key.epoch)) for one in sealed)
            return Item(id_, issuer, decode_rotate(statement.body), before, depth, tells=tells)
    return Item(id_, issuer, None, before, depth)
