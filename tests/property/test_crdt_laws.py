"""The laws of the pure merge, against models too simple to be wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.crdt import (
    HybridClock,
    Shape,
    alive,
    refs_for_add,
    refs_for_count,
    refs_for_put,
    refs_for_remove,
    refs_for_vector,
    view,
)
from cis.model import Change, Dot, Hlc, Kind, MemoryId, Ref, ReplicaId, VersionVector, hlc, hlc_ms

MEMORY = MemoryId(b"M" * 16)
OTHER = MemoryId(b"O" * 16)
REPLICAS = [ReplicaId(bytes([number]) * 40) for number in range(1, 5)]


SHAPES = {Kind.PUT, Kind.COUNT, Kind.ADD}
FITTING = {Kind.COUNT: Kind.COUNT, Kind.ADD: Kind.ADD, Kind.REMOVE: Kind.ADD}

# --- histories ------------------------------------------------------------------------------------------


class Replica:
    """A naive replica: a set of changes, and for each op the reading of it a user would expect."""

    def __init__(self, number: int) -> None:
        self.id = REPLICAS[number]
        self.changes: dict[Dot, Change] = {}
        self.clock = HybridClock()
        self.seq = 0

    def vector(self) -> VersionVector:
        return VersionVector.gathered({}, [(dot.replica, dot.seq, dot.seq) for dot in self.changes])

    def seen(self) -> list[Change]:
        return [change for change in alive(self.changes.values()) if change.memory == MEMORY]

    def do(self, kind: Kind, body: bytes, now_ms: int) -> Change | None:
        """Write as the store does, which refuses a count or an element on a memory of another type."""
        seen, held = self.seen(), self.vector()
        if kind in FITTING and any(change.kind in SHAPES - {FITTING[kind]} for change in seen):
            return None
        if kind in {Kind.PUT, Kind.DELETE}:
            refs = refs_for_put(seen, held)
        elif kind is Kind.COUNT:
            refs = refs_for_count(seen, held, self.id)
        elif kind is Kind.VECTOR:
            vectors = [change for change in seen if change.kind is Kind.VECTOR]
            refs = refs_for_vector(vectors, {change.dot for change in vectors if change.body == body}, self.id)
        else:
            same = [change for change in seen if change.kind is Kind.ADD and change.body == body]
            refs = refs_for_add(same) if kind is Kind.ADD else refs_for_remove(same)
        self.seq += 1
        body_kept = None if kind in {Kind.DELETE, Kind.REMOVE} else body
        change = Change(Dot(self.id, self.seq), self.clock.tick(now_ms), MEMORY, kind, refs, body_kept)
        self.changes[change.dot] = change
        return change

    def take(self, change: Change, now_ms: int) -> None:
        self.changes[change.dot] = change
        self.clock.observe(change.hlc, now_ms)


def steps(kinds: list[Kind]) -> st.SearchStrategy[list[tuple[int, Kind, int, int]]]:
    """(who acts, what, on which element, whom it hears from first: itself for nobody)."""
    step = st.tuples(st.integers(0, 3), st.sampled_from(kinds), st.integers(0, 2), st.integers(0, 3))
    return st.lists(step, max_size=25)


def play(history: list[tuple[int, Kind, int, int]], chance: random.Random) -> list[Replica]:
    """Run a history; hearing brings a random part of what the other holds, so gaps occur."""
    nodes = [Replica(number) for number in range(4)]
    for now_ms, (who, kind, element, source) in enumerate(history):
        if source != who:
            for change in nodes[source].changes.values():
                if chance.random() < 0.7:
                    nodes[who].take(change, now_ms)
        nodes[who].do(kind, b"%d" % element, now_ms)
    return nodes


def everything(nodes: list[Replica]) -> list[Change]:
    return list({change.dot: change for node in nodes for change in node.changes.values()}.values())


ANY = [Kind.PUT, Kind.DELETE, Kind.COUNT, Kind.ADD, Kind.REMOVE, Kind.VECTOR]


@given(steps(ANY), st.randoms(use_true_random=False))
def test_the_state_is_the_same_whatever_the_order_and_however_often(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    changes = everything(play(history, chance))
    expected = alive(changes)
    shuffled = [*changes, *chance.sample(changes, len(changes) // 2)]
    chance.shuffle(shuffled)
    assert alive(shuffled) == expected
    cut = chance.randint(0, len(changes))
    left, right = set(shuffled[:cut]), set(shuffled[cut:])
    assert alive(left | right) == alive(right | left) == alive(left | right | left) == expected


@given(steps(ANY), st.randoms(use_true_random=False))
def test_what_is_alive_is_what_no_change_of_the_same_memory_names(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    changes = everything(play(history, chance))
    named = {
        dot
        for change in changes
        for ref in change.replaces
        for dot in [one.dot for one in changes]
        if dot.replica == ref.replica and (dot.seq <= ref.seq if ref.prefix else dot.seq == ref.seq)
    }
    assert {change.dot for change in alive(changes)} == {change.dot for change in changes} - named


def test_a_reference_reaches_no_other_memory() -> None:
    target = Change(Dot(REPLICAS[0], 1), hlc(1), OTHER, Kind.PUT, (), b"kept")
    for prefix in (False, True):
        names = (Ref(REPLICAS[0], 1, prefix=prefix),)
        assert target in alive([target, Change(Dot(REPLICAS[1], 1), hlc(2), MEMORY, Kind.PUT, names, b"x")])


@given(steps([Kind.PUT, Kind.DELETE]), st.randoms(use_true_random=False))
def test_a_register_keeps_exactly_the_writes_no_later_author_had_seen(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    """The naive model remembers, per write, everything its author held: the write replaces all of that."""
    nodes = [Replica(number) for number in range(4)]
    saw: dict[Dot, set[Dot]] = {}
    for now_ms, (who, kind, element, source) in enumerate(history):
        for change in list(nodes[source].changes.values()) if source != who else []:
            if chance.random() < 0.7:
                nodes[who].take(change, now_ms)
        before = set(nodes[who].changes)
        written = nodes[who].do(kind, b"%d" % element, now_ms)
        assert written is not None
        saw[written.dot] = before
    replaced = set().union(*saw.values()) if saw else set()
    assert {change.dot for change in alive(everything(nodes))} == set(saw) - replaced


@given(steps([Kind.COUNT]), st.randoms(use_true_random=False))
def test_a_counter_holds_one_total_per_replica_and_its_latest(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    nodes = play(history, chance)
    latest = {Dot(node.id, node.seq) for node in nodes if node.seq}
    assert {change.dot for change in alive(everything(nodes))} == latest


@given(steps([Kind.ADD, Kind.REMOVE]), st.randoms(use_true_random=False))
def test_an_element_stays_exactly_while_an_addition_is_unseen_by_every_removal_and_re_addition(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    nodes = [Replica(number) for number in range(4)]
    element_of: dict[Dot, bytes] = {}
    gone: set[Dot] = set()
    for now_ms, (who, kind, element, source) in enumerate(history):
        for change in list(nodes[source].changes.values()) if source != who else []:
            if chance.random() < 0.7:
                nodes[who].take(change, now_ms)
        name = b"%d" % element
        gone |= {dot for dot in nodes[who].changes if element_of.get(dot) == name}
        written = nodes[who].do(kind, name, now_ms)
        assert written is not None
        if kind is Kind.ADD:
            element_of[written.dot] = name
    live = {change.dot for change in alive(everything(nodes)) if change.kind is Kind.ADD}
    assert live == set(element_of) - gone


@given(steps(ANY), st.randoms(use_true_random=False))
def test_a_change_names_what_those_it_replaces_name(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    """So that losing the change in between revives nothing (RULES of state, 1). Counts name their own kind only."""
    changes = {change.dot: change for change in everything(play(history, chance))}

    def named(change: Change) -> set[Dot]:
        return {
            dot
            for ref in change.replaces
            for dot in changes
            if dot.replica == ref.replica and (dot.seq <= ref.seq if ref.prefix else dot.seq == ref.seq)
        }

    for change in changes.values():
        for dot in named(change) if change.kind is not Kind.COUNT else ():
            if changes[dot].kind is not Kind.COUNT or change.kind in {Kind.PUT, Kind.DELETE}:
                assert named(changes[dot]) <= named(change) | {dot}


@given(steps(ANY), st.randoms(use_true_random=False))
def test_vectors_change_nothing_of_what_is_shown_beside_them(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    """The same history without its vectors: each node shows the same, whoever had heard what."""
    nodes = [Replica(number) for number in range(4)]
    plain = [Replica(number) for number in range(4)]
    twin: dict[Dot, Dot] = {}
    for now_ms, (who, kind, element, source) in enumerate(history):
        for change in list(nodes[source].changes.values()) if source != who else []:
            if chance.random() < 0.7:
                nodes[who].take(change, now_ms)
                if change.dot in twin:
                    plain[who].take(plain[source].changes[twin[change.dot]], now_ms)
        written = nodes[who].do(kind, b"%d" % element, now_ms)
        same = plain[who].do(kind, b"%d" % element, now_ms) if kind is not Kind.VECTOR else None
        assert (written is None) == (same is None) or kind is Kind.VECTOR
        if written is not None and same is not None:
            twin[written.dot] = same.dot
    for node, other in zip(nodes, plain, strict=True):
        shown, expected = (
            [change for change in alive(one.changes.values()) if change.kind is not Kind.VECTOR]
            for one in (node, other)
        )
        assert sorted(twin[change.dot] for change in shown) == [change.dot for change in expected]
        assert view(shown).shape is view(alive(node.changes.values())).shape


@given(steps([Kind.PUT, Kind.DELETE, Kind.ADD, Kind.VECTOR]), st.randoms(use_true_random=False))
def test_a_vector_lives_until_a_put_a_delete_or_a_vector_of_its_model_that_saw_it(
    history: list[tuple[int, Kind, int, int]], chance: random.Random
) -> None:
    nodes = [Replica(number) for number in range(4)]
    model_of: dict[Dot, bytes] = {}
    gone: set[Dot] = set()
    for now_ms, (who, kind, element, source) in enumerate(history):
        for change in list(nodes[source].changes.values()) if source != who else []:
            if chance.random() < 0.7:
                nodes[who].take(change, now_ms)
        seen = {dot for dot in nodes[who].changes if dot in model_of}
        written = nodes[who].do(kind, b"%d" % element, now_ms)
        if written is None:
            continue
        if kind in {Kind.PUT, Kind.DELETE}:
            gone |= seen
        elif kind is Kind.VECTOR:
            gone |= {dot for dot in seen if model_of[dot] == b"%d" % element or dot.replica == nodes[who].id}
            model_of[written.dot] = b"%d" % element
    living = {change.dot for change in alive(everything(nodes)) if change.kind is Kind.VECTOR}
    assert living == set(model_of) - gone


def test_overwriting_one_memory_many_times_names_one_prefix() -> None:
    node = Replica(0)
    for number in range(50):
        last = node.do(Kind.PUT, b"%d" % number, number)
    assert last is not None
    assert last.replaces == (Ref(REPLICAS[0], 49, prefix=True),)


def test_beyond_a_gap_dots_are_named_one_by_one() -> None:
    node = Replica(1)
    node.take(Change(Dot(REPLICAS[0], 7), hlc(1), MEMORY, Kind.PUT, (), b"x"), 1)
    change = node.do(Kind.PUT, b"y", 2)
    assert change is not None
    assert change.replaces == (Ref(REPLICAS[0], 7, prefix=False),)


# --- what is shown ---------------------------------------------------------------------------------------


def test_of_concurrent_puts_the_latest_is_shown_and_the_others_are_kept_beside_it() -> None:
    puts = [Change(Dot(replica, 1), hlc(ms), MEMORY, Kind.PUT, (), b"v") for ms, replica in enumerate(REPLICAS)]
    shown = view(puts)
    assert shown.shape is Shape.REGISTER
    assert shown.parts == (puts[-1],)
    assert shown.siblings == tuple(reversed(puts[:-1]))


def test_a_put_concurrent_with_a_delete_is_shown() -> None:
    put = Change(Dot(REPLICAS[0], 1), hlc(1), MEMORY, Kind.PUT, (), b"v")
    delete = Change(Dot(REPLICAS[1], 1), hlc(9), MEMORY, Kind.DELETE)
    assert view([put, delete]).parts == (put,)
    assert view([delete]).shape is Shape.ABSENT


def test_changes_of_another_type_are_siblings() -> None:
    put = Change(Dot(REPLICAS[0], 1), hlc(1), MEMORY, Kind.PUT, (), b"v")
    counts = [Change(Dot(replica, 2), hlc(5), MEMORY, Kind.COUNT, (), b"1") for replica in REPLICAS[:2]]
    shown = view([put, *counts])
    assert (shown.shape, shown.parts, shown.siblings) == (Shape.COUNTER, tuple(counts), (put,))


def test_a_large_set_is_viewed_in_linear_time() -> None:
    adds = [Change(Dot(REPLICAS[0], seq), hlc(seq), MEMORY, Kind.ADD, (), b"%d" % seq) for seq in range(1, 20_000)]
    assert len(view(adds).parts) == len(adds)


# --- the version vector ----------------------------------------------------------------------------------

RANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.integers(0, 6)), max_size=12)


def dots_of(ranges: list[tuple[int, int, int]]) -> set[Dot]:
    return {Dot(REPLICAS[who], seq) for who, first, more in ranges for seq in range(first, first + more + 1)}


def vector_of(ranges: list[tuple[int, int, int]]) -> VersionVector:
    vector = VersionVector()
    for who, first, more in ranges:
        vector = vector.join(VersionVector.gathered({}, [(REPLICAS[who], first, first + more)]))
    return vector


def dots_in(vector: VersionVector) -> set[Dot]:
    return {Dot(replica, seq) for replica in REPLICAS for seq in range(1, 40) if Dot(replica, seq) in vector}


@given(RANGES)
def test_a_vector_holds_exactly_the_dots_it_was_given(ranges: list[tuple[int, int, int]]) -> None:
    vector = vector_of(ranges)
    assert dots_in(vector) == dots_of(ranges)
    gathered = [(REPLICAS[who], first, first + more) for who, first, more in ranges]
    assert VersionVector.gathered({}, gathered) == vector


@given(RANGES, RANGES)
def test_join_is_union_and_equal_sets_are_equal_vectors(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]
) -> None:
    one, two = vector_of(left), vector_of(right)
    assert dots_in(one.join(two)) == dots_of(left) | dots_of(right)
    assert one.join(two) == two.join(one) == one.join(two).join(one)
    assert (one == two) == (dots_of(left) == dots_of(right))


@given(RANGES, RANGES)
def test_meet_is_the_contiguous_part_both_hold(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]
) -> None:
    one, two = vector_of(left), vector_of(right)
    common = dots_of(left) & dots_of(right)
    met = one.meet(two)
    assert not met.beyond
    for replica in REPLICAS:
        reach = met.contiguous(replica)
        assert all(Dot(replica, seq) in common for seq in range(1, reach + 1))
        assert Dot(replica, reach + 1) not in common


@given(RANGES, RANGES)
def test_missing_in_is_the_difference_in_order(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]
) -> None:
    one, two = vector_of(left), vector_of(right)
    missing = [Dot(replica, seq) for replica, first, last in one.missing_in(two) for seq in range(first, last + 1)]
    assert missing == sorted(dots_of(left) - dots_of(right))
    assert one.count_missing_in(two) == len(missing)


# --- the clock -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3_000_000), st.integers(0, 3_000_000)), max_size=40))
@settings(max_examples=200)
def test_stamps_grow_and_never_lie_ten_minutes_ahead(events: list[tuple[bool, int, int]]) -> None:
    clock = HybridClock()
    known: list[Hlc] = []
    for local, now_ms, stamp_ms in events:
        if local:
            if hlc_ms(clock.last) > now_ms + 600_000:
                known.clear()  # the local clock was set back that far: it begins anew
            stamp = clock.tick(now_ms)
            assert stamp > max(known, default=-1)
            assert hlc_ms(stamp) <= now_ms + 600_000
            known.append(stamp)
        elif clock.observe(hlc(stamp_ms), now_ms):
            known.append(hlc(stamp_ms))
        else:
            assert stamp_ms > now_ms + 600_000


def test_a_clock_set_back_by_hours_begins_anew() -> None:
    clock = HybridClock()
    clock.tick(10_000_000)
    assert clock.tick(1_000_000) == hlc(1_000_000)
    assert clock.tick(1_000_000) == hlc(1_000_000, 1)


@pytest.mark.parametrize("count", [1, 70_000])
def test_a_standing_clock_still_orders_its_stamps(count: int) -> None:
    clock = HybridClock()
    stamps = [clock.tick(5) for _ in range(count)]
    assert stamps == sorted(set(stamps))
