"""The form of the membership log: signed statements, each naming the statements its issuer had seen.

An `Entry` carries the exact bytes that were signed. A `Statement` has the same head whatever it states; its
``body`` is read by ``kind``. A node that does not know a kind still checks, keeps and relays the entry, so
new kinds need no new format. What only its recipients read (sealed keys) stands in the ``attachment``, of
which the statement carries the hash: a chain of grants is shown without attachments.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from cis.errors import Fault, PeerFault
from cis.model import SpaceId
from cis.model.change import SEQ_BITS
from cis.wire.decoding import Bytes16, Bytes32, Milliseconds, Node, Replica, Signature, Space, decode_message

STATEMENT_BYTES_MAX = 16 * 1024
ATTACHMENT_BYTES_MAX = 384 * 1024
ENTRY_BYTES_MAX = STATEMENT_BYTES_MAX + ATTACHMENT_BYTES_MAX + 256
PARENTS_MAX = 16
SPACES_MAX = 256
SEALED_KEYS_MAX = 2048
SEALED_BYTES_MAX = 256
CUTS_MAX = 2048
SPACE_NAME_BYTES_MAX = 128
RECOVERY_LENGTH = 32
"""Of the attachment of a founding entry that names a recovery key; any other is empty."""
NAME_PATTERN = r"\A[a-z0-9-]{1,32}\Z"
NO_CLUSTER = bytes(32)
"""What the founding grant names as its cluster, whose id is that grant's own hash."""
NO_SPACE = SpaceId(bytes(16))
"""What a discovery key names as its space: it belongs to the whole cluster."""


class EntryKind(enum.IntEnum):
    """What a statement states; a kind not listed here is kept and relayed, and confers nothing."""

    GRANT = 1
    REVOKE = 2
    ROTATE = 3
    SPACE = 4


class Role(enum.IntEnum):
    """What a member may do, the strongest first."""

    ADMIN = 1
    """Everything, and admitting others."""
    WRITER = 2
    READER = 3
    BLIND = 4
    """Holds and forwards ciphertext; is given no key of a space."""


class SealedKey(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One key sealed to one member: of a space and epoch, or with NO_SPACE the discovery key."""

    space: Space
    epoch: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    sealed: Annotated[bytes, msgspec.Meta(max_length=SEALED_BYTES_MAX)]


class Grant(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The subject is a member under this name, with this role, in these spaces.

    ``sealing_key`` is the subject's X25519 public key. An admin is one in every space, listed or not.
    """

    subject: Node
    sealing_key: Bytes32
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    role: Role
    spaces: Annotated[tuple[Space, ...], msgspec.Meta(max_length=SPACES_MAX)]


class Revoke(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The subject is no member any more; with ``spaces``, it keeps its membership and loses these.

    The attachment names, as `Cut`s, how far each of its logs counts.
    """

    subject: Node
    spaces: Annotated[tuple[Space, ...], msgspec.Meta(max_length=SPACES_MAX)]


class Cut(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Of this log, what lies beyond ``seq`` counts for nothing."""

    space: Space
    replica: Replica
    seq: Annotated[int, msgspec.Meta(ge=0, lt=1 << SEQ_BITS)]


class Rotate(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A new epoch of a space, or of the discovery key; the attachment holds its key, sealed to each recipient.

    The epoch's number is the first four bytes of ``key_hash``, which is never zero there.
    """

    space: Space
    key_hash: Bytes32

    @property
    def epoch(self) -> int:
        """The number under which changesets name this epoch."""
        return int.from_bytes(self.key_hash[:4], "big")


class NewSpace(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A named space, in its epoch 0; the attachment holds its keys, sealed to each recipient.

    ``name`` is sealed under the key of epoch 0, so that only those read it who read the space.
    """

    space: Space
    name: Annotated[bytes, msgspec.Meta(max_length=SPACE_NAME_BYTES_MAX)]


class Sealed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A key in an attachment that speaks to several nodes, and whom it is for."""

    recipient: Node
    key: SealedKey


class Statement(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is signed. The id of an entry is the hash of these bytes; ``nonce`` keeps two alike apart.

    ``parents`` are the ids of the latest entries its issuer knew, empty only in the founding grant.
    ``issued_ms`` is Unix time by the issuer's clock, for people to read; nothing is decided by it.
    """

    kind: Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
    cluster: Bytes32
    parents: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=PARENTS_MAX)]
    issuer: Node
    issued_ms: Milliseconds
    nonce: Bytes16
    body: Annotated[bytes, msgspec.Meta(max_length=STATEMENT_BYTES_MAX)]
    attachment_hash: Bytes32


class Entry(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The envelope: the statement's exact bytes, the issuer's signature over them, and the attachment."""

    statement: Annotated[bytes, msgspec.Meta(max_length=STATEMENT_BYTES_MAX)]
    signature: Signature
    attachment: Annotated[bytes, msgspec.Meta(max_length=ATTACHMENT_BYTES_MAX)]


Part = (
    Entry
    | Statement
    | Grant
    | Revoke
    | Rotate
    | NewSpace
    | tuple[SealedKey, ...]
    | tuple[Sealed, ...]
    | tuple[Cut, ...]
)

_Keys = Annotated[tuple[SealedKey, ...], msgspec.Meta(max_length=SEALED_KEYS_MAX)]
_Addressed = Annotated[tuple[Sealed, ...], msgspec.Meta(max_length=SEALED_KEYS_MAX)]
_Cuts = Annotated[tuple[Cut, ...], msgspec.Meta(max_length=CUTS_MAX)]
_ENTRY = msgspec.msgpack.Decoder(Entry)
_STATEMENT = msgspec.msgpack.Decoder(Statement)
_GRANT = msgspec.msgpack.Decoder(Grant)
_REVOKE = msgspec.msgpack.Decoder(Revoke)
_ROTATE = msgspec.msgpack.Decoder(Rotate)
_NEW_SPACE = msgspec.msgpack.Decoder(NewSpace)
_SEALED_KEYS: msgspec.msgpack.Decoder[tuple[SealedKey, ...]] = msgspec.msgpack.Decoder(_Keys)
_SEALED: msgspec.msgpack.Decoder[tuple[Sealed, ...]] = msgspec.msgpack.Decoder(_Addressed)
_CUTS: msgspec.msgpack.Decoder[tuple[Cut, ...]] = msgspec.msgpack.Decoder(_Cuts)


def encode_part(part: Part) -> bytes:
    """Return the bytes of an entry or of one of its parts."""
    return msgspec.msgpack.encode(part)


def decode_entry(data: bytes) -> Entry:
    """Return the envelope, unverified; `PeerFault` when the bytes are none."""
    return decode_message(_ENTRY, data, what="a membership entry", bytes_max=ENTRY_BYTES_MAX)


def decode_statement(data: bytes) -> Statement:
    """Return the statement inside an entry; `PeerFault` when the bytes are none."""
    return decode_message(_STATEMENT, data, what="a membership statement", bytes_max=STATEMENT_BYTES_MAX)


def decode_grant(data: bytes) -> Grant:
    """Return the body of a statement of kind GRANT; `PeerFault` when the bytes are none."""
    return decode_message(_GRANT, data, what="a grant", bytes_max=STATEMENT_BYTES_MAX)


def decode_revoke(data: bytes) -> Revoke:
    """Return the body of a statement of kind REVOKE; `PeerFault` when the bytes are none."""
    return decode_message(_REVOKE, data, what="a revocation", bytes_max=STATEMENT_BYTES_MAX)


def decode_rotate(data: bytes) -> Rotate:
    """Return the body of a statement of kind ROTATE; `PeerFault` when the bytes are none, or name epoch 0."""
    rotate = decode_message(_ROTATE, data, what="a rotation", bytes_max=STATEMENT_BYTES_MAX)
    if rotate.epoch == 0:
        raise PeerFault(Fault.MALFORMED, "a rotation to epoch 0, which is the founding one")
    return rotate


def decode_new_space(data: bytes) -> NewSpace:
    """Return the body of a statement of kind SPACE; `PeerFault` when the bytes are none."""
    return decode_message(_NEW_SPACE, data, what="a new space", bytes_max=STATEMENT_BYTES_MAX)


def decode_sealed_keys(data: bytes) -> tuple[SealedKey, ...]:
    """Return the keys in a grant's attachment, none from an empty one; `PeerFault` when it is damaged."""
    if not data:
        return ()
    return decode_message(_SEALED_KEYS, data, what="sealed keys", bytes_max=ATTACHMENT_BYTES_MAX)


def decode_sealed(data: bytes) -> tuple[Sealed, ...]:
    """Return the keys in the attachment of a rotation or a new space; `PeerFault` when it is damaged."""
    if not data:
        return ()
    return decode_message(_SEALED, data, what="sealed keys", bytes_max=ATTACHMENT_BYTES_MAX)


def decode_cuts(data: bytes) -> tuple[Cut, ...]:
    """Return the cuts in a revocation's attachment; `PeerFault` when it is damaged."""
    if not data:
        return ()
    return decode_message(_CUTS, data, what="cuts", bytes_max=ATTACHMENT_BYTES_MAX)
