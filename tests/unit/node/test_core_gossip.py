"""The core and gossip: what goes by gossip, what by sessions, and which links and dials gossip leads to."""

from __future__ import annotations

from random import Random

import pytest

from cis.errors import Fault
from cis.gossip import language as gossip
from cis.model import NodeId, SpaceId
from cis.node.core import events
from cis.node.core.core import Core
from cis.node.core.dialling import UNWANTED_PAUSE_S
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.node.core.pool import IDLE_S
from cis.node.core.sessions import GAP_DELAY_S, RELAY_DELAY_S
from cis.peers import PeerBook, Target
from cis.sync import Report
from cis.wire.gossip import BODY_BYTES_MAX, Disconnect
from tests.unit.node.scripted import HIGH, INTERVAL_S, LOW, OWN, Scripted, connect, target

OTHERS = [NodeId(bytes([0x20 + number]) * 32) for number in range(NEIGHBOURS_MAX)]
ID = bytes(32)


@pytest.fixture
def machine() -> Scripted:
    return Scripted()


@pytest.fixture
def core(machine: Scripted) -> Core:
    return Core(OWN, PeerBook(OWN, Random(1)), machine, Random(1), INTERVAL_S, lambda node, _: [target(node)])


def settle(core: Core, link: int, node: NodeId, now: float = 0.0) -> None:
    """Connect, dialled by the other side, which needs no session from here."""
    connect(core, link, node, dialled=False, now=now)


def fill_view(core: Core, machine: Scripted) -> None:
    """Let gossip have as many neighbours as it takes, over links 101 and up."""
    for number, node in enumerate(OTHERS):
        machine.decides.append([gossip.NeighbourUp(node)])
        settle(core, 101 + number, node)


def closed(effects: list[events.Effect]) -> list[tuple[int, Fault]]:
    return [(effect.link, effect.fault) for effect in effects if isinstance(effect, events.Close)]


# --- what is told, and how ---------------------------------------------------------------------------------------


def test_a_written_change_is_broadcast_and_a_large_one_announced_by_sessions(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    small, large = b"x" * BODY_BYTES_MAX, b"x" * (BODY_BYTES_MAX + 1)
    assert core.handle(events.Written((small,)), 10.0) == []
    assert machine.told[-1] == gossip.BroadcastAsked(small)
    core.handle(events.Written((large,)), 10.0)
    assert machine.told[-1] == gossip.BroadcastAsked(small)
    assert core.handle(events.Ticked(), 10.0 + RELAY_DELAY_S) == [events.Synchronise(1)]


def test_a_node_that_is_alone_broadcasts_no_changes(core: Core, machine: Scripted) -> None:
    core.handle(events.Written((b"frame",)), 1.0)
    assert machine.told == []


def test_what_gossip_sends_goes_over_the_link_with_that_node_and_nowhere_without_one(
    core: Core, machine: Scripted
) -> None:
    settle(core, 1, HIGH)
    machine.decides.append([gossip.Send(HIGH, Disconnect()), gossip.Send(LOW, Disconnect())])
    assert core.handle(events.TopicAsked(b"bulletin"), 1.0) == [events.GossipSend(1, Disconnect())]
    assert machine.told[-1] == gossip.BroadcastAsked(b"bulletin")


def test_a_body_is_examined_before_gossip_hears_that_it_is_sound(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    machine.decides.append([gossip.Deliver(ID, b"body", HIGH, 1)])
    assert core.handle(events.GossipReceived(1, Disconnect()), 1.0) == [events.Examine(1, ID, b"body")]
    assert machine.told[-1] == gossip.Received(HIGH, Disconnect())
    core.handle(events.Examined(ID, sound=True), 1.0)
    assert machine.told[-1] == gossip.Examined(ID, sound=True)


def test_gossip_over_a_link_that_is_gone_is_not_heard(core: Core, machine: Scripted) -> None:
    core.handle(events.GossipReceived(1, Disconnect()), 1.0)
    assert machine.told == []


def test_a_gap_leads_to_a_session_with_the_link_it_showed_on_after_a_moment(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    settle(core, 2, LOW)
    machine.decides.append([gossip.Deliver(ID, b"body", LOW, 1)])
    core.handle(events.GossipReceived(2, Disconnect()), 10.0)
    assert core.handle(events.Examined(ID, sound=False, gap=True), 10.0) == []
    assert machine.told[-1] == gossip.Examined(ID, sound=False)
    assert core.handle(events.Ticked(), 10.0 + GAP_DELAY_S - 0.01) == []
    assert core.handle(events.Ticked(), 10.0 + GAP_DELAY_S) == [events.Synchronise(2)]


def test_what_was_learned_before_a_peer_became_a_neighbour_is_offered_to_it_then(core: Core, machine: Scripted) -> None:
    machine.decides.append([gossip.NeighbourUp(LOW)])
    settle(core, 1, LOW)
    settle(core, 2, HIGH)
    core.handle(events.SyncEnded(1, Report(changes_received=1)), 10.0)
    assert core.handle(events.Ticked(), 11.0) == []
    machine.decides.append([gossip.NeighbourUp(HIGH)])
    core.handle(events.GossipReceived(2, Disconnect()), 12.0)
    assert core.handle(events.Ticked(), 12.0 + RELAY_DELAY_S) == [events.Synchronise(2)]


def test_a_new_neighbour_is_offered_nothing_where_nothing_was_learned(core: Core, machine: Scripted) -> None:
    machine.decides.append([gossip.NeighbourUp(HIGH)])
    settle(core, 1, HIGH)
    assert core.handle(events.Ticked(), 1.0) == []


def test_a_sound_change_without_a_gap_leads_to_no_session(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    machine.decides.append([gossip.Deliver(ID, b"body", HIGH, 1)])
    core.handle(events.GossipReceived(1, Disconnect()), 10.0)
    core.handle(events.Examined(ID, sound=True), 10.0)
    assert core.handle(events.Ticked(), 20.0) == []


def test_what_a_session_taught_is_offered_to_neighbours_alone(core: Core, machine: Scripted) -> None:
    machine.decides += [[gossip.NeighbourUp(HIGH)], [], [gossip.NeighbourUp(OTHERS[0])]]
    for link, node in enumerate((HIGH, LOW, OTHERS[0]), 1):
        settle(core, link, node)
    core.handle(events.SyncEnded(3, Report(changes_received=5)), 10.0)
    assert core.handle(events.Ticked(), 11.0) == [events.Synchronise(1)]


def test_timers_of_gossip_are_kept_and_expire_in_order(core: Core, machine: Scripted) -> None:
    machine.decides.append([gossip.SetTimer(2.0, "late"), gossip.SetTimer(1.0, "early"), gossip.SetTimer(1.0, "next")])
    core.handle(events.TopicAsked(b""), 10.0)
    assert core.next_timer() == 11.0
    core.handle(events.Ticked(), 11.0)
    assert machine.told[1:] == [gossip.TimerExpired("early"), gossip.TimerExpired("next")]
    assert core.next_timer() == 12.0


def test_stopping_tells_the_neighbours(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    machine.decides.append([gossip.Send(HIGH, Disconnect())])
    assert core.handle(events.Stopping(), 1.0) == [events.GossipSend(1, Disconnect())]
    assert machine.told[-1] == gossip.LeavingAsked()


# --- links and dials ---------------------------------------------------------------------------------------------


def test_gossip_hears_of_the_first_and_the_last_connection_with_a_node(core: Core, machine: Scripted) -> None:
    connect(core, 1, HIGH, dialled=False)
    connect(core, 2, HIGH, dialled=False)
    core.handle(events.Lost(2, "duplicate"), 1.0)
    assert machine.told == [gossip.Linked(HIGH, dialled=False)]
    core.handle(events.Lost(1, "gone"), 2.0)
    assert machine.told[1:] == [gossip.Unlinked(HIGH)]


def test_a_connection_that_takes_the_place_of_another_is_a_new_one_to_gossip(core: Core, machine: Scripted) -> None:
    connect(core, 1, HIGH, dialled=False)
    connect(core, 2, HIGH, dialled=True)
    assert machine.told[1:] == [gossip.Unlinked(HIGH), gossip.Linked(HIGH, dialled=True)]


def test_gossip_has_whom_it_asks_for_dialled_at_the_addresses_it_knows(core: Core, machine: Scripted) -> None:
    machine.decides.append([gossip.Dial(HIGH, b"record")])
    assert core.handle(events.TopicAsked(b""), 1.0) == [events.Dial(target(HIGH))]


def test_gossip_is_told_when_the_dial_it_asked_for_cannot_succeed(core: Core, machine: Scripted) -> None:
    machine.decides.append([gossip.Dial(HIGH, b"record"), gossip.Dial(LOW, b"")])
    core.handle(events.TopicAsked(b""), 1.0)
    assert machine.told[1:] == [gossip.DialFailed(LOW)]
    core.handle(events.DialFailed(target(HIGH), "no answer"), 2.0)
    assert machine.told[2:] == [gossip.DialFailed(HIGH)]


def test_a_parted_node_is_not_dialled_for_gossip_either(core: Core, machine: Scripted) -> None:
    core.handle(events.PartingAsked(HIGH), 0.0)
    machine.decides.append([gossip.Dial(HIGH, b"record")])
    assert core.handle(events.TopicAsked(b""), 1.0) == []
    assert machine.told[1:] == [gossip.DialFailed(HIGH)]


def test_with_a_full_view_only_pinned_peers_are_dialled(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    assert core.handle(events.Sighted(target(HIGH)), 1.0) == []
    assert core.handle(events.Sighted(target(LOW), pinned=True), 1.0) == [events.Dial(target(LOW))]


def test_room_in_the_view_lets_known_peers_be_dialled(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    core.handle(events.Sighted(target(HIGH)), 1.0)
    machine.decides.append([gossip.NeighbourDown(OTHERS[0])])
    assert core.handle(events.TopicAsked(b""), 2.0) == [events.Dial(target(HIGH))]


def test_no_more_strangers_are_dialled_at_once_than_there_is_room_for(core: Core) -> None:
    dialled = []
    for number in range(3 * NEIGHBOURS_MAX):
        dialled += core.handle(events.Sighted(target(NodeId(bytes([0x50 + number]) * 32))), 0.0)
    assert len(dialled) == NEIGHBOURS_MAX
    failed = core.handle(events.DialFailed(dialled[0].target, "no answer"), 0.0)
    assert [type(effect) for effect in failed] == [events.Dial]


def test_a_link_gossip_has_no_room_for_is_closed_once_it_lay_idle(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    settle(core, 1, HIGH)
    core.handle(events.SyncEnded(1, Report()), 10.0)
    assert core.handle(events.Ticked(), 10.0 + IDLE_S - 0.01) == []
    due = core.next_timer()
    assert due == 10.0 + IDLE_S
    assert closed(core.handle(events.Ticked(), due)) == [(1, Fault.NONE)]


def test_a_link_that_is_serving_the_peer_is_not_closed_before_that_is_over(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    settle(core, 1, HIGH)
    core.handle(events.Served(1, begun=True), 5.0)
    assert closed(core.handle(events.Ticked(), 10 * IDLE_S)) == []
    core.handle(events.Served(1, begun=False), 10 * IDLE_S)
    assert closed(core.handle(events.Ticked(), 11 * IDLE_S - 0.01)) == []
    assert closed(core.handle(events.Ticked(), 11 * IDLE_S)) == [(1, Fault.NONE)]


def test_while_the_view_has_room_no_link_is_closed_for_being_idle(core: Core) -> None:
    settle(core, 1, HIGH)
    assert closed(core.handle(events.Ticked(), 30 * IDLE_S)) == []


def test_a_pinned_peer_and_one_asked_for_stay_connected(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    core.handle(events.Sighted(target(HIGH), pinned=True), 0.0)
    core.handle(events.MeetingAsked(LOW), 0.0)
    settle(core, 1, HIGH)
    settle(core, 2, LOW)
    assert closed(core.handle(events.Ticked(), IDLE_S + 1)) == []


def test_who_answered_at_an_address_the_user_gave_stays_connected(core: Core, machine: Scripted) -> None:
    fill_view(core, machine)
    address = Target(None, "192.0.2.7", 7677, "static")
    core.handle(events.Connected(1, HIGH, address), 0.0)
    core.handle(events.SyncEnded(1, Report()), 0.0)
    assert closed(core.handle(events.Ticked(), IDLE_S + 1)) == []


def test_a_released_link_is_closed_when_its_session_is_over(core: Core, machine: Scripted) -> None:
    connect(core, 1, HIGH, dialled=True)
    machine.decides.append([gossip.Release(HIGH)])
    assert closed(core.handle(events.TopicAsked(b""), 1.0)) == []
    assert closed(core.handle(events.SyncEnded(1, Report()), 2.0)) == [(1, Fault.NONE)]


def test_a_peer_that_wants_no_connection_now_is_left_alone_but_by_gossip(core: Core, machine: Scripted) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    core.handle(events.Lost(1, "not needed now", unwanted=True), 1.0)
    assert core.handle(events.Ticked(), 1.0 + 0.5 * UNWANTED_PAUSE_S - 1.0) == []
    machine.decides.append([gossip.Dial(HIGH, b"")])
    assert core.handle(events.TopicAsked(b""), 100.0) == [events.Dial(target(HIGH))]


def test_records_and_sightings_are_heard_by_gossip(core: Core, machine: Scripted) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    core.handle(events.Recorded(LOW, b"record", (target(LOW),)), 0.0)
    assert machine.told == [gossip.Heard(HIGH), gossip.Heard(LOW, b"record")]


def test_gossip_forgets_a_removed_node(core: Core, machine: Scripted) -> None:
    settle(core, 1, HIGH)
    core.handle(events.Removed({HIGH: "removed"}), 1.0)
    assert machine.told[1:] == [gossip.Unlinked(HIGH), gossip.Removed(HIGH)]
    core.handle(events.GossipReceived(1, Disconnect()), 1.1)
    assert len(machine.told) == 3


def test_whoever_refused_this_node_is_left_alone_even_by_gossip_but_not_by_the_user(
    core: Core, machine: Scripted
) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    core.handle(events.DialFailed(target(HIGH), "denied there", pause_s=UNWANTED_PAUSE_S), 0.1)
    machine.decides.append([gossip.Dial(HIGH, b"record")])
    assert core.handle(events.TopicAsked(b""), 10.0) == []
    assert machine.told[-1] == gossip.DialFailed(HIGH)
    assert core.handle(events.Ticked(), 100.0) == []
    assert core.handle(events.MeetingAsked(HIGH), 101.0) == [events.Dial(target(HIGH))]


# --- spaces that not all share ------------------------------------------------------------------------------------

SPACE = SpaceId(bytes(16))


@pytest.fixture
def sharing(machine: Scripted) -> Core:
    """A node that shares a space with HIGH alone."""
    book = PeerBook(OWN, Random(1))
    shared = {SPACE: frozenset({HIGH})}
    return Core(OWN, book, machine, Random(1), INTERVAL_S, lambda node, _: [target(node)], lambda: shared)


def test_what_is_missing_in_a_space_is_asked_of_one_that_shares_it(sharing: Core) -> None:
    settle(sharing, 1, HIGH)
    settle(sharing, 2, LOW)
    sharing.handle(events.SpaceStirred(SPACE), 10.0)
    assert sharing.handle(events.Ticked(), 11.0) == [events.Synchronise(1)]


def test_one_that_shares_a_space_is_dialled_where_none_is_connected(sharing: Core) -> None:
    sharing.handle(events.Sighted(target(HIGH)), 0.0)
    sharing.handle(events.DialFailed(target(HIGH), "not yet"), 0.0)
    settle(sharing, 1, LOW, now=0.01)
    assert events.Dial(target(HIGH)) in sharing.handle(events.SpaceStirred(SPACE), 0.02)


def test_what_cannot_be_told_of_a_space_is_offered_to_all_connected_that_share_it(machine: Scripted) -> None:
    shared = {SPACE: frozenset({HIGH, OTHERS[0]})}
    book = PeerBook(OWN, Random(1))
    core = Core(OWN, book, machine, Random(1), INTERVAL_S, lambda node, _: [target(node)], lambda: shared)
    for link, node in enumerate((HIGH, LOW, OTHERS[0]), 1):
        settle(core, link, node)
    core.handle(events.SpaceStirred(SPACE, ours=True), 10.0)
    assert core.handle(events.Ticked(), 11.0) == [events.Synchronise(1), events.Synchronise(3)]


def test_every_interval_each_space_is_compared_with_one_that_shares_it(sharing: Core, machine: Scripted) -> None:
    machine.decides += [[gossip.NeighbourUp(LOW)]]
    settle(sharing, 1, LOW)
    settle(sharing, 2, HIGH)
    begun = sharing.handle(events.Ticked(), INTERVAL_S * 1.2) + sharing.handle(events.Ticked(), INTERVAL_S * 1.2 + 1)
    assert {effect.link for effect in begun if isinstance(effect, events.Synchronise)} == {1, 2}
