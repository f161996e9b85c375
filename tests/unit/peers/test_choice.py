"""Whom to connect to: mostly the best, a quarter at random, and somebody on either side of the LAN's boundary."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cis.model import NodeId
from cis.peers import Address, Peer
from cis.peers.choice import CONTENDERS, RANDOM_SHARE, drawn, one_sided
from cis.peers.score import by_score

NOW = 1000.0
DRAWS = 4000


def peer(number: int, **fields: object) -> Peer:
    return Peer(NodeId(number.to_bytes(32, "big")), addresses=[Address("192.0.2.1", number, "mdns")], **fields)


def first_drawn(peers: list[Peer]) -> Counter[int]:
    rng = Random(7)
    counted: Counter[int] = Counter()
    for _ in range(DRAWS):
        (one,) = drawn(peers, 1, NOW, rng)
        counted[peers.index(one)] += 1
    return counted


@pytest.mark.parametrize("better", [{"rate": 0.9}, {"rtt_s": 0.005}, {"kind": "lan"}, {"succeeded_at": NOW}])
def test_what_is_better_in_one_respect_is_drawn_more_often(better: dict) -> None:
    worse = {"rate": 0.4, "rtt_s": 0.3, "kind": "relayed", "succeeded_at": NOW - 9000.0}
    peers = [peer(number, **(worse | better if number < 10 else worse)) for number in range(20)]
    counted = first_drawn(peers)
    assert sum(counted[number] for number in range(10)) > 0.75 * DRAWS


def test_places_are_shared_between_the_best_and_anybody_as_the_rule_says() -> None:
    assert (RANDOM_SHARE, CONTENDERS) == (0.25, 4), "docs/peers.md"
    peers = by_score([peer(number, rate=number / 20) for number in range(20)], NOW)
    counted = first_drawn(peers)
    bottom = sum(counted[number] for number in range(10, 20)) / DRAWS
    none_of_the_best = 0.5**CONTENDERS
    expected = RANDOM_SHARE * 0.5 + (1 - RANDOM_SHARE) * none_of_the_best
    assert bottom == pytest.approx(expected, abs=0.03)
    last = counted[19] / DRAWS
    assert last == pytest.approx(RANDOM_SHARE / 20, abs=0.006), "even the worst is tried, as one of all"
    assert counted[0] / DRAWS < 0.25, "the best is not everybody's choice"


def test_nobody_is_drawn_twice_and_as_many_as_are_wanted() -> None:
    peers = [peer(number) for number in range(8)]
    for count in (0, 1, 5, 8, 20):
        chosen = drawn(peers, count, NOW, Random(count))
        assert len({one.node for one in chosen}) == len(chosen) == min(count, 8)
    assert len(peers) == 8


def test_the_same_seed_draws_the_same() -> None:
    peers = [peer(number, rate=number / 50) for number in range(50)]
    assert [drawn(peers, 5, NOW, Random(3)) for _ in range(2)] == [drawn(peers, 5, NOW, Random(3))] * 2


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("near", [True, False])
def test_of_five_at_least_one_is_across_the_boundary_however_much_better_the_others_are(seed: int, near: bool) -> None:
    here, there = ("lan", "relayed") if near else ("direct", "lan")
    peers = [peer(number, rate=1.0, succeeded_at=NOW, rtt_s=0.001, kind=here) for number in range(30)]
    peers += [peer(number, rate=0.1, rtt_s=0.5, kind=there) for number in range(30, 33)]
    chosen = drawn(peers, 5, NOW, Random(seed))
    assert {one.near for one in chosen} == {True, False}
    assert sum(one.near is near for one in chosen) >= 2


@pytest.mark.parametrize("seed", range(20))
def test_the_last_place_beside_four_on_one_side_goes_to_the_other(seed: int) -> None:
    peers = [peer(number, rate=1.0, kind="lan") for number in range(10)] + [peer(99, rate=0.0, kind="relayed")]
    assert [one.near for one in drawn(peers, 1, NOW, Random(seed), [True] * 4)] == [False]
    assert drawn(peers[:10], 1, NOW, Random(seed), [True] * 4), "where nobody is known there, the place is not lost"
    mixed = Counter(one.near for turn in range(40) for one in drawn(peers, 1, NOW, Random(turn), [True, False]))
    assert mixed[True] > mixed[False]


def test_which_side_lacks_somebody() -> None:
    assert one_sided([True, True]) is False
    assert one_sided([False, None]) is True
    assert one_sided([True, False]) is None
    assert one_sided([None, None]) is None
    assert one_sided([]) is None
