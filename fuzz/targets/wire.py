"""Everything that is decoded of what a peer sent: a message, or a `PeerFault` with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from cis.anchor import protocol, tunnel
from cis.discovery.libp2p import messages as libp2p
from cis.errors import PeerFault
from cis.trust.signing import verify
from cis.wire import bulletins, content, handshake, joining, membership, messages, pairing, signals
from cis.wire.segment import Segment, author_of, layout_of
from fuzz.target import Target, chosen, script, steps_in

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden"
Decode = Callable[[bytes], object]

_DECODERS: tuple[Decode, ...] = (
    handshake.decode_hello,
    handshake.decode_answer,
    handshake.decode_proof,
    handshake.decode_verdict,
    joining.decode_join,
    pairing.decode_start,
    pairing.decode_reply,
    pairing.decode_sealed,
    signals.decode_signal,
    membership.decode_entry,
    membership.decode_statement,
    membership.decode_grant,
    membership.decode_revoke,
    membership.decode_rotate,
    membership.decode_new_space,
    membership.decode_sealed_keys,
    membership.decode_sealed,
    membership.decode_cuts,
    protocol.decode_to_anchor,
    protocol.decode_to_node,
    tunnel.decode_attach,
    tunnel.decode_attached,
    libp2p.to_node,
    libp2p.to_worker,
)
_ROOMS = (handshake, joining, pairing, signals, membership, protocol, tunnel, libp2p)


def frames(data: bytes) -> None:
    """A frame of an authenticated connection: what is understood is written again and means the same."""
    with suppress(PeerFault):
        author_of(data)
        messages.is_segment(data)
        message = messages.decode(data)
        assert messages.decode(messages.encode(message)) == message
        if isinstance(message, Segment):
            layout_of(message)
            verify(message)


def parts(data: bytes) -> None:
    """The decoder that each step's number names."""
    for number, frame in steps_in(data):
        decode = chosen(_DECODERS, number)
        with suppress(PeerFault):
            message = decode(frame)
            if decode is not handshake.decode_hello and decode is not pairing.decode_start:  # of one length alone
                assert decode(msgspec.msgpack.encode(message)) == message
        pairing.is_start(frame)


def contents(data: bytes) -> None:
    """What lies inside a seal: memories and bulletins, as any member may have sealed them."""
    for number, plain in steps_in(data):
        padded = plain if number & 2 else plain + b"\x80"
        if number & 1:
            with suppress(PeerFault):
                told = bulletins.decode_content(padded)
                assert bulletins.decode_content(bulletins.encode_content(told)) == told
        else:
            with suppress(ValueError, msgspec.MsgspecError):
                memory = content.decode_content(padded)
                assert content.decode_content(content.encode_content(memory)) == memory


def golden(*rooms: str) -> list[bytes]:
    """Return the messages of these files, named by their rooms, as every version wrote them."""
    return [
        bytes.fromhex(frame)
        for file in sorted(GOLDEN.glob("frames_*.json"))
        for name, (frame, _) in json.loads(file.read_text(encoding="utf-8")).items()
        if name.rpartition(".")[0] in rooms
    ]


def segments() -> list[bytes]:
    """Return the segments that the first version wrote."""
    return [bytes.fromhex(one) for one in json.loads((GOLDEN / "segment_v1.json").read_text())["frames"]]


def _frames() -> Iterable[bytes]:
    return [*golden("cis.wire.messages", "cis.wire.gossip", "cis.wire.audit"), *segments()]


def _parts() -> Iterable[bytes]:
    """Every message under every decoder that takes it."""
    for frame in golden(*(room.__name__ for room in _ROOMS)):
        for number, decode in enumerate(_DECODERS):
            with suppress(PeerFault):
                decode(frame)
                yield script((number, frame))
    yield script((0, handshake.encode_hello((1,), bytes(32), bytes(32))))
    yield script((5, pairing.encode_start((1,), bytes(32))))


def _contents() -> Iterable[bytes]:
    memory = content.Content("editor", b"dark", 1, "preference", ("a", "b"), 1000, bytes(8), "tiny", 3, 2)
    yield script((0, msgspec.msgpack.encode(memory)))
    yield script((2, content.encode_content(content.Content("größe"))))
    yield script((1, msgspec.msgpack.encode(bulletins.BulletinContent("builds", b"green"))))


TARGETS = (
    Target("wire.frames", frames, _frames, bytes_max=8192),
    Target("wire.parts", parts, _parts),
    Target("wire.contents", contents, _contents),
)
