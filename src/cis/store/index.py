"""index.db: names, categories and full text, filled behind the merge; rebuilt when it is missing or foreign.

The journal of memory.db names the memories each commit touched; a thread of its own looks each up and brings
its row here up to date. `list` and `search` first wait, within a bound, until the index has reached the
commit that was the last when they were asked.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from cis.crdt import Shape
from cis.errors import StoreError, TimedOut
from cis.model import MemoryId, SpaceId
from cis.model.change import SEQ_BITS
from cis.store.database import Layout, fetch, open_database, open_reader, transaction, translated
from cis.store.read import Reader, Recalled
from cis.store.schema import INDEX_MIGRATIONS
from cis.wire.content import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cis.trust.sealing import SpaceKeys

_log = logging.getLogger(__name__)

# What a power cut loses of an index is filled again from the journal: it need not be durable to the last commit.
INDEX_LAYOUT = Layout(0x63697369, INDEX_MIGRATIONS, cache_kib=16_384, synchronous="NORMAL")
ROUND_MEMORIES_MAX = 2048
"""Memories per transaction of the index: a reader waits for no more than this."""
NICENESS = 10
_JOURNAL = """
    SELECT newest, coalesce((SELECT min(no) - 1 FROM journal), newest)
    FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0) AS newest)"""
_AFTER = """
    SELECT m.memory, coalesce(
        (SELECT r.space FROM live l JOIN replica r ON r.no = l.rid >> ?3 WHERE l.memory = m.memory LIMIT 1),
        (SELECT r.space FROM live0 l JOIN replica r ON r.no = l.rid >> ?3 WHERE l.memory = m.memory LIMIT 1))
    FROM (SELECT memory FROM (SELECT DISTINCT memory FROM live WHERE memory > ?1 ORDER BY memory LIMIT ?2)
        UNION
        SELECT memory FROM (SELECT DISTINCT memory FROM live0 WHERE memory > ?1 ORDER BY memory LIMIT ?2)
        ORDER BY memory LIMIT ?2) m ORDER BY m.memory"""
_KNOWN = "SELECT d.memory, d.no FROM carray(?) n CROSS JOIN doc d ON d.memory = n.value"
_DOC = """
    INSERT INTO doc(no, memory, space, key, category, tags, shape, hlc, author, expires_ms, siblings, bytes)
    VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"""
_TEXT_MAX = 64 * 1024


@dataclass(frozen=True)
class _Batch:
    """Memories to look up, and where indexing stands after them."""

    memories: dict[bytes, int]
    done: int
    rebuilt: bytes | None = None
    retried: bytes | None = None


class Indexer:
    """Keeps index.db in step with memory.db on a thread of its own."""

    def __init__(
        self, memory_path: Path, index_path: Path, key: bytes, keys: dict[SpaceId, SpaceKeys], source: bytes
    ) -> None:
        self._index_path = index_path
        self._source = open_reader(memory_path, key)
        self._keys = keys
        self._reader = Reader(self._source, keys)
        self._connection = _open_index(index_path, key, source, self._source)
        self._wake = threading.Event()
        self._closing = False
        self._reached = threading.Condition()
        self._done, self._rebuilt = self._progress()
        self._retried: bytes | None = None
        self._keys_changed = False
        self._thread = threading.Thread(target=self._serve, name="cis-index", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that memory.db has new commits; from any thread."""
        self._wake.set()

    def keys_changed(self) -> None:
        """Say that keys have come: memories that could not be read are tried again; from any thread."""
        self._keys_changed = True
        self._wake.set()

    def wait_reached(self, journal: int, timeout_s: float) -> None:
        """Return once the index holds everything up to that row of the journal, or raise `TimedOut`."""
        with self._reached:
            reached = self._reached.wait_for(lambda: self._holds(journal) or self._closing, timeout_s)
            if self._closing:
                raise StoreError("the store is closed: open it again, or start the node")
            if not reached:
                behind = "being made anew" if self._rebuilt is not None else f"{journal - self._done} commits behind"
                raise TimedOut(
                    f"the index is still catching up ({behind}): ask again in a moment, or get the memory by its key"
                )

    def _holds(self, journal: int) -> bool:
        whole = self._rebuilt is None and self._retried is None and not self._keys_changed
        return whole and self._done >= journal

    @property
    def done(self) -> int:
        """The last row of the journal that is not needed here any more."""
        return self._done

    def close(self) -> None:
        """Stop after the round in hand."""
        with self._reached:
            self._closing = True
            self._reached.notify_all()
        self._wake.set()
        self._thread.join()

    def _serve(self) -> None:
        _be_nice()
        while not self._closing:
            self._wake.clear()
            try:
                while self._round() and not self._closing:
                    pass
            except Exception:  # noqa: BLE001 - the index only follows; its thread outlives whatever it meets
                _log.exception("indexing stopped; it goes on with the next commit")
            self._wake.wait()
        self._connection.close()
        self._source.close()

    def _round(self) -> bool:
        """Index the next memories; False when there are none."""
        with translated(self._index_path), self._source:
            batch = self._batch()
            if batch is not None:
                self._take_in(batch)
        return batch is not None

    def _take_in(self, batch: _Batch) -> None:
        with transaction(self._connection):
            for space in sorted(set(batch.memories.values())):
                self._replace([MemoryId(memory) for memory, of in batch.memories.items() if of == space], space)
            bindings = (batch.done, batch.rebuilt)
            self._connection.execute("UPDATE progress SET journal = ?, rebuilt = ?", bindings)
        with self._reached:
            self._done, self._rebuilt, self._retried = batch.done, batch.rebuilt, batch.retried
            self._reached.notify_all()

    def _batch(self) -> _Batch | None:
        """Choose what to do next: memories whose keys may have come, then a rebuild, then the journal."""
        if self._keys_changed:
            self._keys_changed, self._retried = False, b""
        if self._retried is not None:
            query = "SELECT memory, space FROM unread WHERE memory > ? ORDER BY memory LIMIT ?"
            rows = fetch(self._connection, query, (self._retried, ROUND_MEMORIES_MAX))
            return _Batch(dict(rows), self._done, self._rebuilt, rows[-1][0] if rows else None)
        if self._rebuilt is not None:
            rows = fetch(self._source, _AFTER, (self._rebuilt, ROUND_MEMORIES_MAX, SEQ_BITS))
            return _Batch(dict(rows), self._done, rows[-1][0] if rows else None)
        query = "SELECT no, space, memories FROM journal WHERE no > ? ORDER BY no LIMIT 512"
        memories: dict[bytes, int] = {}
        reached = self._done
        for number, space, touched in self._source.execute(query, (self._done,)):
            memories.update((touched[at : at + 16], space) for at in range(0, len(touched), 16))
            reached = number
            if len(memories) >= ROUND_MEMORIES_MAX:
                break
        return _Batch(memories, reached) if reached > self._done else None

    def _replace(self, memories: Sequence[MemoryId], space: int) -> None:
        """Bring the rows of those memories up to date, by a few statements for all of them."""
        connection, ids = self._connection, apsw.carray(tuple(memories))
        if self._reader.space(space) not in self._keys:
            rows = [(memory, space) for memory in memories]
            connection.executemany("INSERT OR IGNORE INTO unread VALUES(?,?)", rows)
            return
        recalled = self._reader.recall_many(memories, self._reader.space(space))
        known: dict[bytes, int] = dict(fetch(connection, _KNOWN, (ids,)))
        fresh = itertools.count(1 + (connection.execute("SELECT max(no) FROM doc").get or 0))
        connection.executemany("DELETE FROM text WHERE rowid = ?", [(number,) for number in known.values()])
        connection.executemany("DELETE FROM doc WHERE no = ?", [(number,) for number in known.values()])
        connection.execute("DELETE FROM unread WHERE memory IN (SELECT value FROM carray(?))", (ids,))
        docs, texts, unread = [], [], []
        for memory, found in recalled.items():
            if found.latest.content is None:
                unread.append((memory, space))
                continue
            number = known.get(memory) or next(fresh)
            docs.append((number, memory, *_row(found, space)))
            texts.append((number, found.key, _text(found), " ".join(found.latest.content.tags)))
        connection.executemany(_DOC, docs)
        connection.executemany("INSERT INTO text(rowid, key, value, tags) VALUES(?,?,?,?)", texts)
        connection.executemany("INSERT INTO unread VALUES(?,?)", unread)

    def _progress(self) -> tuple[int, bytes | None]:
        journal, rebuilt = fetch(self._connection, "SELECT journal, rebuilt FROM progress")[0]
        return journal, rebuilt


def _open_index(path: Path, key: bytes, source: bytes, memory: apsw.Connection) -> apsw.Connection:
    """Open the index of this very store; one that is damaged, foreign, newer or behind is made anew."""
    newest, trimmed = fetch(memory, _JOURNAL)[0]
    try:
        connection = open_database(path, key, INDEX_LAYOUT)
        found = fetch(connection, "SELECT source, journal FROM progress")
        if found and found[0][0] == source and trimmed <= found[0][1] <= newest:
            return connection
        connection.close()
    except StoreError as error:
        _log.warning("the index is rebuilt: %s", error)
    with translated(path):
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            leftover.unlink(missing_ok=True)
    connection = open_database(path, key, INDEX_LAYOUT)
    with translated(path):
        connection.execute("INSERT INTO progress VALUES(1, ?, ?, x'')", (source, newest))
    return connection


def _row(recalled: Recalled, space: int) -> tuple[object, ...]:
    latest = recalled.latest
    assert latest.content is not None
    size = sum(len(part.content.value) for part in recalled.parts if part.content)
    return (
        space, recalled.key, latest.content.category, "\n".join(latest.content.tags), recalled.shape.value,
        latest.change.hlc, latest.change.dot.replica, recalled.expires_ms, len(recalled.siblings), size,
    )  # fmt: skip


def _text(recalled: Recalled) -> str:
    if recalled.shape is Shape.COUNTER:
        return ""
    values = [part.content.value for part in recalled.parts if part.content and part.content.form != Form.BYTES]
    return b"\n".join(values)[:_TEXT_MAX].decode(errors="replace")


def _be_nice() -> None:
    """Let merging go first; threads have a priority of their own on Linux alone."""
    setter: Callable[[int, int, int], None] | None = getattr(os, "setpriority", None)
    if setter is not None and os.uname().sysname == "Linux":
        setter(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
