"""What a node and its libp2p worker say to each other: four bytes of length, then one message of MessagePack.

Neither side trusts the other's bytes: the worker, since strangers speak to it, and the node's since it is one decoder.
Lengths are checked before anything is read or decoded, and whatever is wrong is a `PeerFault`::

    pipe.write(framed(Found(tag, sealed)))
    length = length_of(header, bytes_max=TO_NODE_BYTES_MAX)
    message = to_node(body)
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from cis.discovery.libp2p.places import PLACE_LENGTH_MAX
from cis.errors import Fault, PeerFault
from cis.wire.decoding import Bytes16, decode_message

PROTOCOL = "/cis/record/1"
HEADER_LENGTH = 4
SEALED_BYTES_MAX = 4096
ENTRIES_MAX = 64
HOSTS_MAX = 16
TAGS_EACH_MAX = 16
MEMBERS_MAX = 64
"""Members sought at once: each costs look-ups in a network that is not ours."""
TO_NODE_BYTES_MAX = SEALED_BYTES_MAX + 64
TO_WORKER_BYTES_MAX = 64 << 10

Sealed = Annotated[bytes, msgspec.Meta(min_length=1, max_length=SEALED_BYTES_MAX)]
_Entry = Annotated[str, msgspec.Meta(max_length=PLACE_LENGTH_MAX)]
_Host = Annotated[str, msgspec.Meta(max_length=64)]
_Tags = Annotated[tuple[Bytes16, ...], msgspec.Meta(max_length=TAGS_EACH_MAX)]


class Trouble(enum.IntEnum):
    """What keeps a worker from working; no text of its own, since it would name addresses."""

    NONE = 0
    PORT = 1
    """It cannot listen."""
    LONELY = 2
    """No entry point answers, and nobody else of the network is known."""
    BROKEN = 3
    """py-libp2p cannot be used."""


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What all have in common."""


class Begin(_Message, frozen=True, tag=1):
    """Node → worker, first: listen there and join the network by these entry points, the user's own first.

    ``private`` says that no public entry point is among them, so addresses of private networks may be meant;
    ``loopback`` that the node itself is on loopback.
    """

    listen: _Host
    port: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
    entries: Annotated[tuple[_Entry, ...], msgspec.Meta(max_length=ENTRIES_MAX)]
    private: bool
    loopback: bool


class Show(_Message, frozen=True, tag=2):
    """Node → worker: provide the key of this tag at these addresses, and give this to whoever asks for the tag."""

    tag: Bytes16
    sealed: Sealed
    hosts: Annotated[tuple[_Host, ...], msgspec.Meta(max_length=HOSTS_MAX)]


class Seek(_Message, frozen=True, tag=3):
    """Node → worker: look for these from now on; the tags of one member stand together, the likeliest first."""

    members: Annotated[tuple[_Tags, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Standing(_Message, frozen=True, tag=4):
    """Worker → node, whenever it changes: how many nodes of the network are known, whether the key is provided."""

    known: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    shown: bool
    trouble: Trouble


class Found(_Message, frozen=True, tag=5):
    """Worker → node: what somebody gave who was asked for the tag."""

    tag: Bytes16
    sealed: Sealed


ToWorker = Begin | Show | Seek
ToNode = Standing | Found
_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_TO_NODE: msgspec.msgpack.Decoder[ToNode] = msgspec.msgpack.Decoder(ToNode)


def framed(message: ToWorker | ToNode) -> bytes:
    """Return a message as it goes through the pipe."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER_LENGTH, "big") + body


def length_of(header: bytes, *, bytes_max: int) -> int:
    """Return the length of the message behind a header; `PeerFault` for one that cannot be."""
    length = int.from_bytes(header, "big")
    if not 0 < length <= bytes_max:
        raise PeerFault(Fault.MALFORMED, f"a message of {length} bytes between a node and its libp2p worker")
    return length


def to_worker(body: bytes) -> ToWorker:
    """Return what a node says; `PeerFault` for anything else."""
    return decode_message(_TO_WORKER, body, what="a message to the libp2p worker", bytes_max=TO_WORKER_BYTES_MAX)


def to_node(body: bytes) -> ToNode:
    """Return what a worker says; `PeerFault` for anything else."""
    return decode_message(_TO_NODE, body, what="a message of the libp2p worker", bytes_max=TO_NODE_BYTES_MAX)
