"""What is said in a room is sealed from the anchor, and an anchor in the middle makes another H on each side."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.errors import PeerFault
from cis.trust.rooms import CLOSING_STREAM, EXCHANGE_STREAM, OVERHEAD, RoomCipher

DATA = b"the membership log"


def both(number: int = 42, other: int | None = None) -> tuple[RoomCipher, RoomCipher]:
    taker = RoomCipher(number, random.Random(1).randbytes, is_taker=True)
    shower = RoomCipher(number if other is None else other, random.Random(2).randbytes, is_taker=False)
    taker.agree(shower.public)
    shower.agree(taker.public)
    return taker, shower


def confirmed() -> tuple[RoomCipher, RoomCipher]:
    taker, shower = both()
    taker.confirm(b"secret" * 5)
    shower.confirm(b"secret" * 5)
    return taker, shower


def test_both_sides_have_one_h_and_read_each_other() -> None:
    taker, shower = both()
    assert taker.binding == shower.binding
    assert len(taker.binding) == 32
    chunk = taker.seal(EXCHANGE_STREAM, 0, DATA)
    assert len(chunk) == len(DATA) + OVERHEAD
    assert DATA not in chunk
    assert shower.open(chunk) == (EXCHANGE_STREAM, 0, DATA)
    assert taker.open(shower.seal(CLOSING_STREAM, 0, b"")) == (CLOSING_STREAM, 0, b"")


def test_h_is_of_the_number_too() -> None:
    taker, shower = both(42, other=43)
    assert taker.binding != shower.binding


def test_an_anchor_in_the_middle_makes_another_h_on_each_side() -> None:
    taker = RoomCipher(42, random.Random(1).randbytes, is_taker=True)
    shower = RoomCipher(42, random.Random(2).randbytes, is_taker=False)
    towards_taker = RoomCipher(42, random.Random(3).randbytes, is_taker=False)
    towards_shower = RoomCipher(42, random.Random(3).randbytes, is_taker=True)
    taker.agree(towards_taker.public)
    shower.agree(towards_shower.public)
    assert taker.binding != shower.binding


def test_a_chunk_repeated_changed_reordered_or_said_back_is_refused() -> None:
    taker, shower = both()
    first, second = taker.seal(0, 0, b"1"), taker.seal(0, 0, b"2")
    with pytest.raises(PeerFault):
        shower.open(second)
    taker, shower = both()
    first = taker.seal(0, 0, b"1")
    assert shower.open(first)
    with pytest.raises(PeerFault):
        shower.open(first)
    taker, shower = both()
    chunk = taker.seal(0, 0, b"1")
    with pytest.raises(PeerFault):
        taker.open(chunk)
    with pytest.raises(PeerFault):
        shower.open(bytes([chunk[0], 1]) + chunk[2:])


def test_no_stream_but_that_of_the_exchange_is_read_or_written_before_the_result_of_spake2() -> None:
    taker, shower = both()
    with pytest.raises(PeerFault):
        taker.seal(2, 0, DATA)
    late, _ = confirmed()
    with pytest.raises(PeerFault):
        shower.open(late.seal(2, 0, DATA))


def test_later_streams_are_read_only_by_who_has_the_same_result_of_spake2() -> None:
    taker, shower = confirmed()
    assert shower.open(taker.seal(2, 0, DATA)) == (2, 0, DATA)
    taker, shower = both()
    taker.confirm(b"secret" * 5)
    shower.confirm(b"another" * 5)
    with pytest.raises(PeerFault):
        shower.open(taker.seal(2, 0, DATA))


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32), b"\x01" + bytes(31), bytes(33)])
def test_a_key_of_a_wrong_length_or_of_small_order_is_refused(public: bytes) -> None:
    with pytest.raises(PeerFault):
        RoomCipher(42, random.Random(1).randbytes, is_taker=True).agree(public)


def test_its_own_key_said_back_is_refused() -> None:
    cipher = RoomCipher(42, random.Random(1).randbytes, is_taker=True)
    with pytest.raises(PeerFault):
        cipher.agree(cipher.public)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_fault_at_most(chunk: bytes) -> None:
    _, shower = both()
    with pytest.raises(PeerFault):
        shower.open(chunk)
