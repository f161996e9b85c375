"""Problems are kept with their time, and go when they are settled or old."""

from __future__ import annotations

import pytest

from cis.model import NodeId
from cis.node.finding import finder
from cis.node.finding.finder import KEPT_S, PROBLEMS_MAX, Problems

ANA, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


class Clock:
    """Seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(finder, "time", made)
    return made


def test_a_connection_with_a_node_settles_what_was_wrong_with_it_and_nothing_else(clock: Clock) -> None:
    problems = Problems()
    problems.note("192.0.2.1:7677", "no answer", ANA)
    problems.note("192.0.2.2:7677", "no answer", ANA)
    problems.note("192.0.2.3:7677", "no answer", BOB)
    problems.note("192.0.2.4:7677", "no answer")
    problems.settle(ANA, "192.0.2.4:7677")
    assert list(problems) == ["192.0.2.3:7677"]
    assert list(problems.ages_s()) == ["192.0.2.3:7677"]
    assert clock.now == 1000


def test_each_problem_says_how_long_ago_it_arose_last(clock: Clock) -> None:
    problems = Problems()
    problems.note("one", "first")
    clock.now += 50
    problems.note("two", "only")
    problems.note("one", "again")
    clock.now += 10
    assert problems.ages_s() == {"one": 10, "two": 10}
    assert problems["one"] == "again"


def test_a_problem_of_more_than_a_day_ago_is_none(clock: Clock) -> None:
    problems = Problems()
    problems.note("old", "no answer")
    clock.now += KEPT_S - 1
    problems.note("new", "no answer")
    assert problems.ages_s() == {"old": KEPT_S - 1, "new": 0}
    clock.now += 2
    assert problems.ages_s() == {"new": 2}
    assert list(problems) == ["new"]


def test_problems_are_bounded(clock: Clock) -> None:
    problems = Problems()
    for number in range(2 * PROBLEMS_MAX):
        clock.now += 1
        problems.note(str(number), "no answer", ANA)
    assert len(problems) == len(problems.ages_s()) == PROBLEMS_MAX
    assert str(2 * PROBLEMS_MAX - 1) in problems
