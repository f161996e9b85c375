"""FIFO order of each author: exactly once, in order, gaps given up after a while, everything bounded."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.gossip import Ordering
from cis.gossip.ordering import (
    AUTHORS_MAX,
    GAP_S,
    HELD_MAX,
    HELD_PER_STREAM_MAX,
    IDLE_S,
    SESSIONS_MAX,
    START_S,
)
from cis.model import NodeId

A, B = NodeId(b"a" * 32), NodeId(b"b" * 32)


@pytest.fixture
def ordering() -> Ordering[int]:
    return Ordering()


def test_what_comes_in_order_is_delivered_at_once(ordering: Ordering[int]) -> None:
    assert [ordering.accept(A, "s", number, number, 0.0) for number in (1, 2, 3)] == [[1], [2], [3]]
    assert ordering.next_due() is None


def test_what_overtook_waits_for_what_it_overtook(ordering: Ordering[int]) -> None:
    ordering.accept(A, "s", 1, 1, 0.0)
    assert ordering.accept(A, "s", 3, 3, 0.0) == []
    assert ordering.accept(A, "s", 4, 4, 0.0) == []
    assert ordering.accept(A, "s", 2, 2, 1.0) == [2, 3, 4]
    assert ordering.next_due() is None


def test_authors_and_sessions_do_not_wait_for_each_other(ordering: Ordering[int]) -> None:
    ordering.accept(A, "s", 1, 1, 0.0)
    assert ordering.accept(A, "s", 3, 3, 0.0) == []
    assert ordering.accept(B, "s", 1, 10, 0.0) == [10]
    assert ordering.accept(A, "t", 1, 20, 0.0) == [20]


def test_a_gap_is_given_up_after_a_while_and_what_comes_later_is_dropped(ordering: Ordering[int]) -> None:
    ordering.accept(A, "s", 1, 1, 0.0)
    ordering.accept(A, "s", 3, 3, 0.0)
    ordering.accept(A, "s", 6, 6, 1.0)
    assert ordering.next_due() == GAP_S
    assert ordering.due(GAP_S - 0.1) == []
    assert ordering.due(GAP_S) == [3]
    assert ordering.next_due() == 2 * GAP_S
    assert ordering.due(2 * GAP_S) == [6]
    assert ordering.accept(A, "s", 2, 2, 11.0) == []
    assert (ordering.statistics().late, ordering.statistics().skipped) == (1, 2)


def test_a_stream_met_midway_waits_a_moment_for_lower_numbers(ordering: Ordering[int]) -> None:
    assert ordering.accept(A, "s", 57, 57, 0.0) == []
    assert ordering.accept(A, "s", 56, 56, 0.1) == []
    assert ordering.next_due() == START_S
    assert ordering.due(START_S) == [56, 57]
    assert ordering.accept(A, "s", 58, 58, 2.0) == [58]


def test_nothing_is_delivered_twice(ordering: Ordering[int]) -> None:
    ordering.accept(A, "s", 1, 1, 0.0)
    ordering.accept(A, "s", 3, 3, 0.0)
    assert ordering.accept(A, "s", 1, 1, 0.0) == []
    assert ordering.accept(A, "s", 3, 3, 0.0) == []
    assert ordering.accept(A, "s", 2, 2, 0.0) == [2, 3]
    assert (ordering.statistics().late, ordering.statistics().repeated) == (1, 1)


def test_one_author_that_leaves_gaps_holds_back_a_bounded_number(ordering: Ordering[int]) -> None:
    out = []
    for number in range(2, 20_000, 2):
        out += ordering.accept(A, "s", number, number, 0.0)
    assert ordering.statistics().held <= HELD_PER_STREAM_MAX
    assert out == sorted(out)


def test_all_authors_together_hold_back_a_bounded_number(ordering: Ordering[int]) -> None:
    for author in range(200):
        for number in range(2, 102):
            ordering.accept(NodeId(b"%32d" % author), "s", number, number, author / 1000)
    assert ordering.statistics().held <= HELD_MAX


def test_authors_and_their_sessions_are_bounded_and_what_they_held_is_delivered(ordering: Ordering[int]) -> None:
    ordering.accept(A, 0, 2, 2, 0.0)
    out = []
    for session in range(1, 100):
        out += ordering.accept(A, session, 1, 100, 0.0)
    assert out.count(2) == 1
    assert ordering.statistics().streams == SESSIONS_MAX
    ordering.accept(B, 0, 2, 3, 0.0)
    out = [
        item for author in range(AUTHORS_MAX + 10) for item in ordering.accept(NodeId(b"%32d" % author), 0, 1, 100, 0.0)
    ]
    assert out.count(3) == 1
    assert ordering.statistics().streams == AUTHORS_MAX
    assert ordering.statistics().held == 0
    assert ordering.next_due() is None


def test_a_stream_that_is_silent_for_long_is_forgotten(ordering: Ordering[int]) -> None:
    ordering.accept(A, "s", 1, 1, 0.0)
    ordering.due(IDLE_S)
    assert ordering.statistics().streams == 0


@given(st.integers(0, 1 << 32), st.integers(1, 60), st.floats(0, 0.5), st.floats(0, 0.5))
def test_whatever_is_lost_doubled_and_shuffled_each_stream_is_delivered_once_in_order(
    seed: int, count: int, loss: float, doubling: float
) -> None:
    rng, ordering, now = Random(seed), Ordering[tuple[NodeId, int]](), 0.0
    pairs = [(author, number) for author in (A, B) for number in range(1, count + 1) if rng.random() >= loss]
    pairs += [pair for pair in pairs if rng.random() < doubling]
    rng.shuffle(pairs)
    out = []
    for author, number in pairs:
        now += rng.random() / 10
        out += ordering.accept(author, "s", number, (author, number), now)
        out += ordering.due(now)
    out += ordering.due(now + 1000 * GAP_S)
    while (due := ordering.next_due()) is not None:
        out += ordering.due(due)
    for author in (A, B):
        mine = [number for one, number in out if one == author]
        assert mine == sorted(set(mine))
    statistics = ordering.statistics()
    assert len(out) + statistics.late + statistics.repeated == len(pairs)
