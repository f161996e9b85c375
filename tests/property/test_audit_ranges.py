"""Reconciling by ranges: any two sets, whatever they share, for bytes that follow the difference alone."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import Fault, PeerFault
from cis.model import SpaceId
from cis.sync import audit_ranges
from cis.sync.audit_ranges import BRANCHES, TURNS_MAX, Items, Reconciliation, split_items
from cis.wire.audit import ITEM_LENGTH, LAST_BOUND, LISTED_ITEMS_MAX, Ranges
from cis.wire.messages import FRAME_BYTES_MAX, decode, encode

SPACE = SpaceId(b"S" * 16)
BYTES_PER_DIFFERENCE = 2 * BRANCHES * 64 + 2 * LISTED_ITEMS_MAX * ITEM_LENGTH
"""What one difference may cost at each level at most: two rounds of fingerprints, and two lists."""


def item(memory: bytes, replica: int, seq: int) -> bytes:
    return memory.ljust(16, b"\0") + bytes((replica,)) * 40 + seq.to_bytes(8, "big")


def scattered(chance: random.Random, count: int) -> list[bytes]:
    return [item(chance.randbytes(16), chance.randrange(4), chance.randrange(1, 1 << 30)) for _ in range(count)]


def reconciliation(items: list[bytes]) -> Reconciliation:
    return Reconciliation(SPACE, Items(b"".join(sorted(set(items)))))


def reconcile(one: Reconciliation, two: Reconciliation) -> tuple[int, int]:
    """Carry messages until both have ended; returns bytes and messages."""
    message: Ranges | None = one.open()
    ends = [two, one]
    size = turns = 0
    while message is not None:
        frame = encode(message)
        assert len(frame) <= FRAME_BYTES_MAX
        size, turns = size + len(frame), turns + 1
        heard = decode(frame)
        assert isinstance(heard, Ranges)
        message = ends[0].receive(heard)
        ends.reverse()
    assert one.finished
    assert two.finished
    return size, turns


crowded = st.builds(item, st.binary(max_size=2), st.integers(0, 2), st.integers(1, 3))
"""Items that share long prefixes, and collide."""


@given(st.lists(crowded), st.lists(crowded), st.lists(crowded))
@settings(max_examples=200)
def test_any_two_sets_are_reconciled(shared: list[bytes], mine: list[bytes], theirs: list[bytes]) -> None:
    one, two = reconciliation([*shared, *mine]), reconciliation([*shared, *theirs])
    reconcile(one, two)
    ours, others = {*shared, *mine}, {*shared, *theirs}
    assert set(one.mine_only) == set(two.theirs_only) == ours - others
    assert set(one.theirs_only) == set(two.mine_only) == others - ours


@given(st.integers(0, 1 << 32), st.integers(0, 3000), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_bytes_follow_the_difference_and_the_logarithm(seed: int, shared: int, mine: int, theirs: int) -> None:
    chance = random.Random(seed)
    common = scattered(chance, shared)
    one = reconciliation([*common, *scattered(chance, mine)])
    two = reconciliation([*common, *scattered(chance, theirs)])
    size, turns = reconcile(one, two)
    levels = 1 + math.log(max(2, shared + mine + theirs), BRANCHES)
    assert size <= 512 + (mine + theirs) * levels * BYTES_PER_DIFFERENCE
    assert turns <= 6 + 2 * levels
    assert len(one.mine_only) == mine


@pytest.mark.parametrize(("mine", "theirs"), [(5000, 0), (0, 5000), (5000, 1), (0, 0)])
def test_an_empty_or_lost_side_is_told_everything(mine: int, theirs: int) -> None:
    chance = random.Random(1)
    one, two = reconciliation(scattered(chance, mine)), reconciliation(scattered(chance, theirs))
    size, _ = reconcile(one, two)
    assert len(two.theirs_only) == mine
    assert size <= 1024 + 2 * ITEM_LENGTH * (mine + theirs)


def test_more_differences_than_one_audit_takes_are_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_ranges, "DIFFERENCES_MAX", 100)
    chance = random.Random(2)
    one, two = reconciliation(scattered(chance, 3000)), reconciliation(scattered(chance, 3000))
    reconcile(one, two)
    assert one.truncated or two.truncated
    for end in (one, two):
        assert len(end.mine_only) + len(end.theirs_only) <= 100


def whole(items: list[bytes]) -> bytes:
    return b"".join(sorted(items))


SOME = scattered(random.Random(3), 100)
FIRST, LAST = min(SOME), max(SOME)
UNKNOWN = item(b"nobody's", 1, 1)
HOSTILE = {
    "overlapping ranges": Ranges(SPACE, prints=[(b"", b"\x80", b"x" * 16, 9), (b"\x70", b"\x90", b"x" * 16, 9)]),
    "a range beginning behind its end": Ranges(SPACE, prints=[(b"\x90", b"\x80", b"x" * 16, 9)]),
    "the same range twice": Ranges(SPACE, asked=[(b"", FIRST[:2]), (b"", FIRST[:2])]),
    "a list asked for of a long range": Ranges(SPACE, asked=[(b"", LAST_BOUND)]),
    "items outside their range": Ranges(SPACE, listed=[(b"", FIRST[:1] or b"\x01", LAST)]),
    "items out of order": Ranges(SPACE, listed=[(b"", LAST_BOUND, LAST + FIRST)]),
    "an item cut short": Ranges(SPACE, listed=[(b"", LAST_BOUND, FIRST[:60])]),
    "an item of no number": Ranges(SPACE, held=b"\xff" * ITEM_LENGTH),
    "lacking what was never here": Ranges(SPACE, lacked=UNKNOWN),
    "holding alone what is here": Ranges(SPACE, held=FIRST),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_what_no_honest_peer_says_is_a_fault(message: Ranges) -> None:
    with pytest.raises(PeerFault) as caught:
        reconciliation(SOME).receive(message)
    assert caught.value.fault is Fault.MALFORMED


def fault_met(end: Reconciliation, message: Ranges, turns: int) -> Fault | None:
    try:
        for _ in range(turns):
            end.receive(message)
    except PeerFault as fault:
        return fault.fault
    return None


def test_a_peer_cannot_pile_up_ranges_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_ranges, "WAITING_MAX", 4096)
    end = reconciliation(scattered(random.Random(4), 50_000))
    edges = [(64 * number).to_bytes(2, "big") for number in range(1024)]
    flood = Ranges(SPACE, prints=[(*span, b"x" * 16, 9999) for span in pairwise(edges)])
    assert fault_met(end, flood, 10) is Fault.TOO_LARGE


def test_a_peer_cannot_keep_a_comparison_going() -> None:
    question = Ranges(SPACE, prints=[(b"", LAST_BOUND, b"x" * 16, 9999)])
    assert fault_met(reconciliation(SOME), question, TURNS_MAX + 1) is Fault.TOO_LARGE


@given(st.integers(0, 1 << 32), st.integers(1, 30))
@settings(max_examples=100)
def test_a_lying_peer_brings_nothing_but_faults_or_differences(seed: int, count: int) -> None:
    """Whatever arrives, the machine answers or raises `PeerFault`, and takes no item of its own for another's."""
    chance = random.Random(seed)
    end = reconciliation(SOME)
    for _ in range(count):
        edges = sorted(chance.sample(range(256), 4))
        spans = [(bytes((low,)), bytes((high,))) for low, high in zip(edges[::2], edges[1::2], strict=True)]
        listed = [one for one in chance.sample(SOME, 3) if spans[1][0] <= one < spans[1][1]]
        message = Ranges(
            SPACE,
            [(*spans[0], chance.randbytes(16), chance.randrange(100))],
            [],
            [(*spans[1], whole(listed))],
            held=whole(scattered(chance, 2)),
        )
        try:
            answer = end.receive(msgspec.msgpack.decode(encode(message), type=Ranges))
        except PeerFault:
            break
        assert answer is not None
    assert not set(end.theirs_only) & set(SOME)
    assert set(end.mine_only) <= set(SOME)


def test_items_are_split_as_they_were_joined() -> None:
    assert split_items(whole(SOME)) == sorted(SOME)
    assert split_items(b"") == []
