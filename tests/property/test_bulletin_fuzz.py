"""Bulletins from anywhere: they are refused with a fault or understood, whatever their bytes."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import PeerFault
from cis.model import SpaceId
from cis.trust import Identity
from cis.trust.bulletins import Told, open_bulletin, read_bulletin, seal_bulletin
from cis.trust.keys import new_space_keys
from cis.trust.sealing import Unreadable
from cis.wire.bulletins import PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX, BulletinContent, decode_content, encode_content
from cis.wire.gossip import BODY_BYTES_MAX, BULLETIN_TAG

ENTROPY = Random(3).randbytes
IDENTITY = Identity.generate(ENTROPY)
KEYS = new_space_keys(SpaceId(bytes(16)), ENTROPY)
SOUND = seal_bulletin(IDENTITY, KEYS, Told(bytes(8), 1, 1, "topic", b"payload"), ENTROPY)

topics = st.text(min_size=1, max_size=TOPIC_BYTES_MAX).filter(
    lambda text: not any("\ud800" <= one <= "\udfff" for one in text) and len(text.encode()) <= TOPIC_BYTES_MAX
)
values = st.recursive(st.integers(-1, 2**63) | st.binary(max_size=80), lambda inner: st.lists(inner, max_size=8))


def survives(body: bytes) -> BulletinContent | None:
    """Read and open; None where it was refused."""
    try:
        return open_bulletin(read_bulletin(body, KEYS.space), KEYS)
    except (PeerFault, Unreadable):
        return None


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(body: bytes) -> None:
    assert survives(body) is None


@given(values)
def test_random_values_under_the_tag_are_refused(value: object) -> None:
    rest = value if isinstance(value, list) else [value]
    assert survives(msgspec.msgpack.encode([BULLETIN_TAG, *rest])) is None


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_bulletin_with_any_byte_altered_is_refused(place: int, by: int) -> None:
    assert survives(SOUND) == BulletinContent("topic", b"payload")
    altered = SOUND[:place] + bytes([SOUND[place] ^ by]) + SOUND[place + 1 :]
    assert survives(altered) is None


@given(topics, st.binary(max_size=2000) | st.just(bytes(PAYLOAD_BYTES_MAX)), st.integers(1, (1 << 62) - 1))
def test_what_may_be_told_is_read_as_it_was_told(topic: str, payload: bytes, number: int) -> None:
    body = seal_bulletin(IDENTITY, KEYS, Told(bytes(8), number, (1 << 47) - 1, topic, payload), ENTROPY)
    assert len(body) <= BODY_BYTES_MAX
    assert survives(body) == BulletinContent(topic, payload)


@given(st.binary(max_size=300))
def test_a_plaintext_that_is_no_content_is_a_fault(plaintext: bytes) -> None:
    try:
        content = decode_content(plaintext)
    except PeerFault:
        return
    assert decode_content(encode_content(content)) == content
