"""Whom a node would rather have as neighbours: dials beyond the room there is, gossip's choice, and bridges."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random

import pytest

from cis.gossip import language as gossip
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.choosing import BRIDGE_CEILING_S, BRIDGE_FIRST_S, Bridging, Choice
from cis.node.core.core import Core
from cis.node.core.dialling import FOREIGN_DIALS_PER_MINUTE, Dialling
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.peers import Address, Peer, PeerBook, Target
from tests.unit.node.scripted import INTERVAL_S, OWN, Scripted

LAN, DIRECT = "192.168.1", "203.0.113"


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def target(number: int, network: str) -> Target:
    return Target(node(number), f"{network}.{number % 250}", 7677, "mdns", "mdns" if network == LAN else "dht")


def book_of(near: int, far: int) -> PeerBook:
    """A book of nodes on this network, numbered from 0, and of nodes beyond it, numbered from 500."""
    book = PeerBook(OWN, Random(1))
    for number in range(near):
        book.sighted(target(number, LAN), 0.0)
    for number in range(500, 500 + far):
        book.sighted(target(number, DIRECT), 0.0)
    return book


# --- dialling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_beyond_the_room_there_is_those_are_dialled_that_are_drawn(seed: int) -> None:
    book = book_of(40, 0)
    for number in range(10):
        peer = book.get(node(number))
        assert peer is not None
        peer.count_success(0.0)
        peer.measure(0.002)
    dialling = Dialling(book, Random(seed))
    dialled = [one.node for one in dialling.due([], NEIGHBOURS_MAX, 1.0)]
    assert len(dialled) == NEIGHBOURS_MAX
    assert dialling.due([], NEIGHBOURS_MAX, 1.0) == []


def test_what_worked_is_dialled_more_often_than_its_share_and_what_never_did_is_still_tried() -> None:
    counted: Counter[bool] = Counter()
    for seed in range(200):
        book = book_of(40, 0)
        for number in range(10):
            peer = book.get(node(number))
            assert peer is not None
            peer.count_success(0.0)
        dialled = Dialling(book, Random(seed)).due([], NEIGHBOURS_MAX, 1.0)
        counted.update(one.node is not None and one.node < node(10) for one in dialled)
    worked = counted[True] / sum(counted.values())
    assert 0.55 < worked < 0.85, "a quarter of the peers worked"


@pytest.mark.parametrize("seed", range(20))
def test_dials_go_to_both_sides_of_the_boundary_where_somebody_is_known_there(seed: int) -> None:
    for near, far in ((30, 2), (2, 30)):
        dialled = Dialling(book_of(near, far), Random(seed)).due([], NEIGHBOURS_MAX, 1.0)
        assert {one.host.startswith(LAN) for one in dialled} == {True, False}


@pytest.mark.parametrize("seed", range(10))
def test_the_last_room_beside_neighbours_on_one_side_goes_to_the_other(seed: int) -> None:
    book = book_of(30, 2)
    connected = [node(number) for number in range(NEIGHBOURS_MAX - 1)]
    for one in connected:
        book.connected(one, 0.0, None)
    (dial,) = Dialling(book, Random(seed)).due(connected, 1, 1.0)
    assert dial.host.startswith(DIRECT)


def test_a_thousand_peers_that_nobody_can_reach_are_no_storm() -> None:
    book, now, dials = book_of(500, 500), 0.0, []
    dialling = Dialling(book, Random(3))
    while now < 600.0:
        for one in dialling.due([], NEIGHBOURS_MAX, now):
            dials.append(now)
            dialling.failed(one, "no answer", now + 5.0)
        now += 1.0
    for begin in range(0, 540, 30):
        assert sum(begin <= at < begin + 60 for at in dials) <= 2 * FOREIGN_DIALS_PER_MINUTE
    assert len(dials) <= 11 * FOREIGN_DIALS_PER_MINUTE


# --- gossip ----------------------------------------------------------------------------------------------------------


def test_gossip_asks_whom_the_book_prefers_and_sometimes_anybody() -> None:
    book = book_of(20, 0)
    best = book.get(node(7))
    assert best is not None
    best.count_success(0.0)
    choice, nodes = Choice(book, Random(5)), [node(number) for number in range(20)]
    counted = Counter(choice.choose(nodes, [], 1.0) for _ in range(1000))
    assert counted[node(7)] == max(counted.values()) > 100
    assert len(counted) == 20
    stranger = node(9999)
    assert choice.choose([stranger], [], 1.0) == stranger


def test_a_bridge_is_who_would_be_alone_on_its_side() -> None:
    choice = Choice(book_of(5, 5), Random(1))
    near, far = [node(number) for number in range(4)], [node(number) for number in range(500, 504)]
    assert choice.bridges(far[0], near)
    assert choice.bridges(near[0], far)
    assert not choice.bridges(near[3], near[:3])
    assert not choice.bridges(far[0], [*near, far[1]])
    assert not choice.bridges(node(9999), near), "nobody knows where it is"
    assert not choice.bridges(far[0], [])


def looked_for(bridging: Bridging, neighbours: list[NodeId], seconds: int) -> list[tuple[float, NodeId]]:
    found = ((float(now), bridging.due(neighbours, neighbours, float(now))) for now in range(seconds))
    return [(now, one) for now, one in found if one is not None]


def test_a_full_one_sided_view_looks_for_a_bridge_with_growing_pauses() -> None:
    book = book_of(NEIGHBOURS_MAX, 3)
    bridging, neighbours = Bridging(book, Random(1)), [node(number) for number in range(NEIGHBOURS_MAX)]
    asked = looked_for(bridging, neighbours, 7200)
    pauses = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(asked)]
    assert asked[0][0] <= BRIDGE_FIRST_S + 1
    assert max(pauses) <= BRIDGE_CEILING_S + 1
    assert min(pauses[7:]) >= BRIDGE_CEILING_S / 2 - 1
    assert {one for _, one in asked} <= {node(number) for number in range(500, 503)}
    assert bridging.due_at is not None


def test_there_is_no_looking_where_the_view_has_room_or_both_sides_or_nobody_is_across() -> None:
    neighbours = [node(number) for number in range(NEIGHBOURS_MAX)]
    assert looked_for(Bridging(book_of(9, 3), Random(1)), neighbours[1:], 60) == []
    assert looked_for(Bridging(book_of(9, 3), Random(1)), [*neighbours[1:], node(500)], 60) == []
    assert looked_for(Bridging(book_of(9, 0), Random(1)), neighbours, 60) == []


def test_who_could_not_be_reached_just_now_is_not_sought() -> None:
    book = book_of(NEIGHBOURS_MAX, 1)
    peer = book.get(node(500))
    assert peer is not None
    peer.due_at = 1e9
    assert looked_for(Bridging(book, Random(1)), [node(number) for number in range(NEIGHBOURS_MAX)], 600) == []


# --- the core --------------------------------------------------------------------------------------------------------


def test_the_core_has_gossip_seek_a_bridge_and_says_when_to_come_back_for_it() -> None:
    book, machine = book_of(NEIGHBOURS_MAX, 0), Scripted()
    core = Core(OWN, book, machine, Random(1), INTERVAL_S, lambda *_: ())
    for number in range(NEIGHBOURS_MAX):
        machine.decides.append([gossip.NeighbourUp(node(number))])
        core.handle(events.Connected(number + 1, node(number), None), 0.0)
    core.handle(events.Sighted(target(500, DIRECT)), 0.0)
    for _ in range(20):
        at = core.next_timer()
        assert at is not None
        core.handle(events.Ticked(), at)
        if gossip.Sought(node(500)) in machine.told:
            return
    raise AssertionError(machine.told)


def test_what_is_remembered_is_heard_by_gossip_and_dialled() -> None:
    machine = Scripted()
    core = Core(OWN, PeerBook(OWN, Random(1)), machine, Random(1), INTERVAL_S, lambda *_: ())
    remembered = Peer(node(1), successes=2, addresses=[Address("192.0.2.1", 7677, "mdns", "mdns", known_at=-9.0)])
    (dial,) = core.handle(events.Recalled(remembered), 5.0)
    assert dial == events.Dial(Target(node(1), "192.0.2.1", 7677, "mdns"))
    assert machine.told == [gossip.Heard(node(1))]


def test_what_is_measured_of_a_link_goes_into_the_book_and_of_one_that_is_gone_nowhere() -> None:
    book = PeerBook(OWN, Random(1))
    core = Core(OWN, book, Scripted(), Random(1), INTERVAL_S, lambda *_: ())
    core.handle(events.Connected(1, node(1), Target(node(1), "192.0.2.1", 7677, "mdns")), 0.0)
    core.handle(events.Measured(1, "direct", ("192.0.2.1", 7677), 0.02), 5.0)
    core.handle(events.Measured(2, "lan", ("192.0.2.1", 7677), 9.0), 5.0)
    peer = book.get(node(1))
    assert peer is not None
    assert (peer.kind, peer.rtt_s, peer.addresses[0].rtt_s) == ("direct", 0.02, 0.02)
