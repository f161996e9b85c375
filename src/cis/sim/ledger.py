"""Everything that was ever written, and what it means: the oracle's own memory, fed at the source.

A fact is one change as its author's node committed it, before anybody else saw it, together with what was
asked for. The ledger reads headers by itself and shares no code with the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from cis.model import Dot, Kind, MemoryId, Ref, ReplicaId
from cis.model.ids import REPLICA_ID_LENGTH
from cis.trust.signing import verify
from cis.wire.content import Content
from cis.wire.segment import HEADER, RECORD, REFERENCE, Segment, record_references, unpack_reference

BEARING = (Kind.PUT, Kind.COUNT, Kind.ADD)
_COUNTER_BITS = 16


@dataclass(frozen=True, slots=True)
class Fact:
    """One change; ``author`` is the number of the member whose key signed it."""

    dot: Dot
    stamp: int
    memory: MemoryId
    kind: Kind
    names: tuple[Ref, ...]
    link: bytes
    """of the changeset it came in: tells apart two contents under one dot"""
    previous: bytes
    """link of the changeset before"""
    place: tuple[int, int]
    """first and last number of its changeset"""
    author: int
    sound: bool = True
    """False for what its author had no right to write"""

    @property
    def ms(self) -> int:
        """The time it is dated."""
        return self.stamp >> _COUNTER_BITS


@dataclass(frozen=True, slots=True)
class Intent:
    """What a user asked for and what that was to replace, by the state shown at the time."""

    content: Content
    total: int = 0
    """of a counter: what its author's replica has counted, this included"""
    over: frozenset[Dot] = frozenset()
    """the dots it replaces, and all that those replaced"""

    def reads(self, content: Content) -> bool:
        """Tell whether this is what was to be read."""
        written = self.content
        same = (content.key, content.value) == (written.key, written.value)
        return same and (content.added - content.subtracted == self.total)


@dataclass
class Ledger:
    """Facts by dot: more than one only where an author equivocated."""

    facts: dict[Dot, list[Fact]] = field(default_factory=dict)
    intents: dict[Dot, Intent] = field(default_factory=dict)
    forked: set[ReplicaId] = field(default_factory=set)
    _of_memory: dict[MemoryId, list[Fact]] = field(default_factory=dict)

    def record(self, segment: Segment, author: int, *, sound: bool = True) -> list[Fact]:
        """Take in a segment at its source."""
        fresh = list(facts_of(segment, author, sound=sound))
        for fact in fresh:
            known = self.facts.setdefault(fact.dot, [])
            if all(one.link != fact.link for one in known):
                known.append(fact)
                self._of_memory.setdefault(fact.memory, []).append(fact)
            if len(known) > 1:
                self.forked.add(fact.dot.replica)
        return fresh

    def of_memory(self, memory: MemoryId) -> list[Fact]:
        """Return all facts about one memory."""
        return self._of_memory.get(memory, [])

    def is_named(self, fact: Fact) -> bool:
        """Tell whether anything ever written replaces it."""
        return fact.dot not in alive([*self._of_memory[fact.memory], fact])

    def mean(self, dot: Dot, intent: Intent) -> None:
        """Keep what a write meant, and with it all that what it replaces had replaced."""
        closed = [self.intents[one].over for one in intent.over if one in self.intents]
        self.intents[dot] = replace(intent, over=intent.over.union(*closed))

    def intend(self, kind: Kind, content: Content, dot: Dot, seen: Iterable[Fact]) -> Intent:
        """Return what a write means that was made when ``seen`` was alive of its memory."""
        if kind in {Kind.PUT, Kind.DELETE}:
            return Intent(content, over=frozenset(one.dot for one in seen))
        if kind is Kind.COUNT:
            own = [one for one in seen if one.kind is Kind.COUNT and one.dot.replica == dot.replica]
            gone = [one for one in seen if one.kind is Kind.DELETE]
            total = sum(self.intents[one.dot].total for one in own) + content.added - content.subtracted
            return Intent(content, total, frozenset(one.dot for one in (*own, *gone)))
        same = [one.dot for one in seen if one.kind is Kind.ADD and self._value(one.dot) == content.value]
        return Intent(content, over=frozenset(same))

    def _value(self, dot: Dot) -> bytes | None:
        intent = self.intents.get(dot)
        return None if intent is None else intent.content.value


def facts_of(segment: Segment, author: int, *, sound: bool) -> Iterator[Fact]:
    """Read the changes of a segment."""
    links = verify(segment).links
    replica = ReplicaId(segment.replica)
    change = ref = extra = 0
    for at, (previous, link) in enumerate(zip((segment.previous, *links), links, strict=False)):
        _, _, count, refs, *_ = HEADER.unpack_from(segment.headers, HEADER.size * at)
        listed = [replica, *_rows(segment.refs[REPLICA_ID_LENGTH * ref : REPLICA_ID_LENGTH * (ref + refs)])]
        for place in range(change, change + count):
            record = segment.records[RECORD.size * place : RECORD.size * (place + 1)]
            stamp, memory, _, kind, _, extras, _ = RECORD.unpack(record)
            further = segment.extras[REFERENCE.size * extra : REFERENCE.size * (extra + extras)]
            packed = (unpack_reference(one) for one in record_references(record + further))
            names = tuple(Ref(listed[where], seq, prefix) for where, seq, prefix in packed)
            dot = Dot(replica, segment.first + place)
            bounds = (segment.first + change, segment.first + change + count - 1)
            yield Fact(dot, stamp, MemoryId(memory), Kind(kind), names, link, previous, bounds, author, sound)
            extra += extras
        change, ref = change + count, ref + refs


def alive(facts: Iterable[Fact]) -> dict[Dot, Fact]:
    """Return those of one memory's facts that no other of them names."""
    given = {one.dot: one for one in facts}
    exact: set[Dot] = set()
    prefix: dict[ReplicaId, int] = {}
    for ref in (ref for one in given.values() for ref in one.names):
        if ref.prefix:
            prefix[ref.replica] = max(ref.seq, prefix.get(ref.replica, 0))
        else:
            exact.add(Dot(ref.replica, ref.seq))
    return {dot: one for dot, one in given.items() if dot not in exact and dot.seq > prefix.get(dot.replica, 0)}


def _rows(refs: bytes) -> Iterator[ReplicaId]:
    for at in range(0, len(refs), REPLICA_ID_LENGTH):
        yield ReplicaId(refs[at : at + REPLICA_ID_LENGTH])
