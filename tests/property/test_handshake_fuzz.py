"""Nothing a stranger sends makes the decoders or machines of trust raise, or gets more than a refusal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import Fault, PeerFault, UsageError
from cis.trust.entries import read_entry, verify_chain
from cis.trust.handshake import Authenticated, Refused, Step
from cis.trust.invites import parse_ticket
from cis.trust.membership import Membership
from cis.wire.handshake import decode_answer, decode_hello, decode_proof, decode_verdict
from cis.wire.joining import JoinGranted, JoinRequest, decode_join, encode_join
from cis.wire.membership import Role, decode_entry, decode_grant, decode_sealed_keys, decode_statement
from tests.unit.trust.cluster import Cluster, identity, meeting

CLUSTER = Cluster()
BOB = identity(2)
CLUSTER.admit(BOB, "bob", Role.ADMIN)
for _number in range(3):
    _other = CLUSTER.copy()
    CLUSTER.admit(identity(10 + _number), f"twin{_number}")
    CLUSTER.log.add(CLUSTER.admit(identity(20 + _number), f"twin{_number}", issuer=BOB, log=_other))
ENTRIES = CLUSTER.log.entries_missing_from()
HONEST = meeting(CLUSTER, BOB, CLUSTER.ana)
HONEST.run()
FRAMES = [*HONEST.frames, *ENTRIES[:2]]
DECODERS: list[Callable[[bytes], object]] = [
    decode_hello,
    decode_answer,
    decode_proof,
    decode_verdict,
    decode_join,
    decode_entry,
    decode_statement,
    decode_grant,
    decode_sealed_keys,
    read_entry,
]

# Bytes that look like MessagePack are likelier to get deep than random ones.
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=80), st.text(max_size=20)
)
packed = st.recursive(scalars, lambda inner: st.lists(inner, max_size=8), max_leaves=30).map(msgspec.msgpack.encode)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(frame) - 1))
        frame[place] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


hostile = st.one_of(st.binary(max_size=600), packed, mutated())


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(data=hostile)
@settings(max_examples=150, deadline=None)
def test_a_decoder_returns_a_message_or_a_fault(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(PeerFault):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@pytest.mark.parametrize(
    "bomb",
    [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 16_000],
    ids=["array", "bytes", "map", "depth"],
)
def test_a_length_that_lies_is_a_fault_at_once(decode: Callable[[bytes], object], bomb: bytes) -> None:
    for frame in (bomb, b"\x98\x01" + bomb, b"\x93" + bomb, b"\x94\x01\x91\x01" + bomb):
        with pytest.raises(PeerFault):
            decode(frame)


def refused_quietly(step: Step) -> bool:
    outcome = step.outcome
    return isinstance(outcome, Refused) and outcome.fault is Fault.REFUSED and step.send is None


@given(data=st.one_of(st.binary(max_size=600), packed))
@settings(max_examples=150, deadline=None)
def test_a_machine_refuses_junk_in_every_state_and_says_nothing(data: bytes) -> None:
    fresh, answering, waiting = (meeting(CLUSTER, BOB, CLUSTER.ana) for _ in range(3))
    assert refused_quietly(fresh.listener.receive(data))
    answering.listener.receive(answering.dialler.start())
    assert refused_quietly(answering.listener.receive(data))
    waiting.dialler.start()
    assert refused_quietly(waiting.dialler.receive(data))


@given(number=st.integers(0, 3), data=mutated())
@settings(max_examples=300, deadline=None)
def test_an_altered_frame_leads_to_a_refusal_or_to_who_is_really_there(number: int, data: bytes) -> None:
    met = meeting(CLUSTER, BOB, CLUSTER.ana)
    ends = zip(met.run(lambda at, frame: data if at == number else frame), (CLUSTER.ana, BOB), strict=True)
    for step, other in ends:
        if isinstance(step.outcome, Authenticated):
            assert step.outcome.node == other.node
        elif step.outcome is not None:
            assert refused_quietly(step) or number == 3


@given(data=st.lists(hostile, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_chain_of_anything_is_true_or_false(data: list[bytes]) -> None:
    assert not verify_chain(CLUSTER.log.cluster, identity(99).node, data)


@given(text=st.one_of(st.text(max_size=80), st.text("abcz27", max_size=300).map("cis1".__add__)))
@settings(max_examples=200, deadline=None)
def test_a_ticket_of_anything_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ticket(text)


@given(order=st.permutations(ENTRIES), repeated=st.lists(st.sampled_from(ENTRIES), max_size=5))
@settings(max_examples=100, deadline=None)
def test_entries_in_any_order_and_repeated_make_one_log(order: list[bytes], repeated: list[bytes]) -> None:
    log = Membership(CLUSTER.log.cluster)
    for raw in [*repeated, *order]:
        log.add(raw)
    assert log.digest() == CLUSTER.log.digest()
    assert log.members() == CLUSTER.log.members()
    for member in log.members():
        assert log.authority(member.node, CLUSTER.public) == CLUSTER.log.authority(member.node, CLUSTER.public)


@given(
    message=st.one_of(
        st.builds(JoinRequest, st.binary(min_size=32, max_size=32), st.from_regex(r"\A[a-z0-9-]{1,32}\Z")),
        st.builds(JoinGranted, st.lists(st.binary(max_size=50), min_size=1, max_size=5).map(tuple)),
    )
)
def test_messages_of_joining_round_trip(message: JoinRequest | JoinGranted) -> None:
    assert decode_join(encode_join(message)) == message
