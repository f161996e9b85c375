"""How much nodes say on a network by mDNS: simulated, all hearing all."""

from __future__ import annotations

import collections
import itertools
from dataclasses import dataclass, field
from random import Random

import pytest

from cis.discovery.pace import AGAIN_S, ANSWERS_PER_S, BEGIN_AGAIN_S, REFRESHES_PER_S, Pace

INTERVAL_S = 30.0
MANY = 100


@dataclass
class Network:
    """Nodes that hear each other at once; ``said`` is when each datagram left."""

    paces: list[Pace] = field(default_factory=list)
    said: list[float] = field(default_factory=list)
    spoke: dict[int, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    def join(self, seed: int, now: float) -> None:
        self.paces.append(Pace(Random(seed), INTERVAL_S, now))

    def run(self, until: float) -> None:
        while (now := min(pace.due for pace in self.paces)) < until:
            number = next(at for at, pace in enumerate(self.paces) if pace.due == now)
            pace = self.paces[number]
            around = len([other for other in self.spoke if other != number])
            asks = pace.asks
            pace.on_spoke(now, around, wanting=not around, sent=True)
            self.spoke[number].append(now)
            self.said += [now] * (1 + asks)
            for other, answering in enumerate(self.paces):
                if asks and other != number:
                    answering.on_asked(now, len(self.spoke) - 1)

    def most_in_a_second(self, start: float, end: float) -> int:
        seconds = collections.Counter(int(at * 4) for at in self.said if start <= at < end)
        return max(sum(seconds[quarter + more] for more in range(4)) for quarter in range(int(start * 4), int(end * 4)))


def crowd(count: int = MANY) -> Network:
    network = Network()
    for seed in range(count):
        network.join(seed, 0.0)
    return network


def test_a_node_shows_itself_and_asks_at_once_and_once_more() -> None:
    network = crowd(2)
    network.run(10.0)
    for moments in network.spoke.values():
        assert moments[0] < 0.2
        assert 2 <= len(moments) <= 3


def test_a_node_alone_asks_on_with_growing_pauses_and_then_only_shows_itself() -> None:
    network = crowd(1)
    network.run(600.0)
    asked = len(network.said) - len(network.spoke[0])
    assert asked == 5
    assert 12 <= len([at for at in network.spoke[0] if at > 60]) <= 24


def test_a_hundred_nodes_that_start_at_once_say_so_much_and_no_more() -> None:
    network = crowd()
    network.run(20.0)
    assert network.most_in_a_second(0.0, 1.0) <= 2.5 * MANY
    assert network.most_in_a_second(1.0, 20.0) <= MANY
    assert network.most_in_a_second(4.0, 20.0) <= 12
    assert len(network.said) <= 5 * MANY


def test_a_hundred_nodes_at_rest_show_themselves_evenly() -> None:
    network = crowd()
    network.run(400.0)
    rest = [at for at in network.said if at >= 200]
    assert len(rest) / 200 <= 1.2 * REFRESHES_PER_S
    assert network.most_in_a_second(200.0, 400.0) <= 12


def test_a_newcomer_among_a_hundred_is_answered_by_each_without_a_storm() -> None:
    network = crowd()
    network.run(200.0)
    network.join(MANY, 200.0)
    network.run(210.0)
    assert network.most_in_a_second(200.0, 210.0) <= 1.5 * ANSWERS_PER_S
    answered = [number for number, moments in network.spoke.items() if any(at > 200 for at in moments)]
    assert len(answered) == MANY + 1


def test_whoever_asks_without_end_is_answered_once_a_second_at_most() -> None:
    pace = Pace(Random(1), INTERVAL_S, 0.0)
    spoken, now = [], 0.0
    while now < 20.0:
        pace.on_asked(now, 0)
        if pace.due <= now:
            pace.on_spoke(now, 1, wanting=False, sent=True)
            spoken.append(now)
        now += 0.01
    assert 15 <= len(spoken) <= 21
    assert all(after - before >= AGAIN_S for before, after in itertools.pairwise(spoken))


def test_a_network_that_comes_and_goes_is_begun_on_so_often_and_no_more() -> None:
    pace, begun, now = Pace(Random(1), INTERVAL_S, 0.0), 0, 0.0
    while now < 20.0:
        pace.begin(now)
        if pace.due <= now:
            pace.on_spoke(now, 1, wanting=False, sent=True)
            begun += 1
        now += 0.01
    assert 3 <= begun <= 1 + 20 / BEGIN_AGAIN_S


def test_what_cannot_be_sent_is_tried_again_ever_more_seldom() -> None:
    pace, tries, now = Pace(Random(1), INTERVAL_S, 0.0), [], 0.0
    while now < 300.0:
        now = pace.due
        pace.on_spoke(now, 0, wanting=True, sent=False)
        tries.append(now)
    assert tries[1] - tries[0] <= 2.0
    assert all(after - before <= INTERVAL_S for before, after in itertools.pairwise(tries))
    assert len(tries) <= 25


@pytest.mark.parametrize("around", [0, 1, 50, 500])
def test_what_is_said_holds_until_it_is_said_again(around: int) -> None:
    pace = Pace(Random(1), INTERVAL_S, 0.0)
    assert pace.ttl_s(around) >= 3 * pace.interval_s(around)
