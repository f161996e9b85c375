"""One entry of the membership log by itself: making and verifying it, and chains of grants to the founder.

Whether the issuer had the right is not decided here but by what came before it (`cis.trust.membership`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cis.errors import Fault, PeerFault
from cis.model import NodeId
from cis.trust.identity import Identity, Label, verify
from cis.wire.membership import (
    NO_CLUSTER,
    Entry,
    EntryKind,
    Grant,
    Role,
    Statement,
    decode_entry,
    decode_grant,
    decode_statement,
    encode_part,
)


@dataclass(frozen=True, slots=True)
class SignedEntry:
    """An entry whose signature holds. ``grant`` is None for a kind this version does not know."""

    id: bytes
    raw: bytes
    statement: Statement
    grant: Grant | None
    attachment: bytes

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


def hash_attachment(attachment: bytes) -> bytes:
    """Return what a statement carries of its attachment."""
    return blake2b(attachment, digest_size=32, person=b"cis attachment").digest()


def sign_entry(identity: Identity, statement: Statement, attachment: bytes) -> bytes:
    """Return the bytes of an entry, signed by its issuer."""
    assert statement.issuer == identity.node
    assert statement.attachment_hash == hash_attachment(attachment)
    stated = encode_part(statement)
    return encode_part(Entry(stated, identity.sign(Label.MEMBERSHIP, stated), attachment))


def read_entry(raw: bytes) -> SignedEntry:
    """Decode and verify a whole entry; `PeerFault` MALFORMED, TOO_LARGE, BAD_SIGNATURE or BAD_HASH."""
    entry = _read(raw)
    if hash_attachment(entry.attachment) != entry.statement.attachment_hash:
        raise PeerFault(Fault.BAD_HASH, "a membership entry's attachment is not the one its issuer signed")
    return entry


def without_attachment(raw: bytes) -> bytes:
    """Return an entry as a link of a chain: what proves membership, without the keys."""
    entry = decode_entry(raw)
    return encode_part(Entry(entry.statement, entry.signature, b""))


def verify_chain(cluster: bytes, node: NodeId, chain: Sequence[bytes]) -> bool:
    """Tell whether a chain of grants leads from the founding grant of the cluster to the node.

    Every link is signed by an admin the links before it made. That such an admin was later revoked does not
    show in a chain; the caller's own log says it. Never raises: what does not decode leads nowhere.
    """
    try:
        links = [_read(raw) for raw in chain]
    except PeerFault:
        return False
    admins: set[NodeId] = set()
    members: set[NodeId] = set()
    for place, link in enumerate(links):
        grant = link.grant
        if grant is None:
            return False
        if place == 0:
            allowed = link.founding and link.id == cluster
        else:
            allowed = link.statement.cluster == cluster and link.statement.issuer in admins
        if not allowed:
            return False
        members.add(grant.subject)
        if grant.role is Role.ADMIN:
            admins.add(grant.subject)
    return node in members


def _read(raw: bytes) -> SignedEntry:
    entry = decode_entry(raw)
    statement = decode_statement(entry.statement)
    if not verify(statement.issuer, Label.MEMBERSHIP, entry.statement, entry.signature):
        raise PeerFault(Fault.BAD_SIGNATURE, "a membership entry was altered, or is not by the issuer it names")
    grant = decode_grant(statement.body) if statement.kind == EntryKind.GRANT else None
    return SignedEntry(entry_id(entry.statement), raw, statement, grant, entry.attachment)
