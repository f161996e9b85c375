"""Which changes of a memory are people's, and which of them ended a conflict."""

from __future__ import annotations

from cis.api.memories.past import of_people, resolutions
from cis.model import Change, Dot, Kind, MemoryId, Ref, ReplicaId, hlc

ONE, TWO = ReplicaId(b"1" * 40), ReplicaId(b"2" * 40)


def change(kind: Kind, replica: ReplicaId, seq: int, ms: int, *names: Ref) -> Change:
    return Change(Dot(replica, seq), hlc(ms), MemoryId(b"m" * 16), kind, names)


def upto(replica: ReplicaId, seq: int) -> Ref:
    return Ref(replica, seq, prefix=True)


def test_a_put_that_saw_two_written_apart_resolved_them_and_later_ones_did_not() -> None:
    changes = [
        change(Kind.PUT, ONE, 1, 1),
        change(Kind.PUT, ONE, 2, 2, upto(ONE, 1)),
        change(Kind.PUT, TWO, 1, 3),
        change(Kind.PUT, TWO, 2, 4, upto(ONE, 2), upto(TWO, 1)),
        change(Kind.PUT, ONE, 3, 5, upto(ONE, 2), upto(TWO, 2)),
        change(Kind.DELETE, ONE, 4, 6, upto(ONE, 3), upto(TWO, 2)),
    ]
    assert resolutions(changes) == {Dot(TWO, 2): 2}
    assert resolutions(changes[::-1]) == {Dot(TWO, 2): 2}


def test_all_of_a_set_is_one_value() -> None:
    changes = [
        change(Kind.ADD, ONE, 1, 1),
        change(Kind.ADD, ONE, 2, 2),
        change(Kind.PUT, TWO, 1, 3),
        change(Kind.DELETE, ONE, 3, 4, upto(ONE, 2), upto(TWO, 1)),
    ]
    assert resolutions(changes) == {Dot(ONE, 3): 2}
    assert resolutions([*changes[:2], change(Kind.DELETE, ONE, 3, 4, upto(ONE, 2))]) == {}


def test_vectors_and_what_takes_them_back_are_nobodys() -> None:
    changes = [
        change(Kind.ADD, ONE, 1, 1),
        change(Kind.VECTOR, ONE, 2, 2),
        change(Kind.REMOVE, ONE, 3, 3, Ref(ONE, 1, prefix=False)),
        change(Kind.REMOVE, ONE, 4, 4, Ref(ONE, 2, prefix=False)),
    ]
    assert of_people(changes) == {Dot(ONE, 1), Dot(ONE, 3)}
