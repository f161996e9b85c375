"""Work for a store on a disk that fails: what is written, merged, compacted, closed and opened there, and noted.

What is asked for and what is acknowledged goes into the disk's trace at the moment it happens, on whichever thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from cis.errors import CisError
from cis.model import Kind, ReplicaId
from cis.store import incarnation, index_file
from cis.store import store as store_room
from cis.store.author import Write
from cis.store.compaction import compact
from cis.store.database import fetch
from cis.store.engine import Commit
from cis.store.log import LogReader
from cis.store.store import Store
from cis.wire.content import Content
from cis.wire.messages import encode
from cis.wire.segment import RECORD
from faults.disk import Disk, Noted, Step
from faults.ledger import Added, Kept, Ledger, Told, Tried
from tests.stores import KEYS, PRIVATE_KEYS, SPACE, STORE_KEY, WAIT_S, Author, Clock, open_store, put
from tests.stores import write as write_all

MARKER = "memory.incarnation"
"""The file beside the store that gives a copy away."""
_NAMES = [f"key/{number}" for number in range(10)]
_COUNTERS = ["count/a", "count/b"]
_SIZES = (5, 40, 400, 4_000, 20_000)
_MEMORY_PAGES, _INDEX_PAGES = 24, 16
"""Pages of journal after which it is written back: so few that a short life has many checkpoints."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The marker beside the store is now this."""

    token: bytes


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Check-point often; and take every folder for the one the store was in, as a disk that comes back is."""
    memory = replace(store_room.MEMORY_LAYOUT, checkpoint_pages=_MEMORY_PAGES)
    index = replace(index_file.INDEX_LAYOUT, checkpoint_pages=_INDEX_PAGES)
    with (
        patch.object(store_room, "MEMORY_LAYOUT", memory),
        patch.object(index_file, "INDEX_LAYOUT", index),
        patch.object(incarnation, "_place", lambda *_: b"here"),
    ):
        yield


def opened(folder: Path, author: Author) -> Store:
    """Open a store with its spaces; what fails leaves it closed."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store(folder, STORE_KEY, author.setting()))
        store.add_space(KEYS, "public", replicated=True)
        store.add_space(PRIVATE_KEYS, "private", replicated=False)
        stack.pop_all()
    return store


@dataclass(frozen=True)
class Foreign:
    """What another node wrote: each a memory, and the frame it comes in."""

    key: str
    value: bytes
    frame: bytes


def foreign(folder: Path, rng: Random, count: int) -> list[Foreign]:
    """Have another node write that many memories, a changeset each."""
    found = []
    with open_store(folder, Author(2, Clock(), rng.randbytes)) as store:
        for number in range(1, count + 1):
            key, value = f"other/{number}", f"{number} of another".encode() * rng.randint(1, 60)
            write_all(store, put(key, value.decode()))
            with store.snapshot() as reader:
                segment = LogReader(reader.connection, SPACE).segment(store.replica, number, number)
            assert segment is not None
            found.append(Foreign(key, value, encode(segment)))
    return found


@dataclass
class Work:
    """One process's life with a store: opened by `begin`, worked by `step`, closed by `end`."""

    disk: Disk
    author: Author
    rng: Random
    incoming: list[Foreign]
    refused: int = 0
    """answers that were errors, as they should be where the disk fails"""
    wrong: list[str] = field(default_factory=list)
    """what should not have happened, whatever the disk does"""
    _numbers: int = 0
    _store: Store | None = None

    def begin(self) -> None:
        """Open the store."""
        try:
            self._store = opened(self.disk.folder, self.author)
        except CisError:
            self.refused += 1
            return
        self.disk.note(Marked((self.disk.folder / MARKER).read_bytes()))
        self._store.on_commit(self._on_commit)

    def end(self) -> None:
        """Close it, if it is open."""
        store, self._store = self._store, None
        if store is not None:
            self._may(store.close)

    def step(self) -> None:
        """Do one thing, or a few at once."""
        if self._store is None:
            self.begin()
        if self._store is None:
            return
        self.author.clock.ms += self.rng.randint(0, 3)
        choices: list[tuple[Callable[[Store], object], int]] = [
            (self._write, 60),
            (self._merge, 15),
            (self._read, 10),
            (self._fold, 5),
            (lambda store: store.compact(), 2),
            (lambda store: store.reindex(), 2),
            (lambda _: self.end(), 4),
        ]
        (act,) = self.rng.choices([act for act, _ in choices], [weight for _, weight in choices])
        self._may(partial(act, self._store))

    def takes(self) -> bool:
        """Tell whether the store, opened if it is not, takes a write and finds it by the index."""
        if self._store is None:
            self.begin()
        if self._store is None:
            return False
        self._numbers += 1
        wish = Tried(self._numbers, _NAMES[0], b"%d" % self._numbers)
        future = self._ask([wish], partial(self._store.write, [put(wish.key, str(self._numbers))]))
        if isinstance(future.exception(WAIT_S), CisError):
            return False
        try:
            self._read(self._store)
        except CisError as error:
            self.wrong.append(f"the disk is well, and the store cannot be read: {error}")
        return True

    def _may(self, act: Callable[[], object]) -> None:
        try:
            act()
        except CisError:
            self.refused += 1

    def _on_commit(self, commit: Commit) -> None:
        for segment in commit.written:
            last = segment.first + len(segment.records) // RECORD.size - 1
            self.disk.note(Told(ReplicaId(segment.replica), last))

    def _write(self, store: Store) -> None:
        """Ask for some writes, at once where several are asked for, so that they share a transaction."""
        futures = []
        for _ in range(self.rng.choice([1, 1, 1, 3])):
            wishes = [self._wish() for _ in range(self.rng.choice([1, 1, 2, 8]))]
            futures.append(self._ask([wish for wish, _ in wishes], partial(store.write, [one for _, one in wishes])))
        for future in futures:
            future.exception(WAIT_S)

    def _wish(self) -> tuple[Tried | Added, Write]:
        self._numbers += 1
        if self.rng.random() < 0.15:
            key, amount = self.rng.choice(_COUNTERS), self.rng.randint(1, 5)
            return Added(self._numbers, key, amount), Write(SPACE, Kind.COUNT, Content(key, added=amount))
        key = self.rng.choice(_NAMES)
        if self.rng.random() < 0.15:
            return Tried(self._numbers, key, None), Write(SPACE, Kind.DELETE, Content(key))
        word = self.rng.randbytes(4).hex().encode()  # of this wish alone, among those of earlier lives too
        value = word * (self.rng.choice(_SIZES) // len(word) + 1)
        return Tried(self._numbers, key, value), Write(SPACE, Kind.PUT, Content(key, value))

    def _merge(self, store: Store) -> None:
        if self.incoming:
            given = self.incoming.pop(0)
            self._numbers += 1
            mark = Tried(self._numbers, given.key, given.value)
            error = self._ask([mark], partial(store.merge, given.frame)).exception(WAIT_S)
            if error is not None:
                self.incoming.insert(0, given)

    def _ask(self, wishes: Sequence[Tried | Added], submit: Callable[[], Future[Any]]) -> Future[Any]:
        for wish in wishes:
            self.disk.note(wish)
        future = submit()
        future.add_done_callback(partial(self._answered, wishes))
        return future

    def _answered(self, wishes: Sequence[Tried | Added], future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            self.refused += 1
            if not isinstance(error, CisError):
                self.wrong.append(f"a write was answered by {error!r}")
            return
        outcomes = future.result()
        for wish, outcome in zip(wishes, outcomes if isinstance(outcomes, list) else [outcomes], strict=True):
            if isinstance(outcome, CisError):
                self.wrong.append(f"a write was refused for another reason than the disk: {outcome}")
            else:
                self.disk.note(Kept(wish.number))

    def _read(self, store: Store) -> None:
        """Read by key, and wait for the index."""
        store.reader.recall(SPACE, self.rng.choice(_NAMES))
        with store.index(WAIT_S) as index:
            fetch(index, "SELECT count(*) FROM doc")

    def _fold(self, store: Store) -> None:
        store.execute(compact).result(WAIT_S)


def hear(ledger: Ledger, step: Step) -> None:
    """Have a ledger hear what a trace notes."""
    match step:
        case Noted(Tried() | Added() | Kept() | Told() as mark):
            ledger.hear(mark)
        case _:
            pass
