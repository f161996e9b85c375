"""The frames of pairing (docs/protocol.md): start, reply, and sealed ones; and what lies in the sealed ones.

The start is as long as a hello, and the other frames are one opaque box each. Tags are none of the handshake's, so a
listener without a live code meets a start as a hello that does not decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from cis.wire.decoding import Bytes32, Milliseconds, Node, decode_message
from cis.wire.handshake import HELLO_BYTES, Version
from cis.wire.membership import NAME_PATTERN

PAIRING_FRAME_BYTES_MAX = 1024
TICKET_BYTES_MAX = 512
_SEALED_OVERHEAD = 16
_INTRODUCTION_BYTES = 256
"""Every introduction is sealed at this length, whatever name is in it."""


class Start(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=64):
    """Taker → shower: what it speaks, and its message of SPAKE2."""

    versions: Annotated[tuple[Version, ...], msgspec.Meta(min_length=1, max_length=16)]
    element: Bytes32
    padding: Annotated[bytes, msgspec.Meta(max_length=HELLO_BYTES)]


class Reply(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=65):
    """Shower → taker: the version chosen, its message of SPAKE2, and a hash that binds it to its introduction."""

    version: Version
    element: Bytes32
    commitment: Bytes32


class Sealed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=66):
    """Either way, from then on: a message only who knows the code can make or read."""

    box: Annotated[bytes, msgspec.Meta(min_length=_SEALED_OVERHEAD, max_length=PAIRING_FRAME_BYTES_MAX)]


class Claim(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Who is here, and how it stands: ``movable`` where it may leave its cluster for another, being alone in it."""

    node: Node
    cluster: Bytes32
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    movable: bool
    admin: bool
    clock_ms: Milliseconds


class Introduction(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=70):
    """Either way: a claim, and what its side adds to the words that people compare."""

    nonce: Bytes32
    claim: Claim
    padding: Annotated[bytes, msgspec.Meta(max_length=_INTRODUCTION_BYTES)] = b""


class Ready(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=71):
    """The taker, when it is to join: the shower may make the ticket now."""


class Offer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=72):
    """Who invites: the ticket, good for the other node alone."""

    ticket: Annotated[str, msgspec.Meta(max_length=TICKET_BYTES_MAX)]


PairingMessage = Introduction | Ready | Offer

_START_HEAD = msgspec.msgpack.encode(Start((1,), bytes(32), b""))[:2]
_START = msgspec.msgpack.Decoder(Start)
_REPLY = msgspec.msgpack.Decoder(Reply)
_SEALED = msgspec.msgpack.Decoder(Sealed)
_MESSAGE: msgspec.msgpack.Decoder[PairingMessage] = msgspec.msgpack.Decoder(PairingMessage)


def is_start(frame: bytes) -> bool:
    """Tell whether a first frame begins a pairing, and not a handshake."""
    return len(frame) == HELLO_BYTES and frame.startswith(_START_HEAD)


def encode_start(versions: Sequence[int], element: bytes) -> bytes:
    """Return a start of exactly ``HELLO_BYTES``."""
    bare = len(msgspec.msgpack.encode(Start(tuple(versions), element, b"")))
    frame = msgspec.msgpack.encode(Start(tuple(versions), element, bytes(HELLO_BYTES - bare)))
    assert len(frame) == HELLO_BYTES
    return frame


def encode_pairing(frame: Reply | Sealed) -> bytes:
    """Return the bytes of any later frame."""
    return msgspec.msgpack.encode(frame)


def encode_sealed(message: PairingMessage) -> bytes:
    """Return what is to be sealed; an introduction, which is given unpadded, at its one length."""
    if isinstance(message, Introduction):
        bare = len(msgspec.msgpack.encode(message))
        message = msgspec.structs.replace(message, padding=bytes(_INTRODUCTION_BYTES - bare))
    return msgspec.msgpack.encode(message)


def encode_claim(claim: Claim) -> bytes:
    """Return the bytes of a claim as they are hashed: one form for each."""
    return msgspec.msgpack.encode(claim)


def decode_start(frame: bytes) -> Start:
    """Return the taker's first frame; `cis.errors.PeerFault` when it is none."""
    return decode_message(_START, frame, what="the start of a pairing", bytes_max=HELLO_BYTES)


def decode_reply(frame: bytes) -> Reply:
    """Return the shower's first frame; `cis.errors.PeerFault` when it is none."""
    return decode_message(_REPLY, frame, what="the reply of a pairing", bytes_max=PAIRING_FRAME_BYTES_MAX)


def decode_box(frame: bytes) -> bytes:
    """Return what any later frame holds, still sealed; `cis.errors.PeerFault` when it is none."""
    return decode_message(_SEALED, frame, what="a frame of a pairing", bytes_max=PAIRING_FRAME_BYTES_MAX).box


def decode_sealed(plain: bytes) -> PairingMessage:
    """Return a message once unsealed; `cis.errors.PeerFault` when it is none."""
    return decode_message(_MESSAGE, plain, what="a message of pairing", bytes_max=PAIRING_FRAME_BYTES_MAX)
