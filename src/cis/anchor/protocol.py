"""What a node and an anchor say to each other (docs/protocol.md): one message of MessagePack a WebSocket frame.

Requests bear a number, and each is answered once, by a message that bears it too. `decode` is the one decoder of
either side: lengths are checked before anything is decoded, and whatever is wrong is a `PeerFault`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.errors import Denied
from cis.wire.decoding import Bytes16, Bytes32, Signature, decode_message
from cis.wire.messages import SEALED_SIGNAL_BYTES_MAX

VERSION = 1
PATH = "/v1"
TAG_LENGTH = 16
RECORD_BYTES_MAX = 4096
POST_BYTES_MAX = SEALED_SIGNAL_BYTES_MAX
CHUNK_BYTES_MAX = 16 << 10
TAGS_MAX = 64
"""Tags of one look-up; so an answer stays below `ANSWER_BYTES_MAX`."""
REQUEST_BYTES_MAX = CHUNK_BYTES_MAX + 64
ANSWER_BYTES_MAX = TAGS_MAX * (RECORD_BYTES_MAX + 64)
TTL_S_MAX = 3600
ROOM_S_MAX = 180
TOKEN_LENGTH_MAX = 256
TEXT_LENGTH_MAX = 200

Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
RoomNumber = Annotated[int, msgspec.Meta(ge=1, le=999)]
Chunk = Annotated[bytes, msgspec.Meta(min_length=1, max_length=CHUNK_BYTES_MAX)]
Posting = Annotated[bytes, msgspec.Meta(min_length=1, max_length=POST_BYTES_MAX)]


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What all have in common."""


class Hello(_Message, frozen=True, tag=1):
    """Node → anchor, first: the version it speaks, and the anchor's access token if it was given one."""

    version: Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
    token: Annotated[str, msgspec.Meta(max_length=TOKEN_LENGTH_MAX)] = ""


class Welcome(_Message, frozen=True, tag=2):
    """Anchor → node: what a claim is made over, and the UDP port at which it answers STUN, 0 for none."""

    challenge: Bytes32
    stun_port: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]


class Claim(_Message, frozen=True, tag=3):
    """A tag is this node's: it may register under it from now on, and is sent what is posted to it."""

    number: Number
    key: Bytes32
    signature: Signature


class Release(_Message, frozen=True, tag=4):
    """The tag is of no more use to this node; its record stays until it expires."""

    number: Number
    tag: Bytes16


class Register(_Message, frozen=True, tag=5):
    """Keep this record under a tag that was claimed on this connection, in place of the one there."""

    number: Number
    tag: Bytes16
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=TTL_S_MAX)]
    sealed: Annotated[bytes, msgspec.Meta(min_length=1, max_length=RECORD_BYTES_MAX)]


class LookUp(_Message, frozen=True, tag=6):
    """Return what is registered under these tags."""

    number: Number
    tags: Annotated[tuple[Bytes16, ...], msgspec.Meta(max_length=TAGS_MAX)]


class Post(_Message, frozen=True, tag=7):
    """Pass this on to whoever claimed the tag."""

    number: Number
    tag: Bytes16
    sealed: Posting


class OpenRoom(_Message, frozen=True, tag=8):
    """Make a room of that number, for so long, in which this node waits for one other."""

    number: Number
    room: RoomNumber
    life_s: Annotated[int, msgspec.Meta(ge=1, le=ROOM_S_MAX)]


class EnterRoom(_Message, frozen=True, tag=9):
    """Be the other one."""

    number: Number
    room: RoomNumber


class LeaveRoom(_Message, frozen=True, tag=10):
    """The room is over, for both."""

    number: Number


class Say(_Message, frozen=True, tag=11):
    """To the other one in the room; not answered."""

    chunk: Chunk


class Done(_Message, frozen=True, tag=12):
    """Answers a request that was carried out; ``heard`` says of a post whether anybody has claimed the tag."""

    number: Number
    heard: bool = True


class Found(_Message, frozen=True, tag=13):
    """Answers a `LookUp`: what there is."""

    number: Number
    records: Annotated[
        tuple[tuple[Bytes16, Annotated[bytes, msgspec.Meta(max_length=RECORD_BYTES_MAX)]], ...],
        msgspec.Meta(max_length=TAGS_MAX),
    ]


class Refused(_Message, frozen=True, tag=14):
    """Answers a request that was not carried out, for a person to read; number 0 before the connection is closed.

    ``taken`` where a room of another number could be opened.
    """

    number: Number
    why: Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]
    taken: bool = False


class Posted(_Message, frozen=True, tag=15):
    """Anchor → node, unasked: somebody posted this to that tag."""

    tag: Bytes16
    sealed: Posting


class Entered(_Message, frozen=True, tag=16):
    """Anchor → who opened the room, unasked: the other one is there."""


class Said(_Message, frozen=True, tag=17):
    """Anchor → node, unasked: from the other one in the room."""

    chunk: Chunk


class Left(_Message, frozen=True, tag=18):
    """Anchor → node, unasked: the room is over, because the other one left or its time is up."""


class NumberTaken(Denied):
    """There is a room of that number: another number may do."""


Request = Claim | Release | Register | LookUp | Post | OpenRoom | EnterRoom | LeaveRoom
ToAnchor = Hello | Request | Say
Answer = Done | Found | Refused
ToNode = Welcome | Answer | Posted | Entered | Said | Left

encode = msgspec.msgpack.Encoder().encode
_TO_ANCHOR: msgspec.msgpack.Decoder[ToAnchor] = msgspec.msgpack.Decoder(ToAnchor)
_TO_NODE: msgspec.msgpack.Decoder[ToNode] = msgspec.msgpack.Decoder(ToNode)


def decode_to_anchor(data: bytes) -> ToAnchor:
    """Return a node's message; `cis.errors.PeerFault` when it is none."""
    return decode_message(_TO_ANCHOR, data, what="a message to the anchor", bytes_max=REQUEST_BYTES_MAX)


def decode_to_node(data: bytes) -> ToNode:
    """Return an anchor's message; `cis.errors.PeerFault` when it is none."""
    return decode_message(_TO_NODE, data, what="a message of the anchor", bytes_max=ANSWER_BYTES_MAX)
