"""index.db: names, categories, full text and vectors, filled behind the merge; rebuilt when it is missing or foreign.

The journal of memory.db names the memories each commit touched; a thread of its own looks each up and brings
its row here up to date. `list` and `search` first wait, within a bound, until the index has reached the
commit that was the last when they were asked.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from cis.errors import StoreError, TimedOut
from cis.model import MemoryId, SpaceId, node_of
from cis.model.change import SEQ_BITS
from cis.store.compacting import compact_index
from cis.store.database import (
    IndexDamaged,
    closed_on_failure,
    fetch,
    give_back,
    one_state,
    open_reader,
    transaction,
    translated,
)
from cis.store.errands import CLOSED, Errands
from cis.store.index_file import forget_some, make_index, open_index
from cis.store.indexing import Indexing, LocalVector, keep_local, want
from cis.store.priority import be_nice
from cis.store.read import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import apsw

    from cis.model import ReplicaId
    from cis.trust.sealing import SpaceKeys

_log = logging.getLogger(__name__)

ROUND_MEMORIES_MAX = 2048
"""Memories per transaction of the index: a reader waits for no more than this."""
FORGET_AFTER_S = 600.0
"""How long the words of what was deleted may stay in the full text, once nothing else is to be done."""
MENDED_EVERY_S = 60.0
"""How often an index that is damaged is made anew unasked: a disk that damages it each time is told of instead."""
NICENESS = 10
_AFTER = """
    SELECT m.memory, coalesce(
        (SELECT r.space FROM live l JOIN replica r ON r.no = l.rid >> ?3 WHERE l.memory = m.memory LIMIT 1),
        (SELECT r.space FROM live0 l JOIN replica r ON r.no = l.rid >> ?3 WHERE l.memory = m.memory LIMIT 1))
    FROM (SELECT memory FROM (SELECT DISTINCT memory FROM live WHERE memory > ?1 ORDER BY memory LIMIT ?2)
        UNION
        SELECT memory FROM (SELECT DISTINCT memory FROM live0 WHERE memory > ?1 ORDER BY memory LIMIT ?2)
        ORDER BY memory LIMIT ?2) m ORDER BY m.memory"""


@dataclass(frozen=True)
class _Batch:
    """Memories to look up, and where indexing stands after them."""

    memories: dict[bytes, int]
    done: int
    rebuilt: bytes | None = None
    retried: bytes | None = None


def _behind(how: str) -> TimedOut:
    return TimedOut(f"the index is still catching up ({how}): ask again in a moment, or get the memory by its key")


@dataclass(frozen=True)
class Place:
    """Where both files are, what opens them, and whose store it is."""

    memory: Path
    index: Path
    key: bytes
    replica: ReplicaId


class Indexer:
    """Keeps index.db in step with memory.db on a thread of its own."""

    def __init__(
        self, place: Place, keys: dict[SpaceId, SpaceKeys], on_round: Callable[[Sequence[int] | None], None]
    ) -> None:
        """``on_round`` is told after each round which docs have other vectors than before, None for all."""
        self._place = place
        self._source = open_reader(place.memory, place.key)
        self._keys = keys
        self._reader = Reader(self._source, keys)
        self._on_round = on_round
        self.remade = 0
        """how often the file was made anew since this began"""
        self._wake = threading.Event()
        self._closing = False
        self._reached = threading.Condition()
        self._making = threading.Lock()
        """held while the file is made, and while somebody opens it"""
        self._retried: bytes | None = None
        self._soon, self._late = Errands(), Errands()
        self._keys_changed = False
        self._lost = False
        self._damaged_at = -inf
        with closed_on_failure(self._source):
            self._begin(open_index)
        self._thread = threading.Thread(target=self._serve, name="cis-index", daemon=True)
        self._thread.start()

    def _begin(self, opener: Callable[..., apsw.Connection]) -> None:
        place = self._place
        connection = opener(place.index, place.key, place.replica, self._source)
        with closed_on_failure(connection):
            self._indexing = Indexing(connection, self._reader, self._keys, node_of(place.replica))
            rows = fetch(connection, "SELECT journal, rebuilt, forgotten FROM progress")
        self._connection = connection
        done, self._rebuilt, forgotten = rows[0]
        self.done: int = done
        """the last row of the journal that is not needed here any more"""
        self._forget_at = time.monotonic() + FORGET_AFTER_S if forgotten else None

    def wake(self) -> None:
        """Say that memory.db has new commits; from any thread."""
        self._wake.set()

    def keys_changed(self) -> None:
        """Say that keys have come: memories that could not be read are tried again; from any thread."""
        self._keys_changed = True
        self._wake.set()

    def wait_reached(self, journal: int, timeout_s: float) -> None:
        """Return once the index holds everything up to that row of the journal, or raise `TimedOut`."""

        def holds() -> bool:
            whole = not self._lost and self._rebuilt is None and self._retried is None and not self._keys_changed
            return whole and self.done >= journal

        with self._reached:
            reached = self._reached.wait_for(lambda: self._closing or holds(), timeout_s)
            if self._closing:
                raise StoreError(CLOSED)
            if not reached:
                anew = self._lost or self._rebuilt is not None
                raise _behind("being made anew" if anew else f"{journal - self.done} commits behind")

    def open_reader(self) -> apsw.Connection:
        """Open the file for reading, on a connection of its own; `TimedOut` while there is none that is whole."""
        with self._making:
            if self._lost:
                raise _behind("being made anew")
            connection = open_reader(self._place.index, self._place.key)
            with closed_on_failure(connection):
                fetch(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")  # opens the journal beside it, too
            return connection

    def keep(self, vectors: Sequence[LocalVector]) -> Future[Any]:
        """Keep vectors this node made for itself; from any thread."""
        return self._ask(self._soon, lambda: self._apply(partial(keep_local, vectors=vectors)))

    def want(self, model: str) -> Future[Any]:
        """Keep from now on what lacks a vector of that model; from any thread."""
        return self._ask(self._soon, lambda: self._apply(partial(want, model=model)))

    def remake(self) -> Future[Any]:
        """Begin the index anew: the future is done when that has begun; from any thread."""
        return self._ask(self._soon, self._remake)

    def compact(self) -> Future[Any]:
        """Rewrite the file behind what is indexed now; from any thread."""
        return self._ask(self._late, lambda: compact_index(self._connection))

    def _ask(self, errands: Errands, errand: Callable[[], Any]) -> Future[Any]:
        def performed() -> None:
            with translated(self._place.index):
                errand()

        asked = errands.put(performed)
        self._wake.set()
        return asked

    def close(self) -> None:
        """Stop after the round in hand."""
        with self._reached:
            self._closing = True
            self._reached.notify_all()
        self._wake.set()
        self._thread.join()

    def _serve(self) -> None:
        be_nice(NICENESS)
        while True:
            self._wake.clear()
            if self._closing:  # looked at after the clearing, which may have swallowed that word
                break
            stopped: StoreError | None = None
            try:
                self._work()
            except IndexDamaged as error:
                if time.monotonic() - self._damaged_at > MENDED_EVERY_S:
                    _log.warning("the index is made anew: %s", error)
                    self._damaged_at, self._lost = time.monotonic(), True
                    self._wake.set()
                    continue
                stopped = error
            except StoreError as error:
                _log.warning("indexing stopped, and goes on with the next commit: %s", error)
                stopped = error
            except Exception as error:  # noqa: BLE001 - the index only follows; its thread outlives whatever it meets
                _log.exception("indexing stopped; it goes on with the next commit")
                stopped = StoreError(f"internal error in the index: {error!r}; `cis memory reindex` mends it")
            if stopped is not None:  # nobody knows when the next commit comes, so nobody waits for it
                for errands in (self._soon, self._late):
                    errands.refuse(stopped)
            self._wake.wait(None if self._forget_at is None else max(0.0, self._forget_at - time.monotonic()))
        for errands in (self._soon, self._late):
            errands.close()
        self._connection.close()
        self._source.close()

    def _work(self) -> None:
        """Do all there is to do, what others wait for first."""
        busy = True
        while busy and not self._closing:
            if self._lost:
                with translated(self._place.index):
                    self._remake()
            self._soon.run()
            busy = self._lost or self._round() or self._late.run()
        give_back(self._connection)
        if self._forget_at is not None and time.monotonic() >= self._forget_at:
            self._forget()

    def _forget(self) -> None:
        """Drop the words of what was deleted, for as long as nothing else is to be done."""
        begin = True
        with translated(self._place.index):
            while not self._wake.is_set():
                if not forget_some(self._connection, begin=begin):
                    self._forget_at = None
                    return
                begin = False

    def _apply(self, change: Callable[[apsw.Connection], Sequence[int]]) -> None:
        with transaction(self._connection):
            docs = change(self._connection)
        self._on_round(docs)

    def _remake(self) -> None:
        self._connection.close()
        with self._reached, self._making:
            self._lost = True  # until it is made: should that fail, it is tried again
            self._begin(make_index)
            self.remade += 1
            self._lost = False
        self._on_round(None)

    def _round(self) -> bool:
        """Index the next memories; False when there are none."""
        with translated(self._place.index), one_state(self._source):
            batch = self._batch()
            if batch is not None:
                self._take_in(batch)
        return batch is not None

    def _take_in(self, batch: _Batch) -> None:
        touched: list[int] = []
        with transaction(self._connection):
            for space in sorted(set(batch.memories.values())):
                memories = [MemoryId(memory) for memory, of in batch.memories.items() if of == space]
                touched += self._indexing.replace(memories, space)
            bindings = (batch.done, batch.rebuilt)
            self._connection.execute("UPDATE progress SET journal = ?, rebuilt = ?", bindings)
            forgotten = self._connection.execute("SELECT forgotten FROM progress").get
        if forgotten and self._forget_at is None:
            self._forget_at = time.monotonic() + FORGET_AFTER_S
        self._on_round(touched)  # before anybody is told that the index has come so far
        with self._reached:
            self.done, self._rebuilt, self._retried = batch.done, batch.rebuilt, batch.retried
            self._reached.notify_all()

    def _batch(self) -> _Batch | None:
        """Choose what to do next: memories whose keys may have come, then a rebuild, then the journal."""
        if self._keys_changed:
            self._keys_changed, self._retried = False, b""
        if self._retried is not None:
            query = "SELECT memory, space FROM unread WHERE memory > ? ORDER BY memory LIMIT ?"
            rows = fetch(self._connection, query, (self._retried, ROUND_MEMORIES_MAX))
            return _Batch(dict(rows), self.done, self._rebuilt, rows[-1][0] if rows else None)
        if self._rebuilt is not None:
            rows = fetch(self._source, _AFTER, (self._rebuilt, ROUND_MEMORIES_MAX, SEQ_BITS))
            return _Batch(dict(rows), self.done, rows[-1][0] if rows else None)
        query = "SELECT no, space, memories FROM journal WHERE no > ? ORDER BY no LIMIT 512"
        memories: dict[bytes, int] = {}
        reached = self.done
        for number, space, touched in self._source.execute(query, (self.done,)):
            memories.update((touched[at : at + 16], space) for at in range(0, len(touched), 16))
            reached = number
            if len(memories) >= ROUND_MEMORIES_MAX:
                break
        return _Batch(memories, reached) if reached > self.done else None
