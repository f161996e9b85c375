"""Messages of the streams opened after the handshake, and their one decoder.

Every message is one frame: MessagePack, an array whose first element is the tag. `decode` returns a message
or raises `PeerFault`; it allocates no more than the frame it was given, whose length was bounded before it
was read.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.errors import Fault, PeerFault
from cis.wire.audit import AuditMessage
from cis.wire.decoding import Node
from cis.wire.gossip import GossipMessage
from cis.wire.segment import BODY_BYTES_MAX, SEGMENT_TAG, Segment

FRAME_BYTES_MAX = 1 << 20
REPLICAS_MAX = 4096
RANGES_MAX = 4096
SPACES_MAX = 256
ENTRIES_MAX = 1024
IDS_MAX = 16_384
RECORDS_MAX = 64
KINDS_MAX = 16
BODIES_MAX = 64
"""Bodies asked for in one question: what answers it has no more than some 20 MiB."""
SEALED_SIGNAL_BYTES_MAX = 8448
"""A signal of the greatest length, sealed."""

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Space = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Replica = Annotated[bytes, msgspec.Meta(min_length=40, max_length=40)]
ChangeKind = Annotated[int, msgspec.Meta(ge=0, lt=256)]
Head = Annotated[bytes, msgspec.Meta(max_length=8)]
Seq = Annotated[int, msgspec.Meta(ge=1, lt=1 << 40)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Sealed = Annotated[bytes, msgspec.Meta(min_length=44, max_length=SEALED_SIGNAL_BYTES_MAX)]


class Open(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """First message of a stream: what it is for (``sync``, ``gossip``, ``ping``, …; docs/protocol.md lists them)."""

    purpose: Annotated[str, msgspec.Meta(max_length=32)]


class Summary(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Digests of the membership log and of the vector of each space offered: equal means in step."""

    membership: Hash
    spaces: Annotated[list[tuple[Space, Hash]], msgspec.Meta(max_length=SPACES_MAX)]


class MembershipIds(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """Ids of all membership entries the sender tells others; of more than IDS_MAX the first."""

    ids: Annotated[list[Hash], msgspec.Meta(max_length=IDS_MAX)]


class MembershipEntries(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """Membership entries the receiver lacked, parents first; ``more`` until the last batch."""

    entries: Annotated[list[bytes], msgspec.Meta(max_length=ENTRIES_MAX)]
    more: bool = False


class Vector(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """The version vector of one space, the dots beyond gaps, and the stable floor; ``more`` until the last page.

    ``owes`` while a floor that was taken over is to be compared once more.
    Beside each number stands the beginning of the link the log has there, so that a fork shows. ``partial`` where the
    sender does not keep all bodies, and so does not hand on all it has the headers of; of those of the kinds
    ``unwanted`` it wants none sent.
    """

    space: Space
    seqs: Annotated[list[tuple[Replica, Seq, Head]], msgspec.Meta(max_length=REPLICAS_MAX)]
    beyond: Annotated[list[tuple[Replica, Seq, Seq]], msgspec.Meta(max_length=RANGES_MAX)] = []
    floor: Annotated[list[tuple[Replica, Seq]], msgspec.Meta(max_length=REPLICAS_MAX)] = []
    more: bool = False
    owes: bool = False
    partial: bool = False
    unwanted: Annotated[list[ChangeKind], msgspec.Meta(max_length=KINDS_MAX)] = []


class Acknowledge(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Bytes of segments committed so far in this session; returns credit and moves resumption forward."""

    committed: Count


class Done(msgspec.Struct, array_like=True, tag=7, frozen=True):
    """The sender has no more to send in this session; ``sent`` is its total of segment bytes."""

    sent: Count


class Ping(msgspec.Struct, array_like=True, tag=8, frozen=True):
    """Asks for a `Pong` with the same number."""

    number: Count


class Pong(msgspec.Struct, array_like=True, tag=9, frozen=True):
    """Answers a `Ping`; ``clock_ms`` is the answering node's wall clock, to show skew."""

    number: Count
    clock_ms: Count


class Records(msgspec.Struct, array_like=True, tag=10, frozen=True):
    """Signed node records the sender knows: its own first."""

    records: Annotated[list[bytes], msgspec.Meta(max_length=RECORDS_MAX)]


class Forward(msgspec.Struct, array_like=True, tag=11, frozen=True):
    """Asks a member to pass a sealed signal on to another it has a connection with; answered by `Taken`."""

    to: Node
    sealed: Sealed


class Forwarded(msgspec.Struct, array_like=True, tag=12, frozen=True):
    """A sealed signal for the receiver, from the member it says: from the other side itself, or passed on by it."""

    sender: Node
    sealed: Sealed


class Taken(msgspec.Struct, array_like=True, tag=13, frozen=True):
    """Whether what was to be passed on was."""

    taken: bool


class WantBodies(msgspec.Struct, array_like=True, tag=14, frozen=True):
    """Asks for the sealed bodies of changes, to be read and not to be kept; answered by a `Body` for each, in order."""

    space: Space
    wanted: Annotated[list[tuple[Replica, Seq]], msgspec.Meta(min_length=1, max_length=BODIES_MAX)]


class Body(msgspec.Struct, array_like=True, tag=15, frozen=True):
    """The sealed body of a change; empty where the sender does not have it, or does not share its space."""

    replica: Replica
    seq: Seq
    sealed: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)] = b""


Message = (
    Open
    | Summary
    | MembershipIds
    | MembershipEntries
    | Vector
    | Acknowledge
    | Done
    | Ping
    | Pong
    | Records
    | Forward
    | Forwarded
    | Taken
    | WantBodies
    | Body
    | Segment
    | GossipMessage
    | AuditMessage
)

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def decode(frame: bytes) -> Message:
    """Return the message of a frame, or raise `PeerFault`."""
    try:
        message: Message = _decode(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PeerFault(Fault.MALFORMED, f"message: {error}") from None
    return message


def is_segment(frame: bytes) -> bool:
    """Tell a segment from other messages without decoding it: the bulk of a sync costs the loop nothing."""
    return len(frame) > 1 and frame[0] & 0xF0 == 0x90 and frame[1] == SEGMENT_TAG
