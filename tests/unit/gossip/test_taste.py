"""A taste from outside: whom to ask first, and a neighbour that is the only one of its kind, which is worth a place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

import pytest

from cis.gossip import Dial, DialFailed, Heard, Linked, NeighbourDown, NeighbourUp, Sought, Unlinked
from cis.gossip.hyparview import HyParView
from cis.model import NodeId
from cis.wire.gossip import Disconnect, Join, Neighbour, NeighbourAnswer
from tests.unit.gossip.view_desk import CONFIG, Desk, contact, node, number_of

FAR = 100
"""Nodes from this number on are of another kind."""


class Kinds:
    """Likes the highest number; wants both kinds."""

    def choose(self, nodes: Sequence[NodeId], active: Collection[NodeId], now: float) -> NodeId:
        return max(nodes)

    def bridges(self, one: NodeId, active: Collection[NodeId]) -> bool:
        kinds = {number_of(other) >= FAR for other in active}
        return bool(kinds) and (number_of(one) >= FAR) not in kinds


class Tasteful(Desk):
    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.views = HyParView(node(0), lambda: b"own", Random(seed), CONFIG, Kinds())

    def fill(self, *numbers: int) -> None:
        self.befriend(*(numbers or range(1, 1 + CONFIG.active_max)))

    def far(self) -> list[int]:
        return [number_of(one) for one in self.views.active if number_of(one) >= FAR]


def test_of_those_who_may_be_asked_the_preferred_one_is_asked_first() -> None:
    desk = Tasteful()
    desk.fill(1, 2, 3, 4, 5)
    desk.tell(DialFailed(node(9)))
    for number in (7, 9, 8):
        desk.tell(Heard(*contact(number)))
    desk.tell(Unlinked(node(5)))
    assert desk.of(Dial) == [Dial(*contact(9))]


def test_who_is_sought_is_dialled_asked_without_urgency_and_takes_the_place_of_one_of_the_many() -> None:
    desk = Tasteful()
    desk.fill()
    desk.tell(Heard(*contact(FAR)))
    assert desk.of(Dial) == [], "a full view asks nobody by itself"
    desk.tell(Sought(node(FAR)))
    assert desk.of(Dial) == [Dial(*contact(FAR))]
    desk.tell(Linked(node(FAR), dialled=True))
    assert desk.sent(FAR) == [Neighbour((node(0), b"own"), urgent=False)]
    desk.hear(FAR, NeighbourAnswer(accepted=True))
    assert NeighbourUp(node(FAR)) in desk.effects
    assert len(desk.of(NeighbourDown)) == 1
    assert len(desk.views.active) == CONFIG.active_max


def test_who_is_sought_and_declines_costs_nobody_a_place() -> None:
    desk = Tasteful()
    desk.fill()
    desk.tell(Sought(node(FAR)))
    desk.tell(Linked(node(FAR), dialled=True))
    desk.hear(FAR, NeighbourAnswer(accepted=False))
    assert desk.of(NeighbourDown) == []
    assert desk.far() == []


@pytest.mark.parametrize("active", [(1, 2, 3, 4, FAR), (1, 2, 3, 4, 5)])
def test_who_would_be_one_of_many_is_not_sought(active: tuple[int, ...]) -> None:
    desk = Tasteful()
    desk.fill(*active)
    desk.tell(Sought(node(FAR + 1 if FAR in active else 9)))
    assert desk.of(Dial) == []


def test_a_full_view_of_one_kind_lets_in_the_other_and_once_in_a_while_only() -> None:
    desk = Tasteful()
    desk.fill()
    desk.tell(Linked(node(FAR), dialled=False))
    desk.hear(FAR, Neighbour(contact(FAR), urgent=False))
    assert desk.sent(FAR) == [NeighbourAnswer(accepted=True)]
    desk.hear(FAR, Disconnect())
    desk.fill(6)
    desk.hear(FAR, Neighbour(contact(FAR), urgent=False))
    assert desk.sent(FAR) == [NeighbourAnswer(accepted=False)], "it cannot cost a neighbour again and again"
    desk.tell(Linked(node(7), dialled=False))
    desk.hear(7, Neighbour(contact(7), urgent=False))
    assert desk.sent(7) == [NeighbourAnswer(accepted=False)]


@pytest.mark.parametrize("seed", range(30))
def test_the_only_one_of_its_kind_is_not_the_one_that_makes_room(seed: int) -> None:
    desk = Tasteful(seed)
    desk.fill(FAR, 1, 2, 3, 4)
    for number in range(10, 14):
        desk.tell(Linked(node(number), dialled=False))
        desk.hear(number, Join(contact(number)))
        assert desk.far() == [FAR]
        assert len(desk.views.active) == CONFIG.active_max


@pytest.mark.parametrize("seed", range(5))
def test_without_a_taste_all_are_alike(seed: int) -> None:
    desk = Desk(seed)
    desk.befriend(*range(1, 1 + CONFIG.active_max))
    desk.tell(Sought(node(FAR)))
    assert desk.of(Dial) == []
