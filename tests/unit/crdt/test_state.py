"""What is alive of a memory, and what is shown of that."""

from __future__ import annotations

import pytest

from cis.crdt import Policy, Shape
from cis.crdt.state import alive, effective, is_held, replaces, view
from cis.model import CHANGE_FUTURE_LIMIT_MS, Change, Dot, Kind, MemoryId, Ref, ReplicaId, hlc

MEMORY, OTHER = MemoryId(b"M" * 16), MemoryId(b"N" * 16)
A, B = (ReplicaId(bytes([letter]) * 40) for letter in b"AB")
NOW_MS = 1_700_000_000_000


def change(
    replica: ReplicaId, seq: int, kind: Kind = Kind.PUT, *refs: Ref, at: int = 1, memory: MemoryId = MEMORY
) -> Change:
    return Change(Dot(replica, seq), hlc(at), memory, kind, refs, b"x")


def test_what_is_dated_too_far_ahead_is_held_and_takes_no_effect() -> None:
    last = change(A, 1, at=NOW_MS + CHANGE_FUTURE_LIMIT_MS)
    beyond = change(A, 2, at=NOW_MS + CHANGE_FUTURE_LIMIT_MS + 1)
    assert (is_held(last, NOW_MS), is_held(beyond, NOW_MS)) == (False, True)
    assert effective([last, beyond], NOW_MS) == [last]


@pytest.mark.parametrize(
    ("ref", "seqs"),
    [(Ref(A, 3, prefix=True), [1, 2, 3]), (Ref(A, 3, prefix=False), [3]), (Ref(B, 3, prefix=True), [])],
)
def test_a_prefix_covers_all_up_to_it_and_a_dot_itself_alone(ref: Ref, seqs: list[int]) -> None:
    assert [seq for seq in range(1, 6) if replaces(ref, Dot(A, seq))] == seqs


def test_alive_is_what_nobody_replaces_in_order_of_dot_and_once() -> None:
    first, second, third, fourth = (change(A, seq) for seq in (1, 2, 3, 4))
    killer = change(B, 1, Kind.PUT, Ref(A, 2, prefix=True), Ref(A, 4, prefix=False), Ref(A, 1, prefix=True))
    assert alive([killer, fourth, third, third, second, first]) == [third, killer]


def test_a_change_replaces_nothing_of_another_memory() -> None:
    mine = change(A, 1)
    elsewhere = change(B, 1, Kind.PUT, Ref(A, 9, prefix=True), Ref(A, 1, prefix=False), memory=OTHER)
    assert alive([mine, elsewhere]) == [mine, elsewhere]


def test_of_a_register_the_latest_is_shown_by_time_then_replica_and_the_rest_are_siblings_unless_lww() -> None:
    early, late, tied = change(B, 1, at=1), change(A, 2, at=5), change(B, 2, at=5)
    shown = view([early, late, tied])
    assert (shown.shape, shown.parts, shown.siblings) == (Shape.REGISTER, (tied,), (late, early))
    assert shown.latest == tied
    assert view([early, late, tied], Policy.LWW).siblings == ()
    assert view([early, late, tied], Policy.VECTOR_CLOCK).siblings == (late, early)


@pytest.mark.parametrize(("kind", "shape"), [(Kind.COUNT, Shape.COUNTER), (Kind.ADD, Shape.SET)])
def test_of_a_counter_and_a_set_all_changes_are_shown_and_others_are_beside_them(kind: Kind, shape: Shape) -> None:
    one, two, put = change(A, 1, kind, at=3), change(B, 1, kind, at=2), change(B, 2, at=1)
    shown = view([one, two, put])
    assert (shown.shape, shown.parts, shown.siblings, shown.latest) == (shape, (one, two), (put,), one)


def test_what_bears_no_value_is_absent() -> None:
    shown = view([change(A, 1, Kind.DELETE)])
    assert (shown.shape, shown.parts, shown.siblings) == (Shape.ABSENT, (), ())
    assert view([]).shape is Shape.ABSENT
