"""The trees of Plumtree: eager push, lazy offers, grafts and prunes, and the bounds of what is remembered."""

from __future__ import annotations

from random import Random

import pytest

from cis.gossip import Deliver, Send, SetTimer, TreeConfig, message_id
from cis.gossip.plumtree import Plumtree, TreeTimer
from cis.model import NodeId
from cis.wire.gossip import HOPS_MAX, WANTED_MAX, Gossip, GossipMessage, Graft, IHave, Prune

CONFIG = TreeConfig()
TREE = b"author 1"
OTHER_TREE = b"author 2"


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


class Desk:
    """One machine with neighbours 1 … n; node 0 is itself."""

    def __init__(self, neighbours: int = 4, config: TreeConfig = CONFIG) -> None:
        self.tree = Plumtree(node(0), Random(1), config)
        self.now = 100.0
        self.effects: list = []
        for number in range(1, neighbours + 1):
            self.tree.neighbour_up(node(number), self.now)

    def hear(self, number: int, message: GossipMessage) -> list:
        self.effects = self.tree.receive(node(number), message, self.now)
        return self.effects

    def gossip(self, number: int, body: bytes, hops: int = 1, tree: bytes = TREE) -> list:
        return self.hear(number, Gossip(hops, tree, body))

    def examine(self, body: bytes, *, sound: bool = True) -> list:
        self.effects = self.tree.examined(message_id(body), sound=sound, now=self.now)
        return self.effects

    def pass_on(self, number: int, body: bytes, hops: int = 1, tree: bytes = TREE) -> list:
        self.gossip(number, body, hops, tree)
        return self.examine(body)

    def expire(self, timer: TreeTimer, after_s: float) -> list:
        self.now += after_s
        self.effects = self.tree.expired(timer, self.now)
        return self.effects

    def sent(self, kind: type) -> list[tuple[int, object]]:
        return [
            (int.from_bytes(one.node, "big"), one.message)
            for one in self.effects
            if isinstance(one, Send) and isinstance(one.message, kind)
        ]

    def receivers(self, kind: type) -> list[int]:
        return [number for number, _ in self.sent(kind)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def offer(body: bytes, hops: int = 1) -> IHave:
    return IHave([(message_id(body), hops)])


def test_a_message_is_handed_out_at_once_and_passed_on_after_it_was_examined(desk: Desk) -> None:
    desk.gossip(1, b"m", hops=3)
    assert desk.effects == [Deliver(message_id(b"m"), b"m", node(1), 3)]
    desk.examine(b"m")
    assert desk.sent(Gossip) == [(number, Gossip(4, TREE, b"m")) for number in (2, 3, 4)]
    assert desk.examine(b"m") == []


def test_an_unsound_message_is_not_passed_on_not_given_and_not_taken_again(desk: Desk) -> None:
    desk.gossip(1, b"m")
    assert desk.examine(b"m", sound=False) == []
    assert desk.examine(b"m") == []
    assert desk.hear(2, Graft([message_id(b"m")])) == []
    desk.hear(3, offer(b"m"))
    assert desk.expire(TreeTimer.GRAFT, 10.0) == []
    assert not [one for one in desk.gossip(2, b"m") if isinstance(one, Deliver)]


def test_a_message_not_yet_examined_is_not_given(desk: Desk) -> None:
    desk.gossip(1, b"m")
    assert desk.hear(2, Graft([message_id(b"m")])) == []


def test_own_messages_go_to_all_neighbours_one_hop_away(desk: Desk) -> None:
    effects = desk.tree.broadcast(b"m", desk.now)
    assert effects == [Send(node(number), Gossip(1, node(0)[:8], b"m")) for number in (1, 2, 3, 4)]
    assert desk.tree.broadcast(b"m", desk.now) == []


def test_who_sends_a_duplicate_is_pruned_and_offered_from_then_on(desk: Desk) -> None:
    desk.pass_on(1, b"m")
    assert desk.gossip(2, b"m") == [Send(node(2), Prune(TREE))]
    desk.pass_on(1, b"m2")
    assert desk.receivers(Gossip) == [3, 4]
    desk.expire(TreeTimer.OFFER, CONFIG.offer_s)
    assert desk.sent(IHave) == [(2, offer(b"m2"))]


def test_the_same_message_twice_by_the_same_way_prunes_nothing(desk: Desk) -> None:
    desk.pass_on(1, b"m")
    assert desk.gossip(1, b"m") == []


def test_of_two_ways_the_one_much_nearer_to_the_source_stays_even_if_it_came_second(desk: Desk) -> None:
    desk.pass_on(1, b"m", hops=9)
    assert desk.gossip(2, b"m", hops=9 - CONFIG.detour_hops) == [Send(node(1), Prune(TREE))]


def test_who_prunes_is_offered_and_who_grafts_is_pushed_to(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.pass_on(1, b"m")
    assert desk.receivers(Gossip) == [3, 4]
    desk.hear(2, Graft([message_id(b"m")]))
    assert desk.sent(Gossip) == [(2, Gossip(2, TREE, b"m"))]
    desk.pass_on(1, b"m2")
    assert desk.receivers(Gossip) == [2, 3, 4]


def test_each_author_has_a_tree_of_its_own(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.pass_on(1, b"m", tree=OTHER_TREE)
    assert desk.receivers(Gossip) == [2, 3, 4]


def test_who_pushes_what_is_new_is_pushed_to_in_return(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.pass_on(2, b"m")
    desk.pass_on(1, b"m2")
    assert desk.receivers(Gossip) == [2, 3, 4]


def test_as_many_offers_as_one_message_holds_do_not_wait(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    for number in range(WANTED_MAX - 1):
        assert not [one for one in desk.pass_on(1, b"%d" % number) if isinstance(getattr(one, "message", None), IHave)]
    desk.pass_on(1, b"last")
    assert [len(message.offers) for _, message in desk.sent(IHave)] == [WANTED_MAX]


def test_offers_travel_together_after_a_moment(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.hear(3, Prune(TREE))
    timers = []
    for number in range(5):
        timers += [one for one in desk.pass_on(1, b"m%d" % number) if isinstance(one, SetTimer)]
    assert timers == [SetTimer(CONFIG.offer_s, TreeTimer.OFFER)]
    desk.expire(TreeTimer.OFFER, CONFIG.offer_s)
    assert [len(message.offers) for _, message in desk.sent(IHave)] == [5, 5]
    assert desk.receivers(IHave) == [2, 3]


def test_what_was_offered_and_does_not_come_is_asked_for_nearest_first_then_of_the_next(desk: Desk) -> None:
    (timer,) = desk.hear(1, offer(b"m", hops=5))
    assert CONFIG.graft_first_s <= timer.delay_s <= 2 * CONFIG.graft_first_s
    desk.hear(2, offer(b"m", hops=3))
    desk.hear(2, offer(b"m", hops=3))
    desk.expire(TreeTimer.GRAFT, timer.delay_s)
    assert desk.sent(Graft) == [(2, Graft([message_id(b"m")]))]
    desk.expire(TreeTimer.GRAFT, CONFIG.graft_next_s)
    assert desk.sent(Graft) == [(1, Graft([message_id(b"m")]))]
    assert desk.expire(TreeTimer.GRAFT, CONFIG.graft_next_s) == []
    assert [type(one) for one in desk.hear(3, offer(b"m"))] == [SetTimer]


def test_what_came_in_time_is_not_asked_for(desk: Desk) -> None:
    (timer,) = desk.hear(1, offer(b"m"))
    desk.gossip(2, b"m", hops=2)
    assert desk.expire(TreeTimer.GRAFT, timer.delay_s) == []


def test_a_timer_that_comes_a_little_early_is_set_again(desk: Desk) -> None:
    (timer,) = desk.hear(1, offer(b"m"))
    (again,) = desk.expire(TreeTimer.GRAFT, timer.delay_s - 0.0005)
    assert isinstance(again, SetTimer)
    desk.expire(TreeTimer.GRAFT, again.delay_s)
    assert desk.receivers(Graft) == [1]


def test_who_is_gone_is_not_asked(desk: Desk) -> None:
    (timer,) = desk.hear(1, offer(b"m"))
    desk.hear(2, offer(b"m"))
    desk.tree.neighbour_down(node(1))
    desk.expire(TreeTimer.GRAFT, timer.delay_s)
    assert desk.receivers(Graft) == [2]


def test_an_offerer_that_was_much_nearer_takes_the_place_of_who_pushed(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.pass_on(1, b"m", hops=4 + CONFIG.optimise_hops)
    desk.hear(2, offer(b"m", hops=3))
    assert desk.effects == [Send(node(2), Graft([], [TREE])), Send(node(1), Prune(TREE))]
    desk.pass_on(2, b"m2")
    assert desk.receivers(Gossip) == [3, 4]


def test_an_offerer_a_little_nearer_changes_nothing(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.pass_on(1, b"m", hops=3 + CONFIG.optimise_hops)
    assert desk.hear(2, offer(b"m", hops=3)) == []


def test_a_message_at_the_bound_of_hops_is_delivered_and_not_passed_on(desk: Desk) -> None:
    assert [type(one) for one in desk.gossip(1, b"m", hops=HOPS_MAX)] == [Deliver]
    assert desk.examine(b"m") == []
    assert desk.hear(2, Graft([message_id(b"m")])) == []
    assert desk.hear(3, offer(b"m2", hops=HOPS_MAX)) == []


def test_a_message_examined_too_late_is_not_passed_on(desk: Desk) -> None:
    desk.gossip(1, b"m")
    desk.now += CONFIG.seen_s + 1
    assert desk.examine(b"m") == []


def test_a_new_neighbour_is_offered_what_came_lately_and_nothing_older(desk: Desk) -> None:
    desk.pass_on(1, b"old")
    desk.now += CONFIG.recall_s + 1
    desk.pass_on(1, b"first", hops=2)
    desk.gossip(1, b"not examined")
    desk.pass_on(1, b"second", hops=2)
    offers = [(message_id(b"first"), 2), (message_id(b"second"), 2)]
    assert desk.tree.neighbour_up(node(9), desk.now) == [Send(node(9), IHave(offers))]


def test_a_body_is_taken_from_who_is_no_neighbour_and_nothing_else_is(desk: Desk) -> None:
    assert [type(one) for one in desk.gossip(77, b"m")] == [Deliver]
    assert desk.gossip(78, b"m") == []
    desk.examine(b"m")
    assert desk.hear(77, Graft([message_id(b"m")])) == []
    assert desk.hear(77, offer(b"m2")) == []
    desk.hear(77, Prune(TREE))
    assert desk.tree.trees == 0


def test_a_graft_for_what_is_not_known_gives_nothing(desk: Desk) -> None:
    assert desk.hear(1, Graft([message_id(b"%d" % number) for number in range(WANTED_MAX)])) == []


def test_one_neighbour_is_not_given_the_same_again_and_again(desk: Desk) -> None:
    desk.pass_on(1, b"m")
    given = sum(len(desk.hear(2, Graft([message_id(b"m")] * 100))) for _ in range(10))
    assert given == CONFIG.given_max


def test_one_graft_is_given_a_bounded_number_of_bytes() -> None:
    desk = Desk(config=TreeConfig(graft_bytes_max=1000))
    ids = []
    for number in range(20):
        body = bytes([number]) * 100
        desk.pass_on(1, body)
        ids.append(message_id(body))
    assert len(desk.hear(2, Graft(ids))) == 10


def test_ids_that_never_come_are_bounded_for_each_who_offers_them(desk: Desk) -> None:
    for round_ in range(20):
        ids = [(message_id(b"%d %d" % (round_, number)), 1) for number in range(WANTED_MAX)]
        desk.hear(1, IHave(ids))
    assert len(desk.tree._wanted) == CONFIG.wanted_max
    desk.hear(2, offer(b"m"))
    assert len(desk.tree._wanted) == CONFIG.wanted_max + 1
    desk.expire(TreeTimer.GRAFT, 2 * CONFIG.graft_first_s)
    assert sorted(desk.receivers(Graft)) == [1, 2]
    desk.expire(TreeTimer.GRAFT, CONFIG.graft_next_s)
    assert len(desk.tree._wanted) == 0


def test_ids_and_bodies_remembered_are_bounded_in_number_size_and_age() -> None:
    desk = Desk(config=TreeConfig(seen_max=50, kept_max=20, kept_bytes_max=1000))
    for number in range(200):
        desk.pass_on(1, b"%d" % number)
    assert (len(desk.tree.messages), desk.tree.messages.kept) == (50, 20)
    assert desk.tree.messages.crowded_out == 150
    desk.pass_on(1, bytes(990))
    assert desk.tree.messages.kept < 20
    assert desk.gossip(1, b"199") == []
    desk.now += CONFIG.kept_s + 1
    desk.tree.messages.sweep(desk.now)
    assert (len(desk.tree.messages), desk.tree.messages.kept) == (50, 0)
    desk.now += CONFIG.seen_s
    desk.tree.messages.sweep(desk.now)
    assert len(desk.tree.messages) == 0


def test_what_came_as_far_as_may_be_is_not_passed_on() -> None:
    desk = Desk()
    assert (CONFIG.hops_max, CONFIG.seen_max, CONFIG.seen_s) == (16, 65_536, 120.0)
    assert desk.pass_on(1, b"near", hops=CONFIG.hops_max - 1)
    assert desk.tree.too_far == 0
    assert desk.pass_on(1, b"far", hops=CONFIG.hops_max) == []
    assert desk.tree.too_far == 1


def test_trees_remembered_are_bounded_and_the_one_unused_longest_goes() -> None:
    desk = Desk(config=TreeConfig(trees_max=10))
    desk.hear(2, Prune(TREE))
    for number in range(9):
        desk.hear(2, Prune(number.to_bytes(8, "big")))
    desk.pass_on(1, b"m")
    desk.hear(2, Prune(OTHER_TREE))
    assert desk.tree.trees == 10
    desk.pass_on(1, b"m2")
    assert desk.receivers(Gossip) == [3, 4]


def test_a_neighbour_that_is_gone_is_forgotten_in_every_tree(desk: Desk) -> None:
    desk.hear(2, Prune(TREE))
    desk.tree.neighbour_down(node(2))
    desk.tree.neighbour_up(node(2), desk.now)
    desk.pass_on(1, b"m")
    assert desk.receivers(Gossip) == [3, 4, 2]
