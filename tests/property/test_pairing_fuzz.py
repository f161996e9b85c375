"""Nothing a stranger sends makes the decoders or machines of pairing raise, or gets it anything but the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import PeerFault, UsageError
from cis.trust.codes import parse_code
from cis.trust.pairing import Broken
from cis.wire.handshake import HELLO_BYTES, decode_hello, encode_hello
from cis.wire.pairing import (
    Claim,
    Introduction,
    Offer,
    PairingMessage,
    Ready,
    decode_box,
    decode_reply,
    decode_sealed,
    decode_start,
    encode_sealed,
    encode_start,
    is_start,
)
from tests.unit.trust.test_pairing import claim, exchange

DECODERS: list[Callable[[bytes], object]] = [decode_start, decode_reply, decode_box, decode_sealed, is_start]
HONEST = exchange()
HONEST.run()
MOVING = exchange(claim(1, movable=False))
MOVING.run()
FRAMES = [
    *HONEST.frames,
    *MOVING.frames,
    encode_sealed(Introduction(bytes(32), claim(1))),
    encode_sealed(Ready()),
    encode_sealed(Offer("cis1x")),
]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=80), st.text(max_size=20)
)
packed = st.recursive(scalars, lambda inner: st.lists(inner, max_size=8), max_leaves=30).map(msgspec.msgpack.encode)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


hostile = st.one_of(st.binary(max_size=600), packed, mutated())


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(data=hostile)
@settings(max_examples=150, deadline=None)
def test_a_decoder_returns_a_message_or_a_fault(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(PeerFault):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS[:-1], ids=lambda decode: decode.__name__)
@pytest.mark.parametrize(
    "bomb",
    [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 16_000],
    ids=["array", "bytes", "map", "depth"],
)
def test_a_length_that_lies_is_a_fault_at_once(decode: Callable[[bytes], object], bomb: bytes) -> None:
    for frame in (bomb, b"\x98\x40" + bomb, b"\x94" + bomb, b"\x92\x42" + bomb):
        with pytest.raises(PeerFault):
            decode(frame)


@given(data=hostile, reached=st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_a_shower_meets_junk_in_every_state_with_the_end(data: bytes, reached: int) -> None:
    met = exchange()
    frame: bytes | None = met.taker.start()
    for _ in range(reached):
        frame = met.taker.receive(met.shower.receive(frame).send).send
    step = met.shower.receive(data)
    assert isinstance(step.outcome, Broken) or (reached == 0 and is_start(data))


@given(data=hostile, reached=st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_a_taker_meets_junk_in_every_state_with_the_end(data: bytes, reached: int) -> None:
    met = exchange()
    frame: bytes | None = met.taker.start()
    for _ in range(reached):
        frame = met.taker.receive(met.shower.receive(frame).send).send
    step = met.taker.receive(data)
    assert isinstance(step.outcome, Broken) or (reached == 0 and step.send is not None and data[:1] == b"\x94")


@given(text=st.one_of(st.text(max_size=60), st.text("0123456789-coperth ", max_size=30)))
@settings(max_examples=200, deadline=None)
def test_a_code_of_anything_is_one_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_code(str(parse_code(text))) == parse_code(text)


@given(
    message=st.one_of(
        st.builds(
            Introduction,
            st.binary(min_size=32, max_size=32),
            st.builds(
                Claim,
                st.binary(min_size=32, max_size=32),
                st.binary(min_size=32, max_size=32),
                st.from_regex(r"\A[a-z0-9-]{1,32}\Z"),
                st.booleans(),
                st.booleans(),
                st.integers(0, 2**47 - 1),
            ),
        ),
        st.just(Ready()),
        st.builds(Offer, st.text("cis1abcz27", max_size=400)),
    )
)
def test_messages_of_pairing_round_trip(message: PairingMessage) -> None:
    read = decode_sealed(encode_sealed(message))
    assert (msgspec.structs.replace(read, padding=b"") if isinstance(read, Introduction) else read) == message


@given(versions=st.lists(st.integers(1, 65535), min_size=1, max_size=16), element=st.binary(min_size=32, max_size=32))
def test_a_start_is_as_long_as_a_hello_and_taken_for_none(versions: list[int], element: bytes) -> None:
    frame = encode_start(versions, element)
    assert len(frame) == HELLO_BYTES
    assert is_start(frame)
    assert decode_start(frame).element == element
    with pytest.raises(PeerFault):
        decode_hello(frame)
    hello = encode_hello(versions, element, element)
    assert not is_start(hello)
    with pytest.raises(PeerFault):
        decode_start(hello)
