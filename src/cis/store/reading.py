"""What a store answers: memories by key from memory.db, all else from index.db, on connections of the readers' own."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cis.errors import StoreError
from cis.model import Hlc, MemoryId, ReplicaId, SpaceId
from cis.store.database import INDEX_NAME, fetch, open_reader, queried
from cis.store.fetched import Fetched
from cis.store.read import Holdings, Reader, holdings
from cis.store.texts import digest_of, embeddable
from cis.store.vectors import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    import apsw

    from cis.store.index import Indexer
    from cis.store.indexing import LocalVector
    from cis.trust.sealing import SpaceKeys

_log = logging.getLogger(__name__)

INDEX_WAIT_S = 10.0
_IDLE_READERS_MAX = 8
_IDLE_READER_S = 60.0
"""After so long of not being needed a reader is closed: it has up to 32 MiB of pages, and two descriptors."""
_LACKING = """
    WHERE w.model = (SELECT no FROM model WHERE name = ?1)
    AND (w.expires_ms = 0 OR w.expires_ms > ?2) AND w.space NOT IN (SELECT value FROM json_each(?3))"""
_DANGLING = "SELECT space, memory, key FROM dangling ORDER BY memory LIMIT ?"


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A memory whose text has no vector of a model as yet."""

    memory: MemoryId
    space: SpaceId
    key: str
    digest: bytes
    text: str
    author: ReplicaId
    hlc: Hlc


class Reading:
    """The half of a store that reads; see `cis.store.store`."""

    def __init__(self, folder: Path, key: bytes, clock_ms: Callable[[], int]) -> None:
        self.path = folder / "memory.db"
        self.keys: dict[SpaceId, SpaceKeys] = {}
        self.fetched = Fetched()
        self._index_path = folder / INDEX_NAME
        self._key = key
        self._clock_ms = clock_ms
        self._idle_readers: deque[tuple[float, Reader]] = deque()
        """since when, by the monotonic clock; what was used last is at the end, and used first"""
        self._indexer: Indexer | NoIndex = NoIndex()
        self._index: apsw.Connection | None = None
        self._index_made = 0
        self._index_guard = threading.Lock()
        self._index_listeners: list[Callable[[], None]] = []
        self._vectors: dict[str, VectorIndex] = {}
        self._wanted = "", -1

    def _close_reading(self) -> None:
        while self._idle_readers:
            self._idle_readers.pop()[1].connection.close()
        for vectors in self._vectors.values():
            vectors.drop()
        with self._index_guard:
            if self._index is not None:
                self._index.close()
                self._index = None

    # --- memory.db ----------------------------------------------------------------------------------------

    def open_reader(self) -> Reader:
        """Return a reader over a connection of its own; the caller closes ``reader.connection``."""
        return Reader(open_reader(self.path, self._key), self.keys)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Yield a reader that sees one state of the store until it is left."""
        try:
            _, reader = self._idle_readers.pop()
        except IndexError:
            reader = self.open_reader()
        try:
            with queried(self.path):
                reader.connection.execute("BEGIN")
                fetch(reader.connection, "SELECT 1 FROM meta LIMIT 1")  # the snapshot begins with the first read
                yield reader
        except BaseException:
            reader.connection.close()
            raise
        reader.connection.execute("ROLLBACK")
        self._idle_readers.append((time.monotonic(), reader))
        self._close_surplus()

    def _close_surplus(self) -> None:
        """Close what was not needed for long, and what is too many; other threads may take readers meanwhile."""
        with contextlib.suppress(IndexError):
            while (
                len(self._idle_readers) > _IDLE_READERS_MAX
                or self._idle_readers[0][0] < time.monotonic() - _IDLE_READER_S
            ):
                self._idle_readers.popleft()[1].connection.close()

    def holdings(self, space: SpaceId) -> Holdings:
        """Count what is held of a space, whether it can be read or not; takes time in proportion."""
        with self.snapshot() as reader:
            return holdings(reader, space)

    def check(self) -> list[str]:
        """Return SQLite's complaints about memory.db, none where it is whole."""
        with self.snapshot() as reader:
            rows = fetch(reader.connection, "PRAGMA integrity_check")
        return [complaint for (complaint,) in rows if complaint != "ok"]

    # --- index.db -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def index(self, timeout_s: float = INDEX_WAIT_S) -> Iterator[apsw.Connection]:
        """Yield a connection to index.db once it has caught up with this moment, or raise `TimedOut`."""
        with self.snapshot() as reader:
            newest: int = reader.connection.execute("SELECT max(no) FROM journal").get or 0
        self._indexer.wake()
        self._indexer.wait_reached(newest, timeout_s)
        with self._index_as_it_is() as index:
            yield index

    @contextlib.contextmanager
    def _index_as_it_is(self) -> Iterator[apsw.Connection]:
        """Yield a connection to index.db, however far that has come."""
        with self._index_guard, queried(self._index_path):
            made = self._indexer.remade
            if self._index is not None and made != self._index_made:
                self._index.close()
                self._index = None
            if self._index is None:
                self._index, self._index_made = self._indexer.open_reader(), made
            yield self._index

    def reindex(self) -> None:
        """Begin index.db anew, the vectors this node made for itself included; `index` waits for its end."""
        self._indexer.remake().result()

    def on_indexed(self, listener: Callable[[], None]) -> None:
        """Call the listener after each round of the indexer, on the indexer's thread."""
        self._index_listeners.append(listener)

    def _on_round(self, docs: Sequence[int] | None) -> None:
        for vectors in list(self._vectors.values()):
            if docs is None:
                vectors.renewed()
            else:
                vectors.touched(docs)
        for listener in self._index_listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 - a listener's defect stops no indexing
                _log.exception("a listener failed on a round of the index")

    # --- vectors ------------------------------------------------------------------------------------------

    def vectors(self, model: str) -> VectorIndex:
        """Return what finds the nearest vectors of a model; it loads them when first asked."""
        return self._vectors.setdefault(model, VectorIndex(model, self._indexer.open_reader))

    def unembedded(self, model: str, limit: int, skip: Collection[SpaceId] = ()) -> list[Unembedded]:
        """Return memories whose text has no vector of that model in the index, newest first, but for some spaces.

        What has changed since it was indexed is left out: it comes when that is indexed.
        """
        query = "SELECT d.memory, d.space, d.digest, d.author, d.hlc FROM wanted w CROSS JOIN doc d ON d.no = w.doc"
        with self.snapshot() as reader:
            rows = self._lacking(reader, f"{query} {_LACKING} ORDER BY w.hlc DESC LIMIT ?4", model, skip, limit)
            found = {}
            for space, group in itertools.groupby(sorted(rows, key=lambda row: int(row[1])), lambda row: int(row[1])):
                memories = [MemoryId(row[0]) for row in group]
                shared = reader.space(space)
                if shared in self.keys:
                    found.update(reader.recall_many(memories, shared))
        lacking = []
        for memory, _, digest, author, stamp in rows:
            recalled = found.get(memory)
            text = embeddable(recalled) if recalled is not None else None
            if recalled is not None and text is not None and digest_of(text) == digest:
                place = (MemoryId(memory), recalled.space, recalled.key)
                lacking.append(Unembedded(*place, digest, text, ReplicaId(author), Hlc(stamp)))
        return lacking

    def count_unembedded(self, model: str, skip: Collection[SpaceId] = ()) -> int:
        """Return how many memories have a text without a vector of that model in the index, but for some spaces."""
        with self.snapshot() as reader:
            rows = self._lacking(reader, f"SELECT count(*) FROM wanted w {_LACKING}", model, skip)
        count: int = rows[0][0]
        return count

    def _lacking(
        self, reader: Reader, query: str, model: str, skip: Collection[SpaceId], *more: int
    ) -> list[tuple[Any, ...]]:
        if self._wanted != (model, self._indexer.remade):
            made = self._indexer.remade
            self._indexer.want(model).result()
            self._wanted = model, made
        numbers = ",".join(str(number) for number in map(reader.space_number, skip) if number is not None)
        with self._index_as_it_is() as index:
            return fetch(index, query, (model, self._clock_ms(), f"[{numbers}]", *more))

    def keep_vectors(self, vectors: Sequence[LocalVector]) -> Future[None]:
        """Keep vectors this node made for itself alone; not where the text has changed, or one was told meanwhile."""
        return self._indexer.keep(vectors)

    def dangling_vectors(self, limit: int) -> list[tuple[SpaceId, MemoryId, str]]:
        """Return (space, memory, key) of what is gone but for vectors that are this node's to take back.

        To be written as VECTOR without a vector. It wrote one of them, or deleted the memory.
        """
        with self._index_as_it_is() as index:
            rows = fetch(index, _DANGLING, (limit,))
        if not rows:
            return []
        with self.snapshot() as reader:
            return [(reader.space(space), MemoryId(memory), key) for space, memory, key in rows]


class NoIndex:
    """Stands where an index would, in a store that has no threads."""

    done = (1 << 63) - 1
    """Nothing waits for the journal."""

    @property
    def remade(self) -> int:
        """There is none to be read either."""
        raise _no_index()

    def wake(self) -> None:
        """Nothing follows."""

    def keys_changed(self) -> None:
        """Nothing follows."""

    def close(self) -> None:
        """Nothing runs."""

    def compact(self) -> Future[Any]:
        """Nothing is to be rewritten."""
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def open_reader(self) -> apsw.Connection:
        """Say that there is none."""
        raise _no_index()

    def wait_reached(self, *_: object) -> None:
        """Say that there is none."""
        raise _no_index()

    def want(self, _: str) -> Future[Any]:
        """Say that there is none."""
        raise _no_index()

    def keep(self, _: Sequence[LocalVector]) -> Future[Any]:
        """Say that there is none."""
        raise _no_index()

    def remake(self) -> Future[Any]:
        """Say that there is none."""
        raise _no_index()


def _no_index() -> StoreError:
    return StoreError("this store keeps no index: only memories whose key is known can be read")
