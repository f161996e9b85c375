"""Which dots a change names: prefixes where the log is held without a gap, dots elsewhere and for elements."""

from __future__ import annotations

from cis.crdt import refs_for_add, refs_for_count, refs_for_put, refs_for_remove, refs_for_vector
from cis.crdt.naming import REFS_MAX, VECTOR_REFS_MAX
from cis.model import Change, Dot, Kind, MemoryId, Ref, ReplicaId, VersionVector, hlc

MEMORY = MemoryId(b"M" * 16)
A, B, C = (ReplicaId(bytes([letter]) * 40) for letter in b"ABC")


def change(replica: ReplicaId, seq: int, kind: Kind = Kind.PUT, *refs: Ref) -> Change:
    return Change(Dot(replica, seq), hlc(seq), MEMORY, kind, refs, b"x")


def test_nothing_seen_is_nothing_named() -> None:
    assert refs_for_put([], VersionVector({A: 9})) == ()


def test_a_put_names_all_it_saw_and_what_that_named() -> None:
    seen = [change(A, 5, Kind.PUT, Ref(C, 2, prefix=True)), change(B, 7)]
    assert refs_for_put(seen, VersionVector({A: 5, B: 3})) == (
        Ref(A, 5, prefix=True),
        Ref(B, 7, prefix=False),
        Ref(C, 2, prefix=True),
    )


def test_dots_under_a_prefix_are_not_named_again() -> None:
    seen = [change(A, 5), change(B, 1, Kind.PUT, Ref(A, 3, prefix=False), Ref(A, 9, prefix=False))]
    assert refs_for_put(seen, VersionVector({A: 5, B: 1})) == (
        Ref(A, 5, prefix=True),
        Ref(A, 9, prefix=False),
        Ref(B, 1, prefix=True),
    )


def test_a_count_names_its_own_totals_and_deletions_alone() -> None:
    seen = [change(A, 4, Kind.COUNT), change(B, 2, Kind.COUNT), change(C, 1, Kind.DELETE)]
    held = VersionVector({A: 4, B: 2, C: 1})
    assert refs_for_count(seen, held, A) == (Ref(A, 4, prefix=True), Ref(C, 1, prefix=True))


def test_elements_are_named_by_dots_so_that_others_stay() -> None:
    same = [change(A, 2, Kind.ADD, Ref(A, 1, prefix=False)), change(B, 3, Kind.ADD)]
    expected = (Ref(A, 1, prefix=False), Ref(A, 2, prefix=False), Ref(B, 3, prefix=False))
    assert refs_for_add(same) == refs_for_remove(same) == expected


def test_names_are_bounded_and_the_oldest_are_left_out() -> None:
    names = [Ref(A, seq, prefix=False) for seq in range(1, REFS_MAX + 10)]
    refs = refs_for_add([change(B, 1, Kind.ADD, *names)])
    assert len(refs) == REFS_MAX
    assert Ref(A, REFS_MAX + 9, prefix=False) in refs
    assert Ref(A, 1, prefix=False) not in refs


def test_a_vector_names_those_of_its_model_its_own_and_what_they_named() -> None:
    own, same, other = change(A, 3, Kind.PUT, Ref(C, 8, prefix=False)), change(B, 4), change(C, 5)
    assert refs_for_vector([own, same, other], {Dot(B, 4)}, A) == (
        Ref(A, 3, prefix=False),
        Ref(B, 4, prefix=False),
        Ref(C, 8, prefix=False),
    )


def test_a_vector_names_all_that_lives_and_of_what_that_named_the_newest_up_to_a_bound() -> None:
    named = [Ref(B, seq, prefix=False) for seq in range(1, VECTOR_REFS_MAX + 10)]
    living = [change(A, 1, Kind.PUT, *named), change(A, 2, Kind.PUT, Ref(A, 1, prefix=False))]
    refs = refs_for_vector(living, (), A)
    in_turn = VECTOR_REFS_MAX - len(living)
    expected = sorted([Ref(A, 1, prefix=False), Ref(A, 2, prefix=False), *named[-in_turn:]])
    assert list(refs) == expected
    many = [change(A, seq, Kind.PUT, *named) for seq in range(1, VECTOR_REFS_MAX + 2)]
    assert [ref.replica for ref in refs_for_vector(many, (), A)] == [A] * len(many)
