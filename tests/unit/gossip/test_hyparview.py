"""The views of HyParView: who becomes a neighbour, who is kept in mind, what a node can make another do."""

from __future__ import annotations

import pytest

from cis.gossip import (
    Dial,
    DialFailed,
    Heard,
    LeavingAsked,
    Linked,
    NeighbourDown,
    NeighbourUp,
    Received,
    Release,
    Removed,
    Send,
    SetTimer,
    TimerExpired,
    Unlinked,
    ViewConfig,
)
from cis.gossip.neighbourhood import ViewTimer
from cis.wire.gossip import (
    CONTACTS_MAX,
    Disconnect,
    ForwardJoin,
    Join,
    Neighbour,
    NeighbourAnswer,
    Shuffle,
    ShuffleAnswer,
)
from tests.unit.gossip.view_desk import CONFIG, Desk, contact, node, number_of


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_who_is_heard_of_first_is_dialled_and_joined_through(desk: Desk) -> None:
    assert desk.tell(Heard(*contact(1)))[0] == Dial(*contact(1))
    desk.tell(Linked(node(1), dialled=True))
    assert desk.sent(1) == [Join((node(0), b"own"))]
    desk.hear(1, NeighbourAnswer(accepted=True))
    assert NeighbourUp(node(1)) in desk.effects
    assert list(desk.views.active) == [node(1)]


def test_after_joining_others_are_asked_as_neighbours_and_urgently_only_when_there_is_none(desk: Desk) -> None:
    desk.tell(Heard(*contact(1)))
    desk.tell(Linked(node(1), dialled=True))
    desk.hear(1, NeighbourAnswer(accepted=True))
    desk.tell(Heard(*contact(2)))
    desk.tell(Linked(node(2), dialled=True))
    assert desk.sent(2) == [Neighbour((node(0), b"own"), urgent=False)]
    desk.tell(Unlinked(node(1)))
    desk.tell(DialFailed(node(2)))
    desk.tell(Heard(*contact(3)))
    desk.tell(Unlinked(node(2)))
    desk.tell(Linked(node(3), dialled=True))
    assert desk.sent(3) == [Neighbour((node(0), b"own"), urgent=True)]


def test_a_link_is_no_neighbour_and_one_not_asked_for_is_asked_when_there_is_room(desk: Desk) -> None:
    desk.tell(Linked(node(1), dialled=True))
    assert not desk.views.active
    assert desk.sent(1) == [Join((node(0), b"own"))]
    desk.tell(Linked(node(2), dialled=False))
    assert desk.sent(2) == []  # the other side dialled, and speaks first
    desk.seek(CONFIG.patience_s + 0.1)
    assert [type(one) for one in desk.sent(2)] == [Neighbour]


def test_a_full_view_asks_nobody_and_declines_who_is_in_no_need(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Linked(node(6), dialled=False))
    desk.hear(6, Neighbour(contact(6), urgent=False))
    assert desk.sent(6) == [NeighbourAnswer(accepted=False)]
    assert node(6) in desk.views.known.passive
    desk.tell(Linked(node(7), dialled=True))
    assert desk.sent() == []


def test_an_urgent_request_costs_a_random_neighbour_its_place(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Linked(node(6), dialled=False))
    desk.hear(6, Neighbour(contact(6), urgent=True))
    assert desk.sent(6) == [NeighbourAnswer(accepted=True)]
    (dropped,) = desk.of(NeighbourDown)
    assert [one.node for one in desk.of(Send) if isinstance(one.message, Disconnect)] == [dropped.node]
    assert dropped.node in desk.views.known.passive
    assert len(desk.views.active) == CONFIG.active_max


def test_one_node_cannot_force_its_way_in_again_and_again(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Linked(node(6), dialled=False))
    dropped = 0
    for _ in range(50):
        desk.hear(6, Neighbour(contact(6), urgent=True))
        dropped += sum(isinstance(one, Disconnect) for one in desk.sent())
        desk.hear(6, Disconnect())
        desk.befriend(*[number for number in range(1, 6) if node(number) not in desk.views.active])
    assert dropped <= 1
    desk.now += CONFIG.forced_s
    desk.hear(6, Neighbour(contact(6), urgent=True))
    assert node(6) in desk.views.active


def test_a_flood_of_nodes_that_force_their_way_in_is_bounded(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    accepted = 0
    for number in range(100, 1100):
        desk.tell(Linked(node(number), dialled=False))
        desk.hear(number, Neighbour(contact(number), urgent=True))
        accepted += desk.sent(number) == [NeighbourAnswer(accepted=True)]
    assert accepted == CONFIG.forced_max
    assert len(desk.views.active) == CONFIG.active_max
    assert len(desk.views.known.passive) <= CONFIG.passive_max


def test_a_join_is_told_to_all_other_neighbours_and_walks_on(desk: Desk) -> None:
    desk.befriend(1, 2, 3)
    desk.tell(Linked(node(9), dialled=False))
    desk.hear(9, Join(contact(9)))
    told = [one.node for one in desk.of(Send) if isinstance(one.message, ForwardJoin)]
    assert told == [node(1), node(2), node(3)]
    assert desk.sent(1) == [ForwardJoin(contact(9), CONFIG.join_walk)]
    desk.hear(9, Join(contact(9)))
    assert not any(isinstance(one, ForwardJoin) for one in desk.sent())


def test_a_forwarded_join_is_kept_in_mind_halfway_and_asked_at_its_end() -> None:
    desk = Desk()
    desk.befriend(1, 2, 3, 4, 5)
    desk.hear(1, ForwardJoin(contact(9), 5))
    (onward,) = desk.of(Send)
    assert onward.message == ForwardJoin(contact(9), 4)
    assert onward.node != node(1)
    assert node(9) not in desk.views.known.passive
    desk.hear(1, ForwardJoin(contact(9), CONFIG.join_walk_passive))
    assert node(9) in desk.views.known.passive
    desk.hear(1, ForwardJoin(contact(8), 0))
    assert desk.of(Dial) == [Dial(*contact(8))]
    desk.tell(Linked(node(8), dialled=True))
    desk.hear(8, NeighbourAnswer(accepted=True))
    assert node(8) in desk.views.active
    assert len(desk.views.active) == CONFIG.active_max


def test_a_lost_neighbour_is_replaced_from_the_passive_view_at_once(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Heard(*contact(6)))
    desk.tell(Unlinked(node(2)))
    assert NeighbourDown(node(2)) in desk.effects
    assert desk.of(Dial) == [Dial(*contact(6))]


def test_a_removed_node_is_no_neighbour_is_not_asked_again_and_told_to_nobody(desk: Desk) -> None:
    desk.befriend(1, 2)
    desk.tell(Heard(*contact(3)))
    for number in (2, 3):
        desk.tell(Removed(node(number)))
    assert node(2) not in desk.views.active
    for number in (2, 3):
        assert node(number) not in {*desk.views.known.passive, *desk.views.known.lost, *desk.views.known.absent}
    desk.seek(3600.0)
    assert not {one.node for one in desk.of(Dial)} & {node(2), node(3)}


def test_who_does_not_answer_holds_nobody_up(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4)
    desk.tell(Heard(*contact(6)))
    desk.tell(Heard(*contact(7)))
    assert desk.of(Dial) == []  # one place free, one asked
    desk.seek(CONFIG.patience_s + 0.01)
    assert desk.of(Dial) == [Dial(*contact(7))]


def test_when_nobody_can_be_had_it_is_tried_again_after_growing_pauses(desk: Desk) -> None:
    desk.tell(Heard(*contact(1)))
    pauses = []
    for _ in range(12):
        desk.tell(DialFailed(node(1)))
        pauses.append(desk.run_to(Dial))
    assert pauses[0] >= CONFIG.retry_s
    assert pauses[3] > 2 * pauses[1]
    assert CONFIG.lost_max_s <= max(pauses) <= CONFIG.lost_max_s * (1 + CONFIG.jitter)
    desk.tell(DialFailed(node(1)))
    desk.tell(Heard(*contact(1)))  # news of it: at once
    assert desk.of(Dial) == [Dial(*contact(1))]


def asked_of_refusers(desk: Desk, seconds: float) -> int:
    """How many strangers are asked in a time when all of them refuse."""
    for number in range(10, 40):
        desk.tell(Heard(*contact(number)))
    asked, ends = 0, desk.now + seconds
    while desk.now < ends:
        while desk.dials:
            dial = desk.dials.pop()
            asked += 1
            desk.tell(Linked(dial.node, dialled=True))
            desk.tell(Received(dial.node, NeighbourAnswer(accepted=False)))
            desk.tell(Unlinked(dial.node))
        desk.seek(0.1)
    return asked


def test_after_refusals_in_a_row_the_search_rests_longer_each_time() -> None:
    few = ViewConfig(active_max=2)
    desk = Desk(config=few)
    desk.befriend(1)
    in_a_minute = asked_of_refusers(desk, 60)
    assert few.rest_after < in_a_minute < few.rest_after + 10
    assert 0 < asked_of_refusers(desk, 600) < 20


def test_who_lacks_more_than_one_neighbour_insists_in_the_end_and_who_lacks_one_does_not() -> None:
    for lacking in (1, 2):
        config = ViewConfig(active_max=2 + lacking)
        desk = Desk(config=config)
        desk.befriend(1, 2)
        asked_of_refusers(desk, 200)
        urgent = [one for one in desk.requests if one.urgent]
        assert bool(urgent) == (lacking > 1)
        assert len(desk.requests) - len(urgent) >= config.insist_after


def test_who_has_no_neighbour_does_not_rest() -> None:
    assert asked_of_refusers(Desk(), 5) >= 30


def test_a_link_that_comes_up_when_there_is_no_room_any_more_is_not_used_and_released(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4)
    desk.tell(Heard(*contact(6)))
    desk.befriend(5)
    desk.tell(Linked(node(6), dialled=True))
    assert desk.sent() == []
    (release,) = [one for one in desk.of(SetTimer) if one.timer == (ViewTimer.RELEASE, node(6))]
    desk.now += release.delay_s
    desk.tell(TimerExpired(release.timer))
    assert desk.of(Release) == [Release(node(6))]


def test_a_link_told_of_twice_and_one_with_oneself_change_nothing(desk: Desk) -> None:
    desk.tell(Linked(node(1), dialled=True))
    assert desk.tell(Linked(node(1), dialled=True)) == []
    desk.tell(Linked(node(0), dialled=True))
    assert desk.sent() == []


def test_a_neighbour_whose_joining_is_told_again_stays_only_a_neighbour(desk: Desk) -> None:
    desk.befriend(1, 2, 3)
    for ttl in (0, CONFIG.join_walk_passive, CONFIG.join_walk):
        assert desk.hear(1, ForwardJoin(contact(2), ttl)) == []
    assert not desk.views.known.passive


def test_no_walk_is_longer_than_it_may_be(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.hear(1, ForwardJoin(contact(9), 16))
    assert [one.ttl for one in desk.sent()] == [CONFIG.join_walk - 1]
    desk.hear(1, Shuffle(contact(9), [], 16))
    assert [one.ttl for one in desk.sent()] == [CONFIG.join_walk - 1]


def test_nodes_that_cannot_be_reached_are_remembered_in_a_bounded_number_and_neighbours_longest(desk: Desk) -> None:
    desk.befriend(1, 2, 3)
    for number in (1, 2, 3):
        desk.tell(Unlinked(node(number)))
    for number in range(10, 10 + 2 * CONFIG.lost_max):
        desk.tell(Heard(*contact(number)))
        for dial in desk.of(Dial):
            desk.tell(DialFailed(dial.node))
    assert len(desk.views.known.lost) == CONFIG.lost_max
    assert {node(1), node(2), node(3)} <= set(desk.views.known.lost)


def test_what_was_told_in_a_shuffle_makes_room_for_what_is_learnt() -> None:
    desk = Desk()
    desk.befriend(1, 2, 3, 4, 5)
    for number in range(10, 10 + CONFIG.passive_max):
        desk.tell(Heard(*contact(number)))
    desk.tell(TimerExpired(ViewTimer.SHUFFLE))
    (message,) = desk.sent()
    told = {one for one, _ in message.contacts} - set(desk.views.active)
    before = set(desk.views.known.passive)
    desk.hear(1, ShuffleAnswer([contact(100 + number) for number in range(len(told))]))
    assert before - set(desk.views.known.passive) == told


def test_a_neighbour_that_was_cut_off_and_is_back_is_let_in_at_the_cost_of_another(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Unlinked(node(5)))
    desk.befriend(6)
    assert len(desk.views.active) == CONFIG.active_max
    desk.seek(2.0)
    assert [one.node for one in desk.of(Dial)] == [node(5)]
    desk.tell(Linked(node(5), dialled=True))
    assert desk.sent(5) == [Neighbour((node(0), b"own"), urgent=True)]
    desk.hear(5, NeighbourAnswer(accepted=True))
    assert node(5) in desk.views.active
    assert len(desk.of(NeighbourDown)) == 1


def test_a_shuffle_tells_of_both_views_and_of_oneself(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    for number in range(10, 30):
        desk.tell(Heard(*contact(number)))
    desk.tell(TimerExpired(ViewTimer.SHUFFLE))
    ((receiver, message),) = [(one.node, one.message) for one in desk.of(Send)]
    assert message.origin == (node(0), b"own")
    assert message.ttl == CONFIG.join_walk
    near = [one for one, _ in message.contacts if one in desk.views.active]
    far = [one for one, _ in message.contacts if one in desk.views.known.passive]
    assert (len(near), len(far)) == (CONFIG.shuffle_active, CONFIG.shuffle_passive)
    assert receiver not in near
    assert any(one.timer is ViewTimer.SHUFFLE for one in desk.of(SetTimer))


def test_a_shuffle_walks_on_and_is_answered_where_it_ends() -> None:
    desk = Desk()
    desk.befriend(1, 2, 3, 4, 5)
    for number in range(10, 20):
        desk.tell(Heard(*contact(number)))
    message = Shuffle(contact(50), [contact(51), contact(52)], 6)
    desk.hear(1, message)
    (onward,) = desk.of(Send)
    assert onward.message == Shuffle(message.origin, message.contacts, 5)
    assert node(51) not in desk.views.known.passive
    desk.hear(1, Shuffle(message.origin, message.contacts, 1))
    assert {node(50), node(51), node(52)} <= set(desk.views.known.passive)
    assert desk.of(Dial) == [Dial(*contact(50))]
    desk.tell(Linked(node(50), dialled=True))
    (answer,) = [one for one in desk.sent(50) if isinstance(one, ShuffleAnswer)]
    assert all(10 <= number_of(one) < 20 for one, _ in answer.contacts)
    (release,) = [one for one in desk.of(SetTimer) if one.timer == (ViewTimer.RELEASE, node(50))]
    desk.now += release.delay_s
    desk.tell(TimerExpired(release.timer))
    assert desk.of(Release) == [Release(node(50))]


def test_of_answers_to_a_shuffle_one_is_taken(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.hear(1, ShuffleAnswer([contact(60)]))
    assert node(60) not in desk.views.known.passive
    desk.tell(TimerExpired(ViewTimer.SHUFFLE))
    desk.hear(1, ShuffleAnswer([contact(61)]))
    desk.hear(1, ShuffleAnswer([contact(62)]))
    assert node(61) in desk.views.known.passive
    assert node(62) not in desk.views.known.passive


def test_huge_shuffles_and_records_of_oneself_change_nothing_beyond_the_bounds(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    many = [contact(number) for number in range(1000, 3000)]
    for _ in range(20):
        desk.hear(1, Shuffle(contact(999), [contact(0), contact(1), *many], 1))
        desk.hear(2, ForwardJoin(contact(0), 0))
        desk.hear(3, Shuffle(contact(0), many, 1))
    assert len(desk.views.known.passive) <= CONTACTS_MAX + 1
    assert node(0) not in desk.views.known.passive
    assert node(0) not in desk.views.active
    assert not set(desk.views.active) & set(desk.views.known.passive)


def test_a_shuffle_that_walked_home_is_not_answered(desk: Desk) -> None:
    desk.befriend(1, 2)
    desk.tell(Heard(*contact(6)))
    assert desk.hear(1, Shuffle(contact(0), [contact(7)], 1)) == []


def test_a_flood_of_shuffles_has_few_dials_under_way(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Heard(*contact(6)))
    for number in range(1000, 1200):
        desk.hear(1, Shuffle(contact(number), [], 1))
    assert len(desk.dials) == CONFIG.answers_max


def test_a_flood_of_forwarded_joins_has_few_dials_under_way(desk: Desk) -> None:
    desk.befriend(1, 2, 3, 4, 5)
    dials = 0
    for number in range(1000, 3000):
        desk.hear(1, ForwardJoin(contact(number), 0))
        dials += len(desk.of(Dial))
    assert dials <= CONFIG.asks_max


def test_who_speaks_for_another_is_not_heard(desk: Desk) -> None:
    desk.tell(Linked(node(1), dialled=False))
    desk.hear(1, Join(contact(2)))
    desk.hear(1, Neighbour(contact(2), urgent=True))
    assert not desk.views.active
    assert desk.sent() == []


def test_a_message_of_a_node_without_a_link_is_not_heard(desk: Desk) -> None:
    desk.hear(1, Join(contact(1)))
    assert desk.effects == []


def test_who_walks_through_a_node_that_is_no_neighbour_is_told_so(desk: Desk) -> None:
    desk.tell(Linked(node(1), dialled=False))
    desk.hear(1, Shuffle(contact(1), [contact(2)], 3))
    assert desk.sent(1) == [Disconnect()]


def test_an_acceptance_nobody_waits_for_is_honoured_with_room_and_undone_without(desk: Desk) -> None:
    desk.tell(Linked(node(1), dialled=False))
    desk.hear(1, NeighbourAnswer(accepted=True))
    assert list(desk.views.active) == [node(1)]
    desk.befriend(2, 3, 4, 5)
    desk.tell(Linked(node(6), dialled=False))
    desk.hear(6, NeighbourAnswer(accepted=True))
    assert desk.sent(6) == [Disconnect()]


def test_a_leaving_node_tells_its_neighbours_and_takes_nobody_in(desk: Desk) -> None:
    desk.befriend(1, 2)
    desk.tell(LeavingAsked())
    assert desk.sent(1) == desk.sent(2) == [Disconnect(leaving=True)]
    desk.tell(Linked(node(3), dialled=False))
    desk.hear(3, Neighbour(contact(3), urgent=True))
    assert desk.sent(3) == [NeighbourAnswer(accepted=False)]


def test_who_left_is_not_told_to_others_and_a_link_no_longer_used_is_released(desk: Desk) -> None:
    desk.befriend(1, 2)
    desk.hear(1, Disconnect(leaving=True))
    assert node(1) not in desk.views.known.passive
    (release,) = [one for one in desk.of(SetTimer) if one.timer == (ViewTimer.RELEASE, node(1))]
    desk.now += release.delay_s
    desk.tell(TimerExpired(release.timer))
    assert desk.of(Release) == [Release(node(1))]


def test_a_link_that_is_used_again_is_not_released(desk: Desk) -> None:
    desk.befriend(1, 2)
    desk.hear(1, Disconnect())
    (release,) = [one for one in desk.of(SetTimer) if one.timer == (ViewTimer.RELEASE, node(1))]
    desk.befriend(1)
    desk.tell(TimerExpired(release.timer))
    assert desk.of(Release) == []


def test_a_circle_that_seems_closed_lets_a_stranger_in() -> None:
    desk = Desk()
    desk.befriend(1, 2, 3, 4, 5)
    desk.tell(Heard(*contact(9)))
    for _ in range(CONFIG.circle_max):
        assert desk.of(Dial) == []
        desk.tell(TimerExpired(ViewTimer.SHUFFLE))
        desk.hear(1, ShuffleAnswer([]))
    desk.tell(TimerExpired(ViewTimer.SHUFFLE))
    assert desk.of(Dial) == [Dial(*contact(9))]
    desk.tell(Linked(node(9), dialled=True))
    assert desk.sent(9) == [Neighbour((node(0), b"own"), urgent=True)]
