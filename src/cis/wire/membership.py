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

from cis.model import SpaceId
from cis.wire.decoding import Bytes16, Bytes32, Milliseconds, Node, Signature, Space, decode_message

STATEMENT_BYTES_MAX = 16 * 1024
ATTACHMENT_BYTES_MAX = 256 * 1024
ENTRY_BYTES_MAX = STATEMENT_BYTES_MAX + ATTACHMENT_BYTES_MAX + 256
PARENTS_MAX = 16
SPACES_MAX = 256
SEALED_KEYS_MAX = 2048
SEALED_BYTES_MAX = 256
NAME_PATTERN = r"\A[a-z0-9-]{1,32}\Z"
NO_CLUSTER = bytes(32)
"""What the founding grant names as its cluster, whose id is that grant's own hash."""
NO_SPACE = SpaceId(bytes(16))
"""What a sealed discovery key names as its space: it belongs to the whole cluster."""


class EntryKind(enum.IntEnum):
    """What a statement states; a kind not listed here is kept and relayed, and confers nothing."""

    GRANT = 1


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


_SealedKeys = Annotated[tuple[SealedKey, ...], msgspec.Meta(max_length=SEALED_KEYS_MAX)]
_ENTRY = msgspec.msgpack.Decoder(Entry)
_STATEMENT = msgspec.msgpack.Decoder(Statement)
_GRANT = msgspec.msgpack.Decoder(Grant)
_SEALED_KEYS: msgspec.msgpack.Decoder[tuple[SealedKey, ...]] = msgspec.msgpack.Decoder(_SealedKeys)


def encode_part(part: Entry | Statement | Grant | tuple[SealedKey, ...]) -> bytes:
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


def decode_sealed_keys(data: bytes) -> tuple[SealedKey, ...]:
    """Return the keys in a grant's attachment, none from an empty one; `PeerFault` when it is damaged."""
    if not data:
        return ()
    return decode_message(_SEALED_KEYS, data, what="sealed keys", bytes_max=ATTACHMENT_BYTES_MAX)
