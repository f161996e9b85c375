"""The core: which events lead to which effects."""

from __future__ import annotations

from random import Random

import pytest

from cis.errors import Fault
from cis.node.core import events
from cis.node.core.core import Core
from cis.node.core.dialling import BAN_S
from cis.node.core.sessions import JITTER, RELAY_DELAY_S, RELAY_PAUSE_S, RETRY_S
from cis.node.core.table import GLARE_S
from cis.peers import PeerBook
from cis.peers.book import STIR_S
from cis.sync import Report
from tests.unit.node.scripted import HIGH, INTERVAL_S, LOW, OWN, Scripted, connect, target


@pytest.fixture
def core() -> Core:
    return Core(OWN, PeerBook(OWN, Random(1)), Scripted(), Random(1), INTERVAL_S, lambda *_: ())


def test_a_sighting_leads_to_a_dial(core: Core) -> None:
    assert core.handle(events.Sighted(target(HIGH)), 0.0) == [events.Dial(target(HIGH))]


def test_the_dialler_synchronises_and_both_introduce_themselves(core: Core) -> None:
    assert connect(core, 1, HIGH, dialled=True) == [events.Introduce(1), events.Synchronise(1)]
    assert connect(core, 2, LOW, dialled=False) == [events.Introduce(2)]


@pytest.mark.parametrize(("first_dialled", "stays"), [(True, 1), (False, 2)])
def test_of_two_connections_the_one_dialled_by_the_smaller_id_stays(
    core: Core, first_dialled: bool, stays: int
) -> None:
    connect(core, 1, HIGH, dialled=first_dialled)
    effects = connect(core, 2, HIGH, dialled=not first_dialled)
    closed = [effect for effect in effects if isinstance(effect, events.Close)]
    assert [(close.link, close.fault) for close in closed] == [(3 - stays, Fault.DUPLICATE)]
    link = core.link_to(HIGH)
    assert link is not None
    assert link.id == stays


def test_who_dialled_a_peer_at_two_addresses_closes_the_later_connection(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    (close,) = connect(core, 2, HIGH, dialled=True)
    assert isinstance(close, events.Close)
    assert (close.link, close.fault) == (2, Fault.DUPLICATE)


def test_who_was_dialled_twice_leaves_the_choice_to_the_dialler(core: Core) -> None:
    connect(core, 1, HIGH, dialled=False)
    assert connect(core, 2, HIGH, dialled=False) == [events.Introduce(2)]
    core.handle(events.Lost(1, "duplicate"), 1.0)
    assert core.connected() == {HIGH}


def test_a_peer_that_lost_its_end_may_connect_again_whoever_dialled_first(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    connect(core, 2, HIGH, dialled=False, now=GLARE_S)
    assert list(core.links) == [2]


def test_what_was_learned_is_offered_on_after_a_moment_and_not_too_often(core: Core) -> None:
    connect(core, 1, HIGH, dialled=False)
    assert core.handle(events.Learned(), 10.0) == []
    due = core.next_timer()
    assert due == pytest.approx(10.0 + RELAY_DELAY_S)
    assert core.handle(events.Ticked(), 10.1) == [events.Synchronise(1)]
    core.handle(events.SyncEnded(1, Report()), 10.2)
    core.handle(events.Learned(), 10.2)
    assert core.next_timer() == pytest.approx(10.2 + RELAY_PAUSE_S)


def test_what_came_from_a_peer_is_not_offered_back_to_it(core: Core) -> None:
    connect(core, 1, HIGH, dialled=False)
    connect(core, 2, LOW, dialled=False)
    core.handle(events.Learned(1), 10.0)
    assert core.handle(events.Ticked(), 11.0) == [events.Synchronise(2)]
    core.handle(events.SyncEnded(2, Report(changes_received=5)), 12.0)
    assert core.handle(events.Ticked(), 13.0) == [events.Synchronise(1)]


def test_one_session_at_a_time_on_a_link(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    assert core.handle(events.SyncAsked(HIGH), 1.0) == []
    assert core.handle(events.SyncEnded(1, Report()), 2.0) == [events.Synchronise(1)]


def test_a_failed_session_is_tried_again_and_its_error_kept(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    core.handle(events.SyncEnded(1, None, "disk full"), 1.0)
    assert core.status[HIGH].last_error == "disk full"
    assert core.handle(events.Ticked(), 1.0 + RETRY_S) == [events.Synchronise(1)]


def test_a_log_that_forked_is_told_and_holds_nothing_else_up(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    core.handle(events.SyncEnded(1, Report(refused="a log forked")), 1.0)
    assert core.status[HIGH].last_error == "a log forked"
    assert core.status[HIGH].failures == 0


def test_a_session_that_gave_way_is_held_again_as_the_peers_may_have_begun_too_early(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    core.handle(events.SyncEnded(1, None), 1.0)
    assert core.status[HIGH].last_error == ""
    assert core.next_timer() == pytest.approx(1.0 + RELAY_PAUSE_S)


def test_a_peer_that_has_every_session_give_way_is_asked_ever_less_often(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    pauses, now = [], 0.0
    for _ in range(4):
        core.handle(events.SyncEnded(1, None), now)
        due = core.next_timer()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert events.Synchronise(1) in core.handle(events.Ticked(), now)
    assert pauses == pytest.approx([RELAY_PAUSE_S * 2**often for often in range(4)])
    core.handle(events.SyncEnded(1, Report()), now)
    assert core.status[HIGH].gave_way == 0


def test_every_interval_one_peer_is_synchronised_with(core: Core) -> None:
    connect(core, 1, HIGH, dialled=False)
    assert core.handle(events.Ticked(), INTERVAL_S * (1 + JITTER)) == [events.Synchronise(1)]


def test_a_lost_peer_is_dialled_again(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    core.handle(events.Lost(1, "gone"), 5.0)
    due = core.next_timer()
    assert due is not None
    assert core.handle(events.Ticked(), due) == [events.Dial(target(HIGH))]


def test_losing_a_rival_connection_does_not_lose_the_peer(core: Core) -> None:
    connect(core, 1, HIGH, dialled=True)
    connect(core, 2, HIGH, dialled=False)
    core.handle(events.Lost(2, "duplicate"), 1.0)
    assert core.connected() == {HIGH}


def test_a_parted_node_is_closed_on_and_not_dialled_until_asked(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    (close,) = core.handle(events.PartingAsked(HIGH), 1.0)
    assert isinstance(close, events.Close)
    assert close.fault is Fault.PARTED
    assert core.handle(events.Lost(1, "parted"), 1.0) == []
    assert [type(effect) for effect in connect(core, 2, HIGH, dialled=False, now=2.0)] == [events.Close]
    assert core.handle(events.Ticked(), 100.0) == []
    assert core.handle(events.MeetingAsked(HIGH), 101.0) == [events.Dial(target(HIGH))]


def test_a_node_that_broke_the_protocol_is_shut_out_for_a_while(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    assert core.handle(events.Lost(1, "malformed", blamed=True), 1.0) == []
    (close,) = connect(core, 2, HIGH, dialled=False, now=2.0)
    assert isinstance(close, events.Close)
    assert close.fault is Fault.BANNED
    assert core.handle(events.Ticked(), BAN_S) == []
    assert core.handle(events.Ticked(), 1.0 + BAN_S) == [events.Dial(target(HIGH))]


def test_for_how_long_may_be_another_while_the_node_runs(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    core.dialling.ban_s = 60.0
    assert core.handle(events.Lost(1, "malformed", blamed=True), 1.0) == []
    assert core.handle(events.Ticked(), 60.0) == []
    assert core.handle(events.Ticked(), 61.0) == [events.Dial(target(HIGH))]


def test_nothing_is_planned_when_nothing_is_known(core: Core) -> None:
    assert core.next_timer() is None
    assert core.handle(events.Ticked(), 0.0) == []


def test_a_removed_node_is_closed_on_forgotten_and_not_dialled(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH), pinned=True), 0.0)
    connect(core, 1, HIGH, dialled=True)
    (close,) = core.handle(events.Removed({HIGH: "removed from the cluster by ana"}), 1.0)
    assert close == events.Close(1, Fault.UNAUTHORISED, "removed from the cluster by ana")
    assert core.connected() == set()
    assert core.book.get(HIGH) is None
    assert core.handle(events.Lost(1, "closed here", blamed=True), 1.1) == []
    assert core.handle(events.Ticked(), BAN_S * 2) == []


def test_a_member_the_access_list_refuses_is_parted_with_and_dialled_once_it_is_let_in(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    connect(core, 1, HIGH, dialled=True)
    (close,) = core.handle(events.Barred(frozenset({HIGH}), "not here"), 1.0)
    assert close == events.Close(1, Fault.UNAUTHORISED, "not here")
    assert core.handle(events.Lost(1, "closed here", blamed=True), 1.1) == []
    (refused,) = connect(core, 2, HIGH, dialled=False, now=2.0)
    assert isinstance(refused, events.Close)
    assert refused.fault is Fault.UNAUTHORISED
    assert core.handle(events.Ticked(), BAN_S) == []
    assert core.handle(events.Barred(frozenset(), ""), BAN_S + 1) == [events.Dial(target(HIGH))]


def test_a_shorter_interval_holds_from_now_on_and_not_from_the_next_round_on(core: Core) -> None:
    connect(core, 1, HIGH, dialled=False)
    assert (core.next_timer() or 0) >= INTERVAL_S * (1 - JITTER)
    core.handle(events.IntervalChanged(5.0), 1.0)
    assert core.handle(events.Ticked(), 1.0 + 5.0 * (1 + JITTER)) == [events.Synchronise(1)]


# --- paths -----------------------------------------------------------------------------------------------------------


def link_over(core: Core, link: int, *, dialled: bool, relayed: bool, now: float = 0.0) -> list[events.Effect]:
    return core.handle(events.Connected(link, HIGH, target(HIGH) if dialled else None, relayed), now)


def closed_in(effects: list[events.Effect]) -> list[tuple[int, Fault]]:
    return [(effect.link, effect.fault) for effect in effects if isinstance(effect, events.Close)]


def test_dials_under_way_are_given_up_when_a_connection_is_there_whoever_dialled(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    assert events.GiveUp(HIGH) in connect(core, 1, HIGH, dialled=False)
    assert events.GiveUp(HIGH) not in connect(core, 2, HIGH, dialled=False)


@pytest.mark.parametrize("direct_dialled", [True, False])
@pytest.mark.parametrize("direct_first", [True, False])
def test_of_two_connections_the_direct_one_stays_whoever_dialled_it(
    core: Core, direct_dialled: bool, direct_first: bool
) -> None:
    link_over(core, 1, dialled=direct_dialled == direct_first, relayed=not direct_first)
    core.handle(events.SyncEnded(1, Report()), 0.0)
    effects = link_over(core, 2, dialled=direct_dialled != direct_first, relayed=direct_first)
    assert closed_in(effects) == [(2 if direct_first else 1, Fault.DUPLICATE)]


def test_a_connection_that_moved_to_a_direct_path_counts_as_direct(core: Core) -> None:
    link_over(core, 1, dialled=False, relayed=True)
    core.handle(events.Moved(1, relayed=False), 0.1)
    assert closed_in(link_over(core, 2, dialled=True, relayed=True, now=0.2)) == [(2, Fault.DUPLICATE)]


def test_a_session_cut_short_with_its_connection_begins_anew_on_the_one_that_stays(core: Core) -> None:
    link_over(core, 1, dialled=True, relayed=True)
    effects = link_over(core, 2, dialled=True, relayed=False)
    assert closed_in(effects) == [(1, Fault.DUPLICATE)]
    assert events.Synchronise(2) in effects


def test_a_silent_connection_nothing_else_can_mend_is_dialled_again_and_replaced(core: Core) -> None:
    link_over(core, 1, dialled=True, relayed=False)
    assert core.handle(events.Suspected(1, suspect=True), 0.1) == []
    assert core.handle(events.Suspected(1, suspect=True, redial=True), 0.2) == [events.Dial(target(HIGH))]
    assert closed_in(link_over(core, 2, dialled=True, relayed=False, now=0.3)) == [(1, Fault.DUPLICATE)]


def test_a_change_of_the_network_leads_to_dials_of_those_that_were_given_up_on(core: Core) -> None:
    core.handle(events.Sighted(target(HIGH)), 0.0)
    core.handle(events.DialFailed(target(HIGH), "no answer"), 0.0)
    core.book.get(HIGH).due_at = 100.0
    core.handle(events.WaysChanged(), 50.0)
    assert core.handle(events.Ticked(), 50.0 + STIR_S) == [events.Dial(target(HIGH))]
