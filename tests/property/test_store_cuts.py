"""Learning of a cut late gives what knowing it from the start gives, whatever was merged before, between and after.

Three nodes write, one of them under several incarnations and ahead of time; another hears of all that in random runs
and learns of cuts in between, each reaching further or less far than the last. In the end it must show what a node
shows that knew the last cut from the start, with every body, and pass on logs that verify.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis.crdt import alive
from cis.crdt.state import replaces
from cis.errors import CisError, Fault, PeerFault
from cis.model import Change, Dot, Kind, ReplicaId, SpaceId, VersionVector, node_of
from cis.store.author import Write
from cis.store.compaction import compact
from cis.store.log import LogReader
from cis.store.store import Store
from cis.wire.content import Content
from cis.wire.messages import encode
from cis.wire.segment import Segment
from tests.audits import self_check
from tests.stores import (
    SPACE,
    START_MS,
    WAIT_S,
    Author,
    Clock,
    held_changes,
    live_changes,
    merge,
    open_store,
    order_of,
    segments,
    settle,
    state_hash,
    sync,
)

KEYS = [f"key/{number}" for number in range(4)]
KINDS = [Kind.PUT, Kind.PUT, Kind.DELETE, Kind.COUNT, Kind.ADD, Kind.ADD, Kind.REMOVE]
HOUR_MS = 3_600_000
REMOVED = Author(1)


@dataclass(frozen=True)
class Cut:
    seq: int


@dataclass
class Cuts:
    """What a node knows of the removed one: how far each of its logs counts; none is named yet, or others end at 0."""

    known: dict[ReplicaId, int] | None = None

    def limit(self, _: SpaceId, replica: ReplicaId) -> Cut | None:
        if self.known is None or node_of(replica) != REMOVED.node:
            return None
        return Cut(self.known.get(replica, 0))

    def join(self, other: dict[ReplicaId, int]) -> None:
        mine = self.known or {}
        self.known = {one: max(mine.get(one, 0), other.get(one, 0)) for one in {**mine, **other}}


@dataclass
class World:
    """Writers that never hear of the removal, and who listens to them."""

    folder: Path
    chance: random.Random
    stack: ExitStack
    writers: list[Store] = field(default_factory=list)
    clocks: list[Clock] = field(default_factory=list)

    def open(self, name: str, author: Author, cuts: Cuts) -> Store:
        return self.stack.enter_context(open_store(self.folder / name, author, limit=cuts.limit))

    def author(self, seed: int) -> Author:
        self.clocks.append(Clock())
        return Author(seed, self.clocks[-1], self.chance.randbytes)

    def history(self) -> list[Segment]:
        """Let the writers live, and return every run of their logs that might be passed on."""
        self.writers = [self.open(f"w{seed}", self.author(seed), Cuts()) for seed in (1, 2, 3)]
        found: list[Segment] = []
        for _ in range(self.chance.randrange(10, 40)):
            number = self.chance.randrange(3)
            self.chance.choice([self.write, self.write, self.hear, self.change])(number)
            if self.chance.random() < 0.3:
                found += self.runs(self.writers[number])
        for source in self.writers:
            found += segments(source)
        return found

    def write(self, number: int) -> None:
        kind = self.chance.choice(KINDS)
        content = Content(self.chance.choice(KEYS), b"%d" % self.chance.randrange(3), added=int(kind is Kind.COUNT))
        for outcome in self.writers[number].write([Write(SPACE, kind, content)]).result(WAIT_S):
            assert not isinstance(outcome, CisError) or "is not a" in str(outcome), outcome

    def hear(self, number: int) -> None:
        source = self.chance.choice(self.writers)
        if source is not self.writers[number]:
            sync(source, self.writers[number])

    def change(self, number: int) -> None:
        if self.chance.random() < 0.5:
            self.writers[0].renew_incarnation()
        else:
            self.clocks[number].ms = START_MS + self.chance.choice([0, 0, HOUR_MS])

    def runs(self, source: Store) -> list[Segment]:
        """Return some runs from anywhere in the logs, of several changesets each."""
        found = []
        with source.snapshot() as reader:
            log = LogReader(reader.connection, SPACE)
            for replica, last in sorted(reader.vector(SPACE).seqs.items()):
                first = self.chance.randint(1, last)
                segment = log.segment(replica, first, min(last, first + self.chance.randrange(6)))
                assert segment is not None
                found.append(segment)
        return found

    def some_cut(self) -> dict[ReplicaId, int]:
        with self.writers[0].snapshot() as reader:
            seqs = reader.vector(SPACE).seqs
        own = {replica: seq for replica, seq in sorted(seqs.items()) if node_of(replica) == REMOVED.node}
        return {replica: self.chance.randint(0, seq) for replica, seq in own.items() if self.chance.random() < 0.8}


@contextmanager
def world(seed: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield World(Path(folder), random.Random(seed), stack)


def take(store: Store, found: Sequence[Segment], *, in_order: bool = False) -> None:
    """Merge; what a cut voids is refused, and nothing else."""
    order = order_of(store, *found) if in_order else None
    for segment in found:
        error = store.merge(encode(segment), order).exception(WAIT_S)
        assert error is None or (isinstance(error, PeerFault) and error.fault is Fault.CUT), error


def vector_of(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.vector(SPACE)


def check(store: Store, cuts: Cuts) -> None:
    changes = held_changes(store)
    with store.snapshot() as reader:
        waiting = {stored.change.dot for stored, _ in reader.rows.held()}
    assert live_changes(store) == {one.dot for one in alive(one for one in changes if one.dot not in waiting)}
    for change in changes:
        limit = cuts.limit(SPACE, change.dot.replica)
        assert limit is None or change.dot.seq <= limit.seq
    for replica, seq in vector_of(store).seqs.items():
        limit = cuts.limit(SPACE, replica)
        assert limit is None or seq <= limit.seq


def unreadable(store: Store) -> set[Dot]:
    recalled = (store.reader.recall(SPACE, key) for key in KEYS)
    parts = [part for one in recalled if one is not None for part in (*one.parts, *one.siblings)]
    return {part.change.dot for part in parts if part.content is None}


def replaced_by_its_own_node(dot: Dot, changes: dict[Dot, Change]) -> bool:
    return any(
        node_of(one.dot.replica) == node_of(dot.replica) and any(replaces(ref, dot) for ref in one.replaces)
        for one in changes.values()
        if one.memory == changes[dot].memory
    )


def assert_index_follows(store: Store) -> None:
    shown = {key for key in KEYS if (one := store.reader.recall(SPACE, key)) is not None and one.latest.content}
    with store.index(WAIT_S) as index:
        assert {key for (key,) in index.execute("SELECT key FROM doc").fetchall()} == shown


@given(st.integers(0, 1 << 32))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_learning_a_cut_late_is_as_having_known_it_from_the_start(seed: int) -> None:
    with world(seed) as made:
        found = made.history()
        cuts, late = Cuts(), made.author(7)
        listener = made.open("late", late, cuts)
        stream = made.chance.sample(found, len(found))
        for part in (stream[at::4] for at in range(4)):
            take(listener, part)
            if made.chance.random() < 0.6:
                made.chance.choice([settle, lambda store: store.execute(compact).result(WAIT_S)])(listener)
            if made.chance.random() < 0.6:
                cuts.join(made.some_cut())
                listener.withdraw([REMOVED.node])
            late.clock.ms = START_MS + made.chance.choice([0, 0, HOUR_MS])
            check(listener, cuts)
        cuts.join(made.some_cut())
        listener.withdraw()
        check(listener, cuts)
        take(listener, found)
        early = made.open("early", made.author(8), cuts)
        take(early, made.chance.sample(found, len(found)))
        take(early, found)
        check(early, cuts)
        assert vector_of(listener) == vector_of(early)
        assert state_hash(listener) == state_hash(early)
        late.clock.ms = made.clocks[-1].ms = START_MS + 3 * HOUR_MS
        for store in (listener, early):
            settle(store)
            check(store, cuts)
            assert_index_follows(store)
        assert live_changes(listener) == live_changes(early)
        assert_what_is_left_verifies(made, listener, cuts)


def assert_what_is_left_verifies(made: World, source: Store, cuts: Cuts) -> None:
    """It audits clean, and who has nothing gets all of it, though what covers it was signed beyond the cut."""
    found = self_check(source)
    assert (found.damaged, found.suspects) == ((), ())
    newcomer = made.open("newcomer", made.author(9), cuts)
    take(newcomer, segments(source), in_order=True)
    assert vector_of(newcomer) == vector_of(source)
    assert state_hash(newcomer) == state_hash(source)
    third = made.open("third", made.author(10), cuts)
    take(third, segments(newcomer), in_order=True)
    assert state_hash(third) == state_hash(source)


@given(st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_only_the_cut_changes_had_replaced_returns_with_its_body(seed: int) -> None:
    with world(seed) as made:
        found = made.history()
        cuts, author = Cuts(), made.author(7)
        author.clock.ms = START_MS + 3 * HOUR_MS
        store = made.open("late", author, cuts)
        merge(store, *found, in_order=True)
        settle(store)
        lost = unreadable(store)
        before = {one.dot: one for one in held_changes(store)}
        cuts.join(made.some_cut())
        done = store.withdraw()
        after = {one.dot: one for one in held_changes(store)}
        assert done.changes == len(before) - len(after)
        check(store, cuts)
        gone = {dot: one for dot, one in before.items() if dot not in after}
        for dot in unreadable(store) - lost:
            assert replaced_by_its_own_node(dot, {**gone, dot: before[dot]}), "another node's change keeps the body"
        assert_index_follows(store)
