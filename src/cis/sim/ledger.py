"""Everything that was ever written, and what it means: the oracle's own memory, fed at the source.

A fact is one change as its author's node committed it, before anybody else saw it, together with what was
asked for. The ledger reads headers by itself and shares no code with the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from cis.model import Dot, Kind, MemoryId, Ref, ReplicaId, VersionVector
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
    epoch: int
    """under whose key its body is sealed"""
    authority: bytes
    """the membership entry by which its author claims the right to write"""

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
    """Facts by dot: more than one only where an author equivocated, or somebody who has its key."""

    facts: dict[Dot, list[Fact]] = field(default_factory=dict)
    intents: dict[Dot, Intent] = field(default_factory=dict)
    forked: set[ReplicaId] = field(default_factory=set)
    """logs of which some hold one branch and some another"""
    _by_honest: set[Dot] = field(default_factory=set)
    _written: dict[ReplicaId, int] = field(default_factory=dict)
    _taken: dict[Dot, bytes] = field(default_factory=dict)
    _follows: dict[Dot, bytes] = field(default_factory=dict)
    _of_memory: dict[MemoryId, list[Fact]] = field(default_factory=dict)

    def record(self, segment: Segment, author: int) -> list[Fact]:
        """Take in a segment at its source."""
        fresh = list(facts_of(segment, author))
        for fact in fresh:
            known = self.facts.setdefault(fact.dot, [])
            self._written[fact.dot.replica] = max(fact.dot.seq, self._written.get(fact.dot.replica, 0))
            if all(one.link != fact.link for one in known):
                known.append(fact)
                self._of_memory.setdefault(fact.memory, []).append(fact)
        return fresh

    def repeated(self, facts: Iterable[Fact]) -> list[Dot]:
        """Take note of what an honest node wrote; return what one had written before, as none may whatever its disk."""
        dots = [fact.dot for fact in facts]
        before = [dot for dot in dots if dot in self._by_honest]
        self._by_honest.update(dots)
        return before

    def taken(self, fact: Fact) -> None:
        """Some node holds this: if somebody holds another branch of it, or beside it, the log is forked."""
        replica, (first, last) = fact.dot.replica, fact.place
        self._follows[Dot(replica, first)] = fact.previous
        before, after = self._taken.get(Dot(replica, first - 1)), self._follows.get(Dot(replica, last + 1))
        same = before in {None, fact.previous} and after in {None, fact.link}
        if self._taken.setdefault(fact.dot, fact.link) != fact.link or not same:
            self.forked.add(replica)

    def written_of(self, vector: VersionVector) -> VersionVector:
        """Return a vector as far as there is anything: a liar may have stated it."""
        return VersionVector({one: min(seq, self._written.get(one, 0)) for one, seq in vector.seqs.items()})

    def of_memory(self, memory: MemoryId) -> list[Fact]:
        """Return all facts about one memory."""
        return self._of_memory.get(memory, [])

    def is_named(self, fact: Fact, unless: Callable[[Fact], bool] = lambda _: False) -> bool:
        """Tell whether anything ever written replaces it, leaving out some."""
        return fact.dot not in alive([*(one for one in self._of_memory[fact.memory] if not unless(one)), fact])

    def mean(self, dot: Dot, intent: Intent, seen: Iterable[Fact]) -> None:
        """Keep what a write meant when ``seen`` was alive, and with it all that what it replaces had replaced."""
        closed = [self.over(one) for one in seen if one.dot in intent.over]
        self.intents[dot] = replace(intent, over=intent.over.union(*closed))

    def mean_as_written(self, dot: Dot, content: Content) -> None:
        """Keep what a change of the Byzantine member's means: what it says."""
        if len(self.facts[dot]) == 1:
            self.intents[dot] = Intent(content, over=self._named_by(self.facts[dot][0]))

    def over(self, fact: Fact) -> frozenset[Dot]:
        """Return what a change was meant to replace; where two stand under its dot, or nobody asked, what it names."""
        meant = self.intents.get(fact.dot) if len(self.facts[fact.dot]) == 1 else None
        return self._named_by(fact) if meant is None else meant.over

    def _named_by(self, fact: Fact) -> frozenset[Dot]:
        others = [one for one in self.of_memory(fact.memory) if one.dot != fact.dot]
        return frozenset(one.dot for one in others if one.dot not in alive([one, fact]))

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


def facts_of(segment: Segment, author: int) -> Iterator[Fact]:
    """Read the changes of a segment."""
    links = verify(segment).links
    replica = ReplicaId(segment.replica)
    change = ref = extra = 0
    for at, (previous, link) in enumerate(zip((segment.previous, *links), links, strict=False)):
        _, epoch, count, refs, _, _, authority = HEADER.unpack_from(segment.headers, HEADER.size * at)
        listed = [replica, *_rows(segment.refs[REPLICA_ID_LENGTH * ref : REPLICA_ID_LENGTH * (ref + refs)])]
        for place in range(change, change + count):
            record = segment.records[RECORD.size * place : RECORD.size * (place + 1)]
            stamp, memory, _, kind, _, extras, _ = RECORD.unpack(record)
            further = segment.extras[REFERENCE.size * extra : REFERENCE.size * (extra + extras)]
            packed = (unpack_reference(one) for one in record_references(record + further))
            names = tuple(Ref(listed[where], seq, prefix) for where, seq, prefix in packed)
            dot = Dot(replica, segment.first + place)
            bounds = (segment.first + change, segment.first + change + count - 1)
            yield Fact(
                dot, stamp, MemoryId(memory), Kind(kind), names, link, previous, bounds, author, epoch, authority
            )
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


def name(replica: ReplicaId, seq: int) -> str:
    """A dot, short enough to read."""
    return f"{replica[:2].hex()}'{replica[-2:].hex()}:{seq}"


def _rows(refs: bytes) -> Iterator[ReplicaId]:
    for at in range(0, len(refs), REPLICA_ID_LENGTH):
        yield ReplicaId(refs[at : at + REPLICA_ID_LENGTH])
