"""The audit's machine by itself: what each end is told, in which order, and what no honest peer sends."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from cis.errors import Fault, PeerFault
from cis.model import Dot, ReplicaId, SpaceId, VersionVector
from cis.sync.audit import PAGES_MAX, Audit, Opening
from cis.sync.audit_effects import (
    AuditEffect,
    AuditFinished,
    Drop,
    Explain,
    Explained,
    Inventory,
    Mend,
    Range,
    Recheck,
    Repair,
    Supply,
    memory_of,
)
from cis.sync.audit_wants import WANTS_AT_ONCE, Wants
from cis.sync.session import Send, SendFrame
from cis.wire.audit import VERDICTS_MAX, Absent, AuditOpening, Outcome, Ranges, Verdicts, Want
from cis.wire.messages import Message, Vector, decode, encode

SPACE = SpaceId(b"S" * 16)
ONE, TWO = ReplicaId(b"1" * 40), ReplicaId(b"2" * 40)


def item(memory: str, replica: ReplicaId, seq: int) -> bytes:
    return memory.encode().ljust(16, b"\0") + replica + seq.to_bytes(8, "big")


def inventory(seqs: dict[ReplicaId, int], *items: bytes, **more: object) -> Inventory:
    return Inventory(VersionVector(seqs), b"".join(sorted(items)), **more)


class End:
    """An end whose store answers as it was told to; what was asked of it is kept."""

    def __init__(
        self,
        held: Inventory,
        *,
        initiator: bool,
        explained: Callable[[bytes], Explained] = lambda one: Explained(one, False, False),
    ) -> None:
        self.audit = Audit({SPACE: held}, initiator=initiator)
        self.asked: list[AuditEffect] = []
        self.outbox: list[Message | bytes] = []
        self.supplies: list[bytes | None] = []
        self._explained = explained

    def start(self) -> None:
        self.perform(self.audit.start())

    def take(self, message: Message | bytes) -> None:
        if isinstance(message, bytes):
            self.perform(self.audit.receive_segment())
        else:
            self.perform(self.audit.receive(decode(encode(message))))

    def perform(self, effects: Sequence[AuditEffect]) -> None:
        for effect in effects:
            if not isinstance(effect, Send | SendFrame):
                self.asked.append(effect)
            match effect:
                case Send(message):
                    self.outbox.append(message)
                case SendFrame(frame):
                    self.outbox.append(frame)
                case Explain(space, items):
                    self.perform(self.audit.explained(space, [self._explained(one) for one in items]))
                case Mend() | Drop():
                    self.perform(self.audit.mended())
                case Supply(wanted):
                    supplied = self.supplies.pop(0) if self.supplies else b"segment"
                    self.perform(self.audit.supplied(supplied, wanted.first))
                case Repair(wanted):
                    self.perform(self.audit.repaired(wanted, wanted.last))
                case Recheck(space):
                    self.perform(self.audit.rechecked(space, 0, 0))

    def all(self, kind: type) -> list:
        return [effect for effect in self.asked if isinstance(effect, kind)]


def run(one: End, two: End) -> None:
    one.start()
    two.start()
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                target.take(source.outbox.pop(0))
    for end in (one, two):
        assert end.audit.finished
        assert len(end.all(AuditFinished)) == 1


LOST = item("lost", ONE, 3)
SHARED = item("shared", ONE, 1)


def pair(
    mine: Inventory, theirs: Inventory, why: Callable[[bytes], Explained] = lambda one: Explained(one, False, False)
) -> tuple[End, End]:
    """An end that lacks something, and knows why, and one that has it."""
    one, two = End(mine, initiator=True, explained=why), End(theirs, initiator=False)
    run(one, two)
    return one, two


def test_equal_states_ask_nothing_of_either_node() -> None:
    one, two = pair(inventory({ONE: 5}, SHARED, LOST), inventory({ONE: 5}, SHARED, LOST))
    for end in (one, two):
        assert [type(effect) for effect in end.asked] == [Recheck, AuditFinished]
        assert end.audit.report.differing == 0


def test_what_the_own_vector_does_not_cover_is_left_to_synchronisation() -> None:
    one, two = pair(inventory({ONE: 2}, SHARED), inventory({ONE: 5}, SHARED, LOST))
    assert one.all(Explain) == one.all(Mend) == two.all(Supply) == []
    assert one.audit.report.differing == two.audit.report.differing == 0
    assert one.audit.report.here == two.audit.report.here == (0, 0, 0, 0)


def test_a_header_lost_against_the_own_vector_is_pulled() -> None:
    one, two = pair(inventory({ONE: 5}, SHARED), inventory({ONE: 5}, SHARED, LOST))
    assert one.all(Repair) == [Repair(Range(SPACE, ONE, 3, 3))]
    assert two.all(Supply) == [Supply(Range(SPACE, ONE, 3, 3))]
    assert one.audit.report.here == two.audit.report.there == (1, 1, 0, 0)


def test_what_was_missing_is_looked_at_again_once_it_is_mended() -> None:
    one, two = pair(inventory({ONE: 5}, SHARED), inventory({ONE: 5}, SHARED, LOST))
    assert one.all(Recheck) == [Recheck(SPACE, (LOST,), ())]
    assert two.all(Recheck) == [Recheck(SPACE, (), ())]


def test_a_header_held_and_not_replaced_means_that_the_tables_are_wrong() -> None:
    one, two = pair(
        inventory({ONE: 5}, SHARED), inventory({ONE: 5}, SHARED, LOST), lambda one: Explained(one, True, True)
    )
    assert one.all(Mend) == [Mend(SPACE, (memory_of(LOST),))]
    assert two.all(Supply) == []
    one, two = pair(
        inventory({ONE: 5}, SHARED), inventory({ONE: 5}, SHARED, LOST), lambda one: Explained(one, True, False)
    )
    assert two.all(Supply) == [Supply(Range(SPACE, ONE, 3, 3))], "its body was dropped with it"


def test_who_claims_what_replaced_an_item_is_told_and_pulls_it() -> None:
    killer = Dot(TWO, 4)
    mine, theirs = inventory({ONE: 5, TWO: 9}, SHARED), inventory({ONE: 5, TWO: 4}, SHARED, LOST)
    one, two = pair(mine, theirs, lambda one: Explained(one, True, False, (Dot(TWO, 7), killer)))
    assert two.all(Mend) == [Mend(SPACE, (memory_of(LOST),))]
    assert two.all(Repair) == [Repair(Range(SPACE, TWO, 4, 4))]
    assert one.all(Supply) == [Supply(Range(SPACE, TWO, 4, 4))]
    assert one.all(Mend) == []
    assert two.audit.report.here == one.audit.report.there == (1, 1, 0, 0)


def test_what_replaced_an_item_and_is_on_its_way_is_no_divergence() -> None:
    mine, theirs = inventory({ONE: 5, TWO: 9}, SHARED), inventory({ONE: 5, TWO: 4}, SHARED, LOST)
    one, two = pair(mine, theirs, lambda one: Explained(one, True, False, (Dot(TWO, 7),)))
    assert one.all(Mend) == two.all(Mend) == two.all(Repair) == []
    assert two.audit.report.here == (0, 0, 0, 0)


def test_verdicts_that_fill_several_pages_are_all_acted_on() -> None:
    lost = [item(f"lost {seq}", ONE, seq) for seq in range(1, VERDICTS_MAX + 53)]
    mine, theirs = inventory({ONE: len(lost), TWO: 9}), inventory({ONE: len(lost), TWO: 4}, *lost)
    _, two = pair(mine, theirs, lambda one: Explained(one, True, False, (Dot(TWO, 4),)))
    (mended,) = two.all(Mend)
    assert sorted(mended.memories) == sorted(map(memory_of, lost))
    assert two.audit.report.differing == len(lost)


def test_what_one_end_has_collected_the_other_drops_before_it_mends() -> None:
    floor = VersionVector({ONE: 4})
    mine, theirs = inventory({ONE: 5}, SHARED, floor=floor), inventory({ONE: 5}, SHARED, LOST)
    one, two = pair(mine, theirs, lambda one: Explained(one, False, False, collected=True))
    assert two.all(Drop) == [Drop(SPACE, (Dot(ONE, 3),), floor, two.audit._spaces[SPACE].mine.vector, settled=True)]
    assert one.all(Drop) == []
    assert two.all(Supply) == []


def test_a_floor_the_own_vector_does_not_cover_is_taken_over() -> None:
    floor = VersionVector({ONE: 4})
    _, two = pair(inventory({ONE: 5}, SHARED, floor=floor), inventory({ONE: 1}, SHARED))
    assert two.all(Drop) == [Drop(SPACE, (), floor, VersionVector({ONE: 1}), settled=True)]


def test_missing_bodies_and_damage_are_pulled_as_far_as_the_peer_has_them() -> None:
    damaged, unheld = Range(SPACE, ONE, 2, 9), Range(SPACE, TWO, 1, 1)
    mine = inventory({ONE: 9, TWO: 1}, SHARED, damaged=(damaged,), unheld=(unheld,))
    one, _ = pair(mine, inventory({ONE: 5, TWO: 1}, SHARED))
    assert one.all(Repair) == [Repair(Range(SPACE, ONE, 2, 5)), Repair(unheld)]
    assert one.audit.report.here == (0, 0, 1, 4)


def test_what_the_peer_lacked_is_asked_for_once_more_when_it_is_mended_itself() -> None:
    unheld = Range(SPACE, ONE, 1, 1)
    one = End(inventory({ONE: 5}, SHARED, unheld=(unheld,)), initiator=True)
    two = End(inventory({ONE: 5}, SHARED), initiator=False)
    two.supplies = [None]
    run(one, two)
    assert two.all(Supply) == [Supply(unheld), Supply(unheld)]
    assert one.all(Repair) == [Repair(unheld)]


def test_what_lies_behind_what_the_peer_lacks_is_asked_for_by_itself() -> None:
    damaged = Range(SPACE, ONE, 1, 4)
    one = End(inventory({ONE: 5}, SHARED, damaged=(damaged,)), initiator=True)
    two = End(inventory({ONE: 5}, SHARED), initiator=False)
    two.supplies = [None, b"segment", None]
    run(one, two)
    assert [supply.wanted.first for supply in two.all(Supply)] == [1, 2, 1]
    assert one.audit.report.here.missing == 1


def test_both_ends_lacking_the_same_end_all_the_same() -> None:
    unheld = Range(SPACE, ONE, 1, 1)
    ends = [End(inventory({ONE: 5}, SHARED, unheld=(unheld,)), initiator=first) for first in (True, False)]
    for end in ends:
        end.supplies = [None] * 9
    run(ends[0], ends[1])
    assert not ends[0].all(Repair)


def test_nodes_without_a_space_in_common_end_at_once() -> None:
    one = End(inventory({ONE: 5}, SHARED), initiator=True)
    two = End(inventory({ONE: 5}), initiator=False)
    two.audit = Audit({SpaceId(b"T" * 16): inventory({})}, initiator=False)
    run(one, two)
    assert one.audit.report.compared == 0


# --- what no honest peer sends ---------------------------------------------------------------------------------------


def opened(held: Inventory = inventory({ONE: 5}, SHARED, LOST)) -> End:  # noqa: B008 - frozen
    """A responder that has heard the opening of a peer with the vector of `held`."""
    end = End(held, initiator=False)
    end.start()
    end.take(AuditOpening([SPACE]))
    end.take(Vector(SPACE, [(ONE, 5, b"")]))
    return end


def compared() -> End:
    """The same once the comparison is over."""
    end = opened()
    end.take(Ranges(SPACE))
    return end


def judged() -> End:
    end = compared()
    end.take(Verdicts(SPACE))
    return end


OUT_OF_PLACE: dict[str, tuple[Callable[[], End], Message]] = {
    "ranges before the opening": (lambda: End(inventory({ONE: 5}), initiator=False), Ranges(SPACE)),
    "a second opening": (opened, AuditOpening([SPACE])),
    "a vector nobody announced": (opened, Vector(SPACE, [(ONE, 5, b"")])),
    "ranges of another space": (opened, Ranges(SpaceId(b"T" * 16))),
    "verdicts before the comparison": (opened, Verdicts(SPACE)),
    "a want before the comparison": (opened, Want(SPACE, ONE, 1, 1)),
    "an outcome before the comparison": (opened, Outcome(0, 0, 0, 0)),
    "ranges after the comparison": (compared, Ranges(SPACE)),
    "a want before the verdicts": (compared, Want(SPACE, ONE, 1, 1)),
    "an outcome before the verdicts": (compared, Outcome(0, 0, 0, 0)),
    "a verdict on what was never here": (compared, Verdicts(SPACE, [(item("other", ONE, 2), ONE, 4)])),
    "replaced by what was never claimed": (compared, Verdicts(SPACE, [(LOST, TWO, 1)])),
    "replaced, though alive at both ends": (compared, Verdicts(SPACE, [(SHARED, ONE, 4)])),
    "dead without a floor": (compared, Verdicts(SPACE, dead=LOST)),
    "verdicts after the last": (judged, Verdicts(SPACE)),
    "a want that ends before it begins": (judged, Want(SPACE, ONE, 3, 2)),
    "a want of another space": (judged, Want(SpaceId(b"T" * 16), ONE, 1, 1)),
    "absent, unasked": (judged, Absent(1)),
    "a message of another stream": (judged, Vector(SPACE, [])),
}


@pytest.mark.parametrize(("end", "message"), OUT_OF_PLACE.values(), ids=OUT_OF_PLACE)
def test_what_does_not_belong_is_a_fault(end: Callable[[], End], message: Message) -> None:
    with pytest.raises(PeerFault) as caught:
        end().take(message)
    assert caught.value.fault is Fault.MALFORMED


def test_an_opening_refuses_by_itself_what_nobody_announced_and_pages_without_end() -> None:
    opening = Opening({SPACE: inventory({ONE: 5})})
    with pytest.raises(PeerFault, match="out of order"):
        opening.receive(Vector(SPACE, []))
    opening.receive(AuditOpening([SPACE]))
    for _ in range(PAGES_MAX - 1):
        assert not opening.receive(Vector(SPACE, [], more=True))
    with pytest.raises(PeerFault) as caught:
        opening.receive(Vector(SPACE, [], more=True))
    assert caught.value.fault is Fault.TOO_LARGE


def test_a_segment_nobody_wanted_is_a_fault() -> None:
    with pytest.raises(PeerFault) as caught:
        judged().take(b"segment")
    assert caught.value.fault is Fault.MALFORMED


def test_no_more_may_be_wanted_at_once_than_fits() -> None:
    end = judged().audit
    want = Want(SPACE, ONE, 1, 1)
    for _ in range(WANTS_AT_ONCE):
        end.receive(want)
    with pytest.raises(PeerFault) as caught:
        end.receive(want)
    assert caught.value.fault is Fault.TOO_LARGE


def test_a_few_wants_are_under_way_at_a_time_and_neighbours_are_joined() -> None:
    wants = Wants()
    seqs = [*range(1, 10), *range(5000, 90_000, 5000)]
    wants.plan([Range(SPACE, ONE, seq, seq) for seq in seqs], VersionVector({ONE: 100_000}))
    asked = list(wants.next())
    assert (asked[0].first, asked[0].last) == (1, 9)
    assert len(asked) == WANTS_AT_ONCE
    assert not list(wants.next())
    wants.repaired(wants.arrived(), 60_000)  # one segment brought what is still to be asked for, too
    assert [want.first for want in wants.next()] == [65_000]


def asked(wants: Wants) -> list[tuple[int, int]]:
    return [(want.first, want.last) for want in wants.next()]


def test_what_the_peer_holds_beyond_a_gap_is_asked_for_and_what_it_lacks_is_not() -> None:
    wants = Wants()
    wants.plan([Range(SPACE, ONE, 2, 10)], VersionVector.gathered({ONE: 3}, [(ONE, 6, 8), (ONE, 20, 30)]))
    assert asked(wants) == [(2, 8)]
    assert wants.failed == [Range(SPACE, ONE, 9, 10)]
    wants.plan([Range(SPACE, TWO, 1, 4)], VersionVector({TWO: 4}))
    assert asked(wants) == [(1, 4)]
    assert len(wants.failed) == 1


def test_what_a_segment_did_not_bring_is_asked_for_from_there_on() -> None:
    wants = Wants()
    wants.plan([Range(SPACE, ONE, 1, 9)], VersionVector({ONE: 9}))
    assert asked(wants) == [(1, 9)]
    wants.repaired(wants.arrived(), 4)
    assert asked(wants) == [(5, 9)]
    wants.repaired(wants.arrived(), 9)
    assert wants.idle
    assert not wants.failed


def test_what_a_segment_brought_of_the_next_range_is_not_asked_for_again() -> None:
    wants = Wants()
    starts = range(1, 1 + 5000 * (WANTS_AT_ONCE + 1), 5000)
    wants.plan([Range(SPACE, ONE, first, first + 10) for first in starts], VersionVector({ONE: 100_000}))
    assert len(asked(wants)) == WANTS_AT_ONCE
    wants.repaired(wants.arrived(), starts[-1] + 4)
    assert asked(wants) == [(starts[-1] + 5, starts[-1] + 10)]


def babble(end: End, chance: random.Random) -> None:
    messages = [
        Ranges(SPACE),
        Verdicts(SPACE, more=True),
        Verdicts(SPACE),
        Want(SPACE, ONE, 1, 3),
        Absent(1),
        Outcome(1, 1, 1, 1),
        AuditOpening([]),
        b"segment",
    ]
    for _ in range(200):
        end.take(chance.choice(messages))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_order_valid_messages_come_in_the_machine_answers_or_refuses(seed: int) -> None:
    with pytest.raises(PeerFault) as caught:
        babble(opened(), random.Random(seed))
    assert caught.value.fault in {Fault.MALFORMED, Fault.TOO_LARGE}
