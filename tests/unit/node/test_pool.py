"""Which connections a node keeps where there are more than it may have."""

from __future__ import annotations

from random import Random

import pytest

from cis.errors import Fault
from cis.gossip import language as gossip
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.core import Core
from cis.node.core.pool import PoolLimits
from cis.peers import PeerBook
from cis.sync import Report
from tests.unit.node.scripted import INTERVAL_S, OWN, Scripted, connect, target

FIRST, SECOND, THIRD, FOURTH = (NodeId(bytes([number]) * 32) for number in (0x21, 0x22, 0x23, 0x24))


@pytest.fixture
def machine() -> Scripted:
    return Scripted()


@pytest.fixture
def core(machine: Scripted) -> Core:
    core = Core(OWN, PeerBook(OWN, Random(1)), machine, Random(1), INTERVAL_S, lambda node, _: [target(node)])
    core.pool.limits = PoolLimits(links_max=2)
    return core


def _closed(effects: list[events.Effect]) -> list[tuple[int, Fault]]:
    return [(effect.link, effect.fault) for effect in effects if isinstance(effect, events.Close)]


def _settle(core: Core, link: int, node: NodeId, now: float) -> list[tuple[int, Fault]]:
    """Let a peer connect, and a session with it be over at once; returns what was closed for it."""
    gone = _closed(connect(core, link, node, dialled=False, now=now))
    core.handle(events.SyncEnded(link, Report()), now)
    return gone


def test_up_to_the_maximum_nothing_is_closed_and_beyond_it_what_was_unused_for_longest(core: Core) -> None:
    assert _settle(core, 1, FIRST, 1.0) == []
    assert _settle(core, 2, SECOND, 2.0) == []
    core.handle(events.SyncEnded(1, Report()), 3.0)
    assert _settle(core, 3, THIRD, 4.0) == [(2, Fault.NONE)]
    counts = core.pool.counts()
    assert (counts.opened, counts.evicted, counts.turned_away) == (3, 1, 0)


def test_a_connection_on_its_way_out_takes_no_place(core: Core) -> None:
    for link, node in enumerate((FIRST, SECOND, THIRD), 1):
        _settle(core, link, node, float(link))
    core.handle(events.Lost(1, "not needed now"), 4.0)
    assert _settle(core, 4, FOURTH, 5.0) == [(2, Fault.NONE)]


def test_what_gossip_released_or_has_fallen_silent_goes_first(core: Core) -> None:
    _settle(core, 1, FIRST, 1.0)
    _settle(core, 2, SECOND, 2.0)
    core.handle(events.Suspected(2, suspect=True), 3.0)
    assert _settle(core, 3, THIRD, 4.0) == [(2, Fault.NONE)]


def test_neighbours_those_the_user_wants_and_those_exchanged_with_are_spared(core: Core, machine: Scripted) -> None:
    core.pool.limits = PoolLimits(links_max=3)
    machine.decides.append([gossip.NeighbourUp(FIRST)])
    _settle(core, 1, FIRST, 1.0)
    core.handle(events.MeetingAsked(SECOND), 1.0)
    _settle(core, 2, SECOND, 1.0)
    _settle(core, 3, THIRD, 1.0)
    core.handle(events.Served(3, begun=True), 2.0)
    assert _settle(core, 4, FOURTH, 3.0) == [(4, Fault.BUSY)]
    assert core.pool.counts().turned_away == 1


def test_whom_the_user_wants_is_let_in_though_nobody_can_give_way(core: Core, machine: Scripted) -> None:
    core.pool.limits = PoolLimits(links_max=1)
    machine.decides.append([gossip.NeighbourUp(FIRST)])
    _settle(core, 1, FIRST, 1.0)
    core.handle(events.MeetingAsked(SECOND), 1.0)
    assert _settle(core, 2, SECOND, 2.0) == []


def test_another_time_for_idling_holds_at_once(core: Core, machine: Scripted) -> None:
    core.pool.limits = PoolLimits(links_max=64, idle_s=100.0)
    for number in range(1, 1 + core.overlay.room):
        machine.decides.append([gossip.NeighbourUp(NodeId(bytes([0x40 + number]) * 32))])
        _settle(core, 100 + number, NodeId(bytes([0x40 + number]) * 32), 0.0)
    _settle(core, 1, FIRST, 0.0)
    assert _closed(core.handle(events.Ticked(), 50.0)) == []
    core.pool.limits = PoolLimits(links_max=64, idle_s=40.0)
    assert _closed(core.handle(events.Ticked(), 50.0)) == [(1, Fault.NONE)]
    assert core.pool.counts().idled == 1
