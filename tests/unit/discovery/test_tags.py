"""Tags: members recognise each other; nobody else can link or compute them."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from cis.discovery.tags import Tags, slot_of, tag_of
from cis.model.ids import NodeId

ANA, BEN, EVE = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))
KEY = b"k" * 32


def _tags(own: NodeId, key: bytes = KEY, members: tuple[NodeId, ...] = (ANA, BEN)) -> Tags:
    return Tags(own, lambda: [key], lambda: members)


def test_a_slot_lasts_a_quarter_of_an_hour() -> None:
    assert [slot_of(now) for now in (0.0, 899.9, 900.0, 1_800.0)] == [0, 0, 1, 2]


def test_the_tag_is_what_the_protocol_says() -> None:
    text = b"mdns" + (7).to_bytes(8, "big") + ANA
    assert tag_of(KEY, 7, ANA) == hashlib.blake2b(text, key=KEY, digest_size=16).digest()


def test_a_member_is_recognised_in_its_slot_only() -> None:
    tag = _tags(BEN).own_tag(7)
    assert tag is not None
    assert _tags(ANA).recognise(tag, 7) == BEN
    assert _tags(ANA).recognise(tag, 8) is None


def test_neither_oneself_nor_a_stranger_nor_another_cluster_is_recognised() -> None:
    own, foreign = _tags(ANA).own_tag(7), _tags(BEN, key=b"x" * 32).own_tag(7)
    assert own is not None
    assert foreign is not None
    assert _tags(ANA).recognise(own, 7) is None
    assert _tags(ANA).recognise(foreign, 7) is None
    assert _tags(ANA).recognise(tag_of(KEY, 7, EVE), 7) is None


def test_a_new_member_and_a_new_key_are_taken_up_at_once() -> None:
    members, keys = [ANA], [KEY]
    tags = Tags(ANA, lambda: keys[-1:], lambda: members)
    assert tags.recognise(tag_of(KEY, 7, BEN), 7) is None
    members.append(BEN)
    assert tags.recognise(tag_of(KEY, 7, BEN), 7) == BEN
    keys.append(b"n" * 32)
    assert tags.recognise(tag_of(KEY, 7, BEN), 7) is None
    assert tags.recognise(tag_of(keys[-1], 7, BEN), 7) == BEN


def test_without_a_key_nothing_is_announced_or_recognised() -> None:
    tags = Tags(ANA, list, lambda: [BEN])
    assert tags.own_tag(7) is None
    assert tags.recognise(b"\0" * 16, 7) is None


@given(st.lists(st.integers(0, 1 << 40), max_size=40))
def test_many_slots_are_not_remembered(slots: list[int]) -> None:
    tags = _tags(ANA)
    for slot in slots:
        assert tags.recognise(tag_of(KEY, slot, BEN), slot) == BEN
    assert len(tags._known) <= 4


def test_who_was_away_while_the_key_was_renewed_is_recognised_and_shown_nothing_new() -> None:
    away, renewed = _tags(BEN), Tags(ANA, lambda: [b"n" * 32, KEY], lambda: (ANA, BEN))
    tag = away.own_tag(7)
    assert tag is not None
    assert renewed.recognise(tag, 7) == BEN
    assert renewed.own_tag(7) == tag_of(b"n" * 32, 7, ANA)
