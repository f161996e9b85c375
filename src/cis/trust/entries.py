"""One entry of the membership log by itself: making and verifying it, and chains of grants to the founder.

Whether the issuer had the right is not decided here but by what came before it (`cis.trust.membership`), and
whether it has effect by the whole log (`cis.trust.standing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId
from cis.trust.identity import Identity, Label, verify
from cis.trust.keys import usable
from cis.wire.membership import (
    NO_CLUSTER,
    RECOVERY_LENGTH,
    Cut,
    Entry,
    EntryKind,
    Grant,
    NewSpace,
    Revoke,
    Role,
    Rotate,
    Sealed,
    Statement,
    decode_cuts,
    decode_entry,
    decode_grant,
    decode_new_space,
    decode_revoke,
    decode_rotate,
    decode_sealed,
    decode_sealed_keys,
    decode_statement,
    encode_part,
)

Body = Grant | Revoke | Rotate | NewSpace


@dataclass(frozen=True, slots=True)
class SignedEntry:
    """An entry whose signature holds. ``body`` is None for a kind this version does not know.

    ``sealed`` are the keys it hands out, ``cuts`` where it ends logs.
    """

    id: bytes
    raw: bytes
    statement: Statement
    body: Body | None
    attachment: bytes
    sealed: tuple[Sealed, ...] = ()
    cuts: tuple[Cut, ...] = ()

    @property
    def issuer(self) -> NodeId:
        """Who states it."""
        return self.statement.issuer

    @property
    def grant(self) -> Grant | None:
        """Its body, if it is a grant."""
        return self.body if isinstance(self.body, Grant) else None

    @property
    def revoke(self) -> Revoke | None:
        """Its body, if it is a revocation."""
        return self.body if isinstance(self.body, Revoke) else None

    @property
    def founding(self) -> bool:
        """It founds the cluster that is named by its id."""
        statement, grant = self.statement, self.grant
        return (
            grant is not None
            and not statement.parents
            and statement.cluster == NO_CLUSTER
            and grant.subject == statement.issuer
            and grant.role is Role.ADMIN
        )


def entry_id(statement: bytes) -> bytes:
    """Return the id of an entry: BLAKE2b, 32 bytes, of the exact bytes of its statement."""
    return blake2b(statement, digest_size=32, person=b"cis entry").digest()


def id_of(raw: bytes) -> bytes:
    """Return the id of a whole entry, whether it is what its issuer signed or not; `PeerFault` where it is none."""
    return entry_id(decode_entry(raw).statement)


def hash_attachment(attachment: bytes) -> bytes:
    """Return what a statement carries of its attachment."""
    return blake2b(attachment, digest_size=32, person=b"cis attachment").digest()


def named_space(cluster: bytes, issuer: NodeId, nonce: bytes) -> SpaceId:
    """Return the id of the space that an entry of this issuer and nonce makes."""
    return SpaceId(blake2b(cluster + issuer + nonce, digest_size=16, person=b"cis space id").digest())


def sign_entry(identity: Identity, statement: Statement, attachment: bytes) -> bytes:
    """Return the bytes of an entry, signed by its issuer."""
    assert statement.issuer == identity.node
    assert statement.attachment_hash == hash_attachment(attachment)
    stated = encode_part(statement)
    return encode_part(Entry(stated, identity.sign(Label.MEMBERSHIP, stated), attachment))


def read_entry(raw: bytes) -> SignedEntry:
    """Decode and verify a whole entry; `PeerFault` MALFORMED, TOO_LARGE, BAD_SIGNATURE or BAD_HASH."""
    link = _read(raw)
    attachment = link.attachment
    if hash_attachment(attachment) != link.statement.attachment_hash:
        raise PeerFault(Fault.BAD_HASH, "a membership entry's attachment is not the one its issuer signed")
    sealed: tuple[Sealed, ...] = ()
    cuts: tuple[Cut, ...] = ()
    match link.body:
        case Grant() if link.founding:
            if len(attachment) not in (0, RECOVERY_LENGTH):
                raise PeerFault(Fault.MALFORMED, "a founding entry whose attachment is no recovery key")
        case Grant(subject=subject):
            sealed = tuple(Sealed(subject, key) for key in decode_sealed_keys(attachment))
        case Revoke():
            cuts = decode_cuts(attachment)
        case Rotate() | NewSpace():
            sealed = decode_sealed(attachment)
    return SignedEntry(link.id, raw, link.statement, link.body, attachment, sealed, cuts)


def without_attachment(raw: bytes) -> bytes:
    """Return an entry as a link of a chain: what proves membership, without the keys."""
    entry = decode_entry(raw)
    return encode_part(Entry(entry.statement, entry.signature, b""))


def read_chain(cluster: bytes, node: NodeId, chain: Sequence[bytes]) -> tuple[SignedEntry, ...]:
    """Return the grants of a chain from the founding one to the node; none where it does not lead there.

    Every link is signed by an admin the links before it made, or by the recovery key, which the founding one
    names by its hash. That an admin was later revoked does not show in a chain; the caller's own log says it.
    """
    try:
        links = tuple(_read(raw) for raw in chain)
    except PeerFault:
        return ()
    admins: set[NodeId] = set()
    members: set[NodeId] = set()
    for place, link in enumerate(links):
        grant = link.grant
        if grant is None:
            return ()
        if place == 0:
            allowed = link.founding and link.id == cluster
        else:
            by_recovery = hash_attachment(link.issuer) == links[0].statement.attachment_hash
            allowed = link.statement.cluster == cluster and (link.issuer in admins or by_recovery)
        if not allowed:
            return ()
        members.add(grant.subject)
        if grant.role is Role.ADMIN:
            admins.add(grant.subject)
    return links if node in members else ()


def verify_chain(cluster: bytes, node: NodeId, chain: Sequence[bytes]) -> bool:
    """Tell whether a chain of grants leads from the founding grant of the cluster to the node. Never raises."""
    return bool(read_chain(cluster, node, chain))


def _read(raw: bytes) -> SignedEntry:
    entry = decode_entry(raw)
    statement = decode_statement(entry.statement)
    if not verify(statement.issuer, Label.MEMBERSHIP, entry.statement, entry.signature):
        raise PeerFault(Fault.BAD_SIGNATURE, "a membership entry was altered, or is not by the issuer it names")
    return SignedEntry(entry_id(entry.statement), raw, statement, _read_body(statement), entry.attachment)


def _read_body(statement: Statement) -> Body | None:
    match statement.kind:
        case EntryKind.GRANT:
            grant = decode_grant(statement.body)
            if not usable(grant.sealing_key):
                raise PeerFault(Fault.MALFORMED, "a grant to a node to whose X25519 key nothing can be sealed")
            return grant
        case EntryKind.REVOKE:
            return decode_revoke(statement.body)
        case EntryKind.ROTATE:
            return decode_rotate(statement.body)
        case EntryKind.SPACE:
            new = decode_new_space(statement.body)
            if new.space != named_space(statement.cluster, statement.issuer, statement.nonce):
                raise PeerFault(Fault.MALFORMED, "a new space whose id is not that of its entry")
            return new
    return None
