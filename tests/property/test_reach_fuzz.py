"""Nothing that arrives as a signal or as STUN does more than be counted."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from aioice import stun
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import PeerFault
from cis.reach.stun_client import read_message, reflexive_of
from cis.wire.signals import Signal, decode_signal, encode_signal
from tests.unit.reach.internet import Host, Internet
from tests.unit.wire.test_signals import SIGNALS

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=60), st.text())
packed = st.recursive(scalars, lambda inner: st.lists(inner, max_size=8), max_leaves=30).map(msgspec.msgpack.encode)
NAMES = sorted({*stun.ATTRIBUTES_BY_TYPE} | {0x0002, 0x0007, 0x8001})


@st.composite
def mutated(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    frame = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(1, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


@st.composite
def stun_like(draw: st.DrawFn) -> bytes:
    """A header that fits, and attributes of known types with anything in them."""
    body = b""
    for _ in range(draw(st.integers(0, 6))):
        value = draw(st.binary(max_size=40))
        claimed = len(value) if draw(st.booleans()) else draw(st.integers(0, 0xFFFF))
        body += draw(st.sampled_from(NAMES)).to_bytes(2, "big") + claimed.to_bytes(2, "big") + value
        body += bytes(-len(value) % 4)
    kind = draw(st.sampled_from([0x0001, 0x0011, 0x0101, 0x0111, 0x0003, 0x0008, 0x3FFF]))
    length = len(body) if draw(st.integers(0, 9)) else draw(st.integers(0, 0xFFFF))
    return (
        kind.to_bytes(2, "big")
        + length.to_bytes(2, "big")
        + b"\x21\x12\xa4\x42"
        + draw(st.binary(min_size=12, max_size=12))
        + body
    )


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=400), packed, mutated([encode_signal(one) for one in SIGNALS])))
def test_a_signal_is_decoded_or_a_fault(plain: bytes) -> None:
    with suppress(PeerFault):
        signal = decode_signal(plain)
        assert isinstance(signal, Signal)
        assert decode_signal(encode_signal(signal)) == signal


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=300), stun_like()))
def test_a_stun_message_is_read_or_a_fault(data: bytes) -> None:
    with suppress(PeerFault):
        reflexive_of(read_message(data), 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=200), stun_like()), max_size=40), st.integers(0, 2**16))
def test_a_session_outlives_whatever_its_socket_receives(datagrams: list[bytes], port: int) -> None:
    async def receive() -> None:
        internet = Internet()
        a, b = Host(internet), Host(internet)
        session, other = a.session(True), b.session(False)
        session.peer(other.ufrag, other.password, other.candidates())
        named = f"{session.ufrag}:{other.ufrag}".encode()
        request = b"\0\x06" + len(named).to_bytes(2, "big") + named + bytes(-len(named) % 4)
        for data in datagrams:
            a._on_datagram(data, ("192.0.2.9", port))
            body = request + data[20:]
            a._on_datagram(
                b"\0\x01" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body, ("192.0.2.9", port)
            )
        assert len(session.report()) == 1
        assert session.selected is None

    asyncio.run(receive())
