"""What the ledger says writes were meant to replace, where a liar wrote a second change under one dot."""

from __future__ import annotations

from cis.model import Dot, Kind, MemoryId, Ref, ReplicaId
from cis.sim.ledger import Fact, Intent, Ledger
from cis.wire.content import Content

ANA, BOB = ReplicaId(b"a" * 40), ReplicaId(b"b" * 40)
CONTENT = Content("k", b"v")


def fact(dot: Dot, *names: Dot, link: bytes = b"1", memory: bytes = b"m") -> Fact:
    refs = tuple(Ref(one.replica, one.seq, prefix=True) for one in names)
    place = (dot.seq, dot.seq)
    return Fact(dot, dot.seq, MemoryId(memory * 16), Kind.PUT, refs, link, b"", place, 0, 0, b"")


def ledger_of(*facts: Fact) -> Ledger:
    ledger = Ledger()
    for one in facts:
        ledger.facts.setdefault(one.dot, []).append(one)
        ledger._of_memory.setdefault(one.memory, []).append(one)
    return ledger


def test_a_write_is_meant_to_replace_all_that_what_it_replaced_had_replaced() -> None:
    first, second, third = (fact(Dot(ANA, seq)) for seq in (1, 2, 3))
    ledger = ledger_of(first, second, third)
    ledger.mean(second.dot, Intent(CONTENT, over=frozenset({first.dot})), [first])
    ledger.mean(third.dot, Intent(CONTENT, over=frozenset({second.dot})), [second])
    assert ledger.over(third) == {first.dot, second.dot}


def test_of_two_changes_under_one_dot_the_one_that_was_seen_says_what_it_replaced() -> None:
    """Its author meant to write to another memory; the forged one replaced Bob's, and Ana replaced the forged one."""
    bobs, honest = fact(Dot(BOB, 1)), fact(Dot(ANA, 1), memory=b"o")
    forged = fact(Dot(ANA, 1), bobs.dot, link=b"2")
    write = fact(Dot(BOB, 2))
    ledger = ledger_of(bobs, honest, forged, write)
    ledger.mean(honest.dot, Intent(CONTENT), [])
    ledger.mean(write.dot, Intent(CONTENT, over=frozenset({forged.dot})), [forged])
    assert ledger.over(write) == {bobs.dot, forged.dot}


def test_what_was_seen_and_left_standing_replaces_nothing_for_a_write() -> None:
    first, other, write = fact(Dot(ANA, 1)), fact(Dot(BOB, 1), Dot(ANA, 1)), fact(Dot(BOB, 2))
    ledger = ledger_of(first, other, write)
    ledger.mean(write.dot, Intent(CONTENT), [other])
    assert ledger.over(write) == frozenset()


def test_a_dot_that_is_written_twice_shows() -> None:
    ledger = Ledger()
    assert ledger.repeated([fact(Dot(ANA, 1)), fact(Dot(ANA, 2))]) == []
    assert ledger.repeated([fact(Dot(ANA, 2), link=b"2"), fact(Dot(BOB, 1))]) == [Dot(ANA, 2)]
