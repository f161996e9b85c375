"""Collecting what is stable: whatever is retired, returns or is cut off, nothing comes back and nothing is lost.

Random lives of real stores. The oracle knows every change ever written; after each step a store must show what
follows from the changes its vector claims, collected or not, and healed all must show what follows from all.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis.crdt import alive
from cis.errors import PeerFault
from cis.model import Change, Dot, Kind, VersionVector
from cis.model.change import BODILESS
from cis.store.author import Write
from cis.store.collection import START, collect, raise_floor, truncate
from cis.store.log import LogReader
from cis.store.ordering import Order
from cis.store.store import Store
from cis.sync.floors import Standing, may_take, must_compare
from cis.wire.content import Content
from tests.audits import audit
from tests.stores import (
    SPACE,
    WAIT_S,
    Author,
    Clock,
    held_changes,
    live_changes,
    merge,
    open_store,
    runs,
    settle,
    state_hash,
    sync,
    vector_wish,
)

KEYS = [f"key/{number}" for number in range(3)]
KINDS = [Kind.PUT, Kind.PUT, Kind.PUT, Kind.DELETE, Kind.DELETE, Kind.COUNT, Kind.ADD, Kind.ADD, Kind.REMOVE,
         Kind.VECTOR, Kind.VECTOR]  # fmt: skip


def vector_of(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.vector(SPACE)


def floor_of(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.floor(SPACE)


def standing(store: Store) -> Standing:
    with store.snapshot() as reader:
        return Standing(reader.vector(SPACE), reader.floor(SPACE), reader.owes(SPACE))


def collect_all(store: Store, floor: VersionVector) -> None:
    """Do as a node does when the floor has risen."""
    store.execute(lambda connection: raise_floor(connection, SPACE, floor)).result(WAIT_S)
    after: bytes | None = START
    while after is not None:
        after = store.execute(partial(collect, after=after)).result(WAIT_S)
    store.execute(truncate).result(WAIT_S)


class Cluster:
    """Some stores, what each last reported, and every change ever written."""

    def __init__(self, folder: Path, seed: int, count: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.stores: list[Store] = []
        self.reports: dict[int, VersionVector] = {}
        self.retired: set[int] = set()
        self.written: dict[Dot, Change] = {}
        for _ in range(count):
            self.join()

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def join(self) -> None:
        number = len(self.stores)
        author = Author(number + 1, Clock(), self.chance.randbytes)
        self.stores.append(open_store(self.folder / str(number), author))
        self.reports[number] = VersionVector()

    def step(self) -> None:
        calm = [self.write, self.exchange, self.deliver, self.report, self.collect, self.meet]
        action = self.chance.choices([*calm, self.retire, self.grow], [8, 6, 4, 3, 4, 2, 1, 1])[0]
        action(self.chance.randrange(len(self.stores)))

    def write(self, number: int) -> None:
        kind, key = self.chance.choice(KINDS), self.chance.choice(KEYS)
        content = Content(key, b"%d" % self.chance.randrange(2), added=int(kind is Kind.COUNT))
        store = self.stores[number]
        wish = Write(SPACE, kind, content) if kind is not Kind.VECTOR else vector_wish(store, key, self.chance)
        store.write([wish]).result(WAIT_S)
        self.written |= {change.dot: change for change in held_changes(store) if change.dot not in self.written}
        self.check(number)

    def exchange(self, number: int) -> None:
        """One direction of a session, whole states compared first where the rules ask for it."""
        source = self.chance.randrange(len(self.stores))
        if source != number:
            self.bring(source, number, cut=self.chance.random() < 0.3)
            self.check(number)

    def bring(self, source: int, target: int, *, cut: bool = False) -> None:
        giver, taker = self.stores[source], self.stores[target]
        if must_compare(standing(taker), standing(giver)):
            self.compare(giver, taker)
        if must_compare(standing(taker), standing(giver)) or not may_take(standing(taker), standing(giver)):
            return
        if cut:
            self.bring_some(giver, taker)
        else:
            sync(giver, taker)

    def compare(self, one: Store, two: Store) -> None:
        """Compare whole states, both ways, or be cut off before."""
        if self.chance.random() < 0.8:
            audit(one, two, check_first=False)

    def bring_some(self, giver: Store, taker: Store) -> None:
        with giver.snapshot() as reader:
            held, theirs = vector_of(taker), reader.vector(SPACE)
            lacking = list(theirs.missing_in(held))
            if lacking:
                found = list(runs(LogReader(reader.connection, SPACE), *lacking[0]))
                order = Order({SPACE: held}, {SPACE: theirs})
                merge(taker, *found[: self.chance.randint(0, len(found))], order=order)

    def deliver(self, number: int) -> None:
        """A newest change comes by gossip, perhaps beyond a gap."""
        source = self.stores[self.chance.randrange(len(self.stores))]
        with source.snapshot() as reader:
            last = reader.vector(SPACE).contiguous(source.replica)
            segment = LogReader(reader.connection, SPACE).segment(source.replica, last, last) if last else None
        if segment is not None and segment.records[32] != 255:
            with suppress(PeerFault):  # one from below the floor is not taken by itself
                merge(self.stores[number], segment)
            self.check(number)

    def report(self, number: int) -> None:
        if not standing(self.stores[number]).catching_up:
            self.reports[number] = vector_of(self.stores[number])
            self.retired.discard(number)

    def meet(self, number: int) -> None:
        """Some members come together: each exchanges with one of them and reports."""
        present = [other for other in range(len(self.stores)) if self.chance.random() < 0.8]
        for _ in range(2):
            for other in present:
                if other != number:
                    self.bring(number, other)
                    self.bring(other, number)
        for other in present:
            self.report(other)

    def collect(self, number: int) -> None:
        store = self.stores[number]
        if standing(store).catching_up:
            return
        floor = vector_of(store)
        for member, vector in self.reports.items():
            if member != number and member not in self.retired:
                floor = floor.meet(vector)
        if self.chance.random() < 0.5:
            settle(store)
        collect_all(store, floor)
        self.check(number)

    def retire(self, number: int) -> None:
        if len(self.retired) < len(self.stores) - 1:
            self.retired.add(number)

    def grow(self, number: int) -> None:
        if len(self.stores) < 5:
            self.join()

    def check(self, number: int) -> None:
        store = self.stores[number]
        vector = vector_of(store)
        claimed = [change for dot, change in self.written.items() if dot in vector]
        right = {change.dot for change in alive(claimed) if change.kind not in BODILESS}
        if standing(store).catching_up:
            assert shown(store) <= right, "still catching up, but nothing comes back"
        else:
            assert shown(store) == right

    def heal(self) -> None:
        for _ in range(2 * len(self.stores)):
            for source in range(len(self.stores)):
                for target in range(len(self.stores)):
                    if source != target:
                        self.bring(source, target)


def shown(store: Store) -> set[Dot]:
    bearing = {change.dot for change in held_changes(store) if change.kind not in BODILESS}
    return live_changes(store) & bearing


@contextmanager
def cluster(seed: int, count: int) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        made = Cluster(Path(folder), seed, count)
        try:
            yield made
        finally:
            made.close()


@given(st.integers(0, 1 << 32), st.integers(2, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_collecting_changes_nothing_that_is_shown(seed: int, count: int) -> None:
    with cluster(seed, count) as made:
        for _ in range(40):
            made.step()
        made.heal()
        right = {change.dot for change in alive(made.written.values()) if change.kind not in BODILESS}
        for number, store in enumerate(made.stores):
            made.check(number)
            assert shown(store) == right
        assert len({state_hash(store) for store in made.stores}) == 1
