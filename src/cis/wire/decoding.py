"""Bytes from a peer to a struct, or to a fault with its reason; nothing else leaves this module.

Lengths are checked before anything is decoded, and msgspec checks every length a message claims against the
struct before it allocates, so memory stays within a small multiple of what arrived.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from cis.errors import Fault, PeerFault
from cis.model import NodeId, ReplicaId, SpaceId

Message = TypeVar("Message")

Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Node = Annotated[NodeId, msgspec.Meta(min_length=32, max_length=32)]
Replica = Annotated[ReplicaId, msgspec.Meta(min_length=40, max_length=40)]
Space = Annotated[SpaceId, msgspec.Meta(min_length=16, max_length=16)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=1 << 47)]
"""Unix time; below 2⁴⁷ like the physical part of a stamp (`cis.model.hlc`)."""


def decode_message(decoder: msgspec.msgpack.Decoder[Message], frame: bytes, *, what: str, bytes_max: int) -> Message:
    """Decode one message of at most ``bytes_max`` bytes; ``what`` names it in the fault.

    Raises `PeerFault`: TOO_LARGE when it is longer, MALFORMED when it does not decode.
    """
    if len(frame) > bytes_max:
        raise PeerFault(Fault.TOO_LARGE, f"{what} of {len(frame)} bytes, over its limit of {bytes_max}")
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise PeerFault(Fault.MALFORMED, f"{what} does not decode: {error}") from error
