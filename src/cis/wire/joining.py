"""The messages by which a ticket becomes a membership, on a connection authenticated with that ticket.

A refusal closes the connection with its reason.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.wire.decoding import Bytes32, decode_message
from cis.wire.membership import ENTRY_BYTES_MAX, NAME_PATTERN

JOIN_BYTES_MAX = 1 << 20
"""One frame."""


class JoinRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=1):
    """Joiner → issuer: the X25519 key to seal keys to, and the name it would like."""

    sealing_key: Bytes32
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]


class JoinGranted(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=2):
    """Issuer → joiner: entries of the membership log, parents first, the joiner's own grant last; ``more`` follow."""

    entries: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=ENTRY_BYTES_MAX)], ...],
        msgspec.Meta(min_length=1, max_length=4096),
    ]
    more: bool = False


JoinMessage = JoinRequest | JoinGranted

_JOIN: msgspec.msgpack.Decoder[JoinMessage] = msgspec.msgpack.Decoder(JoinMessage)


def encode_join(message: JoinMessage) -> bytes:
    """Return the bytes of any message of joining."""
    return msgspec.msgpack.encode(message)


def decode_join(frame: bytes) -> JoinMessage:
    """Return a message of joining; `PeerFault` TOO_LARGE or MALFORMED when the bytes are none."""
    return decode_message(_JOIN, frame, what="a message of joining", bytes_max=JOIN_BYTES_MAX)
