"""An hour of churn: what the book believes in the end is right, and on the way there it stays within its bounds."""

from __future__ import annotations

import bisect
import json
from functools import cache

import pytest

from cis.node.core.dialling import UNWANTED_PAUSE_S
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.node.finding.bootstrap_file import Calendar, read
from cis.peers import State
from cis.peers.backoff import BACKOFF_CEILING_S
from cis.peers.score import by_score
from cis.peers.shelf import ADDRESSES_MAX
from tools.churn import HOUR_S, KINDS, START_MS, Churn, Member

SEEDS = (1, 2, 3, 4)


@cache
def hour(seed: int) -> Churn:
    world = Churn(seed)
    world.run(HOUR_S)
    return world


def order(world: Churn) -> list[Member]:
    return [world.at(peer.node) for peer in by_score(world.book, world.now) if peer.node is not None]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_are_those_that_are_really_up(seed: int) -> None:
    members = order(hour(seed))
    assert sum(one.up for one in members[:10]) >= 9
    assert sum(one.up for one in members[:20]) >= 18
    half = len(members) // 2
    assert sum(one.up for one in members[:half]) > sum(one.up for one in members[half:])


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_known_to_be_gone_comes_before_a_live_one_of_long_standing(seed: int) -> None:
    world = hour(seed)
    places = {one.node: place for place, one in enumerate(order(world))}
    gone, standing = [], []
    for peer in world.book:
        assert peer.node is not None
        member = world.at(peer.node)
        tried = [at for at in member.calls if at > member.since]
        if not member.up and len(tried) >= 3:
            gone.append(places[member.node])
        if member.up and member.kind == "stable" and peer.successes >= 3 and not peer.failures:
            standing.append(places[member.node])
    assert standing
    assert max(standing) < min(gone, default=len(places))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_book_is_bounded_and_no_pause_is_longer_than_the_ceiling(seed: int) -> None:
    world = Churn(seed)

    def look() -> None:
        for peer in world.book:
            assert len(peer.addresses) <= ADDRESSES_MAX
            longest_s = UNWANTED_PAUSE_S if "not needed" in peer.last_error else BACKOFF_CEILING_S
            assert peer.state is State.ACTIVE or peer.due_at - world.now <= longest_s
            assert (peer.state is State.ACTIVE) == (peer.node in world.connected)
        assert len(list(world.book)) <= sum(KINDS.values())

    world.run(HOUR_S / 4, look)


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_no_storms_of_dials(seed: int) -> None:
    world = hour(seed)
    assert world.dials == sorted(world.dials)
    for begin in world.dials:
        within = bisect.bisect_left(world.dials, begin + 10) - bisect.bisect_left(world.dials, begin)
        assert within <= 6 * NEIGHBOURS_MAX, f"{within} dials in ten seconds from {begin:.0f} on"
    assert len(world.dials) < HOUR_S / 5
    for member in world.members:
        for begin in member.calls:
            assert sum(begin <= at < begin + 60 for at in member.calls) <= 16, member.name


@pytest.mark.parametrize("seed", SEEDS)
def test_who_moved_is_found_at_the_new_place_first(seed: int) -> None:
    world = hour(seed)
    for peer in world.book:
        assert peer.node is not None
        member = world.at(peer.node)
        worked = [one for one in peer.addresses if one.in_use]
        assert all(one.host == member.host for one in worked)


def test_the_file_is_read_back_as_it_was_and_the_same_seed_writes_the_same() -> None:
    world, again = hour(1), Churn(1)
    again.run(HOUR_S)
    assert again.text() == world.text()
    rows = json.loads(world.text())["peers"]
    assert [row["name"] for row in rows] == [one.name for one in order(world)]
    found = read(world.text(), lambda _: None, Calendar(0.0, START_MS + round(HOUR_S * 1000)))
    assert found.bad == []
    assert [peer.node for peer in found.peers] == [one.node for one in order(world)]
    assert [one.successes for one in found.peers] == [row.get("successes", 0) for row in rows]
