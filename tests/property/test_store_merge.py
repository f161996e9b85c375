"""Random lives of real stores: whatever arrives in whatever order, each shows what the pure merge says.

Several stores with real keys write, pass each other parts of their logs out of order and twice, restart, fold,
lose their index and have their clocks set; after every step each is compared with `cis.crdt.alive` over the
changes it holds. Healed, all are equal, and equal to a store that hears everything for the first time.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis.crdt import Shape, alive
from cis.crdt.state import replaces
from cis.errors import CisError
from cis.model import Change, Dot, Kind, node_of
from cis.store.author import Write
from cis.store.compaction import compact
from cis.store.log import LogReader
from cis.store.store import Store
from cis.wire.content import Content
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
    segments,
    settle,
    state_hash,
    sync,
    vector_wish,
)

KEYS = [f"key/{number}" for number in range(4)]
KINDS = [Kind.PUT, Kind.PUT, Kind.DELETE, Kind.COUNT, Kind.ADD, Kind.ADD, Kind.REMOVE, Kind.VECTOR, Kind.VECTOR]
HOUR_MS = 3_600_000


class Mesh:
    """Some stores, and chance."""

    def __init__(self, folder: Path, seed: int, count: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.authors = [Author(number + 1, Clock(), self.chance.randbytes) for number in range(count)]
        self.stores = [self._open(number) for number in range(count)]

    def _open(self, number: int) -> Store:
        return open_store(self.folder / str(number), self.authors[number])

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def step(self) -> None:
        number = self.chance.randrange(len(self.stores))
        action = self.chance.choices(
            [self.write, self.deliver, self.restart, self.fold, self.set_clock], [6, 8, 1, 2, 2]
        )[0]
        action(number)
        self.check(number)

    def write(self, number: int) -> None:
        writes = [self._wish(number) for _ in range(self.chance.choice([1, 1, 2, 5]))]
        for outcome in self.stores[number].write(writes).result(WAIT_S):
            assert not isinstance(outcome, CisError) or "is not a" in str(outcome), outcome

    def _wish(self, number: int) -> Write:
        kind = self.chance.choice(KINDS)
        if kind is Kind.VECTOR:
            return vector_wish(self.stores[number], self.chance.choice(KEYS), self.chance)
        value = b"%d" % self.chance.randrange(3)
        added = self.chance.randrange(5) if kind is Kind.COUNT else 0
        return Write(SPACE, kind, Content(self.chance.choice(KEYS), value, added=added))

    def deliver(self, number: int) -> None:
        """Pass on random runs of another's log: from the middle, out of order, some twice."""
        source = self.chance.choice(self.stores)
        found = []
        with source.snapshot() as reader:
            log = LogReader(reader.connection, SPACE)
            for replica, last in sorted(reader.vector(SPACE).seqs.items()):
                for _ in range(self.chance.randrange(3)):
                    first = self.chance.randint(1, last)
                    segment = log.segment(replica, first, min(last, first + self.chance.randrange(4)))
                    assert segment is not None
                    found.append(segment)
        found += self.chance.sample(found, len(found) // 2)
        self.chance.shuffle(found)
        merge(self.stores[number], *found)

    def restart(self, number: int) -> None:
        self.stores[number].close()
        if self.chance.random() < 0.3:
            (self.folder / str(number) / "index.db").unlink()
        self.stores[number] = self._open(number)

    def fold(self, number: int) -> None:
        if self.chance.random() < 0.5:
            settle(self.stores[number])
        else:
            self.stores[number].execute(compact).result(WAIT_S)

    def set_clock(self, number: int) -> None:
        self.authors[number].clock.ms = START_MS + self.chance.choice([0, 0, HOUR_MS, 2 * HOUR_MS])

    def check(self, number: int) -> None:
        store = self.stores[number]
        changes, waiting = held_changes(store), held_back(store)
        in_effect = [change for change in changes if change.dot not in waiting]
        assert live_changes(store) == {change.dot for change in alive(in_effect)}

    def heal(self) -> None:
        for _ in range(2):
            for source in self.stores:
                for target in self.stores:
                    if source is not target:
                        sync(source, target)


def held_back(store: Store) -> set[Dot]:
    with store.snapshot() as reader:
        return {stored.change.dot for stored, _ in reader.rows.held()}


@contextmanager
def mesh(seed: int, count: int = 3) -> Iterator[Mesh]:
    with tempfile.TemporaryDirectory() as folder:
        made = Mesh(Path(folder), seed, count)
        try:
            yield made
        finally:
            made.close()


@given(st.integers(0, 1 << 32), st.integers(3, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_store_shows_what_the_pure_merge_says_and_all_agree_once_healed(seed: int, count: int) -> None:
    with mesh(seed, count) as made:
        for _ in range(40):
            made.step()
        made.heal()
        hashes = {state_hash(store) for store in made.stores}
        assert len(hashes) == 1, "clocks differ, state must not"
        for author in made.authors:
            author.clock.ms = START_MS + 3 * HOUR_MS
        for number, store in enumerate(made.stores):
            settle(store)
            made.check(number)
            assert not held_back(store)
            assert_only_bodies_that_may_be_shown(store)
        assert {state_hash(store) for store in made.stores} == hashes
        assert_equal_to_the_oracle(made)
        assert_a_newcomer_agrees(made, hashes)


def assert_only_bodies_that_may_be_shown(store: Store) -> None:
    """Of the living, and of what only other nodes' changes have replaced."""
    with store.snapshot() as reader:
        hidden = {rid for (rid,) in reader.connection.execute("SELECT rid FROM hidden").fetchall()}
        rows = {one.rid: one.change for one in reader.rows.stored(hidden)}
        namers = [one for one in held_changes(store) if any(replaces_any(one, change) for change in rows.values())]
        for change in rows.values():
            over = {node_of(one.dot.replica) for one in namers if replaces_any(one, change)}
            assert over - {node_of(change.dot.replica)}
        kept = {rid for (rid,) in reader.connection.execute("SELECT rid FROM body").fetchall()}
        live = {
            one.rid
            for memory in reader.memories(SPACE)
            for one in reader.rows.live(memory)
            if one.change.kind not in {Kind.DELETE, Kind.REMOVE}
        }
    assert kept == live | hidden
    assert not live & hidden


def replaces_any(namer: Change, change: Change) -> bool:
    return namer.memory == change.memory and any(replaces(ref, change.dot) for ref in namer.replaces)


def assert_equal_to_the_oracle(made: Mesh) -> None:
    """Read every memory as a user would, and as the union of all changes says."""
    union = {change.dot: change for store in made.stores for change in held_changes(store)}
    expected = {change.dot for change in alive(union.values())}
    for store in made.stores:
        assert live_changes(store) == expected
        shown = Counter()
        for key in KEYS:
            recalled = store.reader.recall(SPACE, key)
            if recalled is not None:
                assert all(part.content is not None for part in (*recalled.parts, *recalled.siblings))
                shown[key] = len(recalled.siblings)
        with store.index(WAIT_S) as index:
            assert dict(index.execute("SELECT key, siblings FROM doc").fetchall()) == shown


def assert_a_newcomer_agrees(made: Mesh, hashes: set[bytes]) -> None:
    """What a store serves after superseding, folding and restarting verifies at one that had nothing."""
    newcomer = open_store(made.folder / "newcomer", Author(99, Clock(START_MS + 3 * HOUR_MS)))
    try:
        source = made.chance.choice(made.stores)
        merge(newcomer, *segments(source))
        assert {state_hash(newcomer)} == hashes
        sync(newcomer, source)
    finally:
        newcomer.close()


@pytest.mark.parametrize("seed", range(3))
def test_an_increment_is_never_lost_nor_counted_twice(seed: int) -> None:
    with mesh(seed) as made:
        total = 0
        for _ in range(30):
            number = made.chance.randrange(3)
            if made.chance.random() < 0.5:
                amount = made.chance.randrange(1, 9)
                wish = Write(SPACE, Kind.COUNT, Content("count", added=amount, subtracted=1))
                made.stores[number].write([wish]).result(WAIT_S)
                total += amount - 1
            else:
                made.deliver(number)
        made.heal()
        for store in made.stores:
            recalled = store.reader.recall(SPACE, "count")
            if recalled is None:
                assert total == 0
                continue
            assert recalled.shape is Shape.COUNTER
            contents = [part.content for part in recalled.parts if part.content is not None]
            assert sum(content.added - content.subtracted for content in contents) == total
