"""The frames of the handshake (docs/protocol.md): hello, answer, proof, and the verdict.

MessagePack arrays whose first element says which frame it is. The exact bytes are hashed into the transcript
by `cis.trust.handshake`, so a frame is encoded once and never again. All frames of one handshake, both ways,
fit in ``HANDSHAKE_BYTES_MAX``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from cis.errors import Fault, PeerFault
from cis.wire.decoding import Bytes32, Node, Signature, decode_message

HANDSHAKE_BYTES_MAX = 16 * 1024
HELLO_BYTES = 256
"""Every hello has this length, whatever it offers."""
CHAIN_ENTRIES_MAX = 16
CHAIN_BYTES_MAX = 7 * 1024
"""Of the grants one side shows: both sides' chains, and the rest, fit in the limit of the handshake."""
REFUSAL_TEXT_MAX = 200
VERSIONS = (1,)
"""Protocol versions this node speaks."""

Version = Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
Chain = Annotated[
    tuple[Annotated[bytes, msgspec.Meta(max_length=CHAIN_BYTES_MAX)], ...],
    msgspec.Meta(max_length=CHAIN_ENTRIES_MAX),
]


class Hello(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=1):
    """Dialler → listener: what it speaks, and that it knows a key of the cluster; not who it is."""

    versions: Annotated[tuple[Version, ...], msgspec.Meta(min_length=1, max_length=16)]
    nonce: Bytes32
    mac: Bytes32
    padding: Annotated[bytes, msgspec.Meta(max_length=HELLO_BYTES)]


class Answer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=2):
    """Listener → dialler: the version chosen, who it is, and that it knows the key."""

    version: Version
    nonce: Bytes32
    node: Node
    mac: Bytes32
    signature: Signature


class Proof(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=3):
    """Dialler → listener: who it is, and its grants from the founding one to its own."""

    node: Node
    chain: Chain
    signature: Signature


class Accept(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=4):
    """Listener → dialler: welcome, what the listener's membership log amounts to, and its own grants."""

    node: Node
    membership: Bytes32
    chain: Chain


class Refuse(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=5):
    """Listener → dialler, once the dialler has proved who it is: why it may not come in."""

    fault: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
    text: Annotated[str, msgspec.Meta(max_length=REFUSAL_TEXT_MAX)]


_HELLO = msgspec.msgpack.Decoder(Hello)
_ANSWER = msgspec.msgpack.Decoder(Answer)
_PROOF = msgspec.msgpack.Decoder(Proof)
_VERDICT: msgspec.msgpack.Decoder[Accept | Refuse] = msgspec.msgpack.Decoder(Accept | Refuse)


def choose_version(offered: Sequence[int], spoken: Sequence[int] = VERSIONS) -> int | None:
    """Return the highest version in both lists, None when there is none."""
    return max((version for version in offered if version in spoken), default=None)


def encode_hello(versions: Sequence[int], nonce: bytes, mac: bytes) -> bytes:
    """Return a hello of exactly ``HELLO_BYTES``."""
    bare = len(msgspec.msgpack.encode(Hello(tuple(versions), nonce, mac, b"")))
    frame = msgspec.msgpack.encode(Hello(tuple(versions), nonce, mac, bytes(HELLO_BYTES - bare)))
    assert len(frame) == HELLO_BYTES
    return frame


def encode_frame(message: Answer | Proof | Accept | Refuse) -> bytes:
    """Return the bytes of any later frame."""
    return msgspec.msgpack.encode(message)


def decode_hello(frame: bytes) -> Hello:
    """Return the first frame; `PeerFault` MALFORMED or TOO_LARGE when it is not one of exactly 256 bytes."""
    hello = decode_message(_HELLO, frame, what="the hello", bytes_max=HELLO_BYTES)
    if len(frame) != HELLO_BYTES:
        raise PeerFault(Fault.MALFORMED, f"a hello of {len(frame)} bytes, not {HELLO_BYTES}")
    return hello


def decode_answer(frame: bytes) -> Answer:
    """Return the listener's first frame; `PeerFault` when it is none."""
    return decode_message(_ANSWER, frame, what="the answer", bytes_max=HANDSHAKE_BYTES_MAX)


def decode_proof(frame: bytes) -> Proof:
    """Return the dialler's second frame; `PeerFault` when it is none."""
    return decode_message(_PROOF, frame, what="the proof", bytes_max=HANDSHAKE_BYTES_MAX)


def decode_verdict(frame: bytes) -> Accept | Refuse:
    """Return the listener's last frame; `PeerFault` when it is none."""
    return decode_message(_VERDICT, frame, what="the verdict", bytes_max=HANDSHAKE_BYTES_MAX)
