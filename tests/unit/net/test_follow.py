"""When a peer is followed to another address."""

from __future__ import annotations

from unittest.mock import sentinel

from cis.net.follow import Follower

HERE, THERE = (sentinel.carrier, ("192.0.2.1", 1)), (sentinel.carrier, ("192.0.2.1", 2))


def _asked(follower: Follower, now: float = 0.0) -> int:
    follower.seen(THERE, 100)
    uid = follower.question(now)
    assert uid is not None
    follower.asked(uid, 40, now)
    return uid


def test_only_the_answer_to_the_ping_sent_there_counts() -> None:
    follower = Follower()
    uid = _asked(follower)
    assert follower.answered(uid + 1) is None
    assert follower.answered(0) is None
    assert follower.answered(uid) == THERE
    assert follower.answered(uid) is None


def test_what_comes_from_the_old_address_ends_it() -> None:
    follower = Follower()
    uid = _asked(follower)
    follower.forget()
    assert follower.answered(uid) is None
    assert follower.question(1.0) is None


def test_a_third_address_takes_the_place_of_the_second() -> None:
    follower = Follower()
    uid = _asked(follower)
    follower.seen(HERE, 100)
    assert follower.answered(uid) is None
    assert follower.place == HERE


def test_at_most_three_times_what_came_is_sent_unproven() -> None:
    follower = Follower()
    follower.seen(THERE, 100)
    assert follower.may_send(300)
    assert not follower.may_send(301)
    follower.asked(1, 300, 0.0)
    assert not follower.may_send(1)


def test_it_asks_again_but_not_at_once() -> None:
    follower = Follower()
    first = _asked(follower)
    assert follower.question(0.05) is None
    second = follower.question(0.2)
    assert second is not None
    assert second != first
