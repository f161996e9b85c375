"""index.db: names, categories and full text, filled behind the merge; rebuilt whenever it is missing or foreign.

The journal of memory.db names the memories each commit touched; a thread of its own looks each up and brings
its row here up to date. `list` and `search` first wait, within a bound, until the index has reached the commit
that was the last when they were asked.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from cis.crdt import Shape
from cis.errors import StoreError, TimedOut
from cis.model import MemoryId, SpaceId
from cis.store.database import Layout, open_database, open_reader, transaction, translated
from cis.store.read import Reader, Recalled
from cis.store.schema import INDEX_MIGRATIONS
from cis.trust.sealing import SpaceKeys
from cis.wire.content import Form

_log = logging.getLogger(__name__)

INDEX_LAYOUT = Layout(application_id=0x63697369, migrations=INDEX_MIGRATIONS, cache_kib=16_384)
ROUND_MEMORIES_MAX = 2048
"""Memories per transaction of the index: a reader waits for no more than this."""
NICENESS = 10
_TEXT_MAX = 64 * 1024


class Indexer:
    """Keeps index.db in step with memory.db on a thread of its own."""

    def __init__(
        self, memory_path: Path, index_path: Path, key: bytes, keys: dict[SpaceId, SpaceKeys], store_id: bytes
    ) -> None:
        self._index_path = index_path
        self._source = open_reader(memory_path, key)
        self._reader = Reader(self._source, keys)
        self._connection = _open_index(index_path, key, store_id)
        self._wake = threading.Event()
        self._closing = False
        self._reached = threading.Condition()
        self._done = self._progress()
        self._thread = threading.Thread(target=self._serve, name="cis-index", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that memory.db has new commits; from any thread."""
        self._wake.set()

    def wait_reached(self, journal: int, timeout_s: float) -> None:
        """Return once the index holds everything up to that row of the journal, or raise `TimedOut`."""
        with self._reached:
            if not self._reached.wait_for(lambda: self._done >= journal or self._closing, timeout_s):
                raise TimedOut(
                    f"the index is still catching up ({journal - self._done} commits behind): "
                    "ask again in a moment, or get the memory by its key"
                )

    @property
    def done(self) -> int:
        """The last row of the journal that is indexed."""
        return self._done

    def close(self) -> None:
        """Stop after the round in hand."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _serve(self) -> None:
        _be_nice()
        while not self._closing:
            self._wake.clear()
            try:
                while not self._closing and self._round():
                    pass
            except (StoreError, apsw.Error):
                _log.exception("indexing stopped; it goes on with the next commit")
            self._wake.wait()
        self._connection.close()
        self._source.close()

    def _round(self) -> bool:
        """Index the next rows of the journal; False when there are none."""
        query = "SELECT no, space, memories FROM journal WHERE no > ? ORDER BY no LIMIT 512"
        memories: dict[bytes, int] = {}
        reached = self._done
        with translated(self._index_path), self._source:
            for number, space, touched in self._source.execute(query, (self._done,)):
                memories.update((touched[at : at + 16], space) for at in range(0, len(touched), 16))
                reached = number
                if len(memories) >= ROUND_MEMORIES_MAX:
                    break
            if reached == self._done:
                return False
            with transaction(self._connection):
                for memory, space in memories.items():
                    self._update(MemoryId(memory), space)
                self._connection.execute("UPDATE progress SET journal = ?", (reached,))
        with self._reached:
            self._done = reached
            self._reached.notify_all()
        return True

    def _update(self, memory: MemoryId, space: int) -> None:
        execute = self._connection.execute
        recalled = self._reader.recall_by_id(memory, self._reader.space(space))
        number: int | None = execute("SELECT no FROM doc WHERE memory = ?", (memory,)).get
        if number is not None:
            execute("DELETE FROM text WHERE rowid = ?", (number,))
        if recalled is None or recalled.latest.content is None:
            execute("DELETE FROM doc WHERE memory = ?", (memory,))
            return
        row = _row(recalled, space)
        if number is None:
            number = execute(
                "INSERT INTO doc(memory, space, key, category, tags, shape, hlc, author, expires_ms, siblings, bytes) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?) RETURNING no",
                (memory, *row),
            ).get
        else:
            execute(
                "UPDATE doc SET space=?, key=?, category=?, tags=?, shape=?, hlc=?, author=?, expires_ms=?, "
                "siblings=?, bytes=? WHERE no=?",
                (*row, number),
            )
        words = (number, recalled.key, _text(recalled), " ".join(recalled.latest.content.tags))
        execute("INSERT INTO text(rowid, key, value, tags) VALUES(?,?,?,?)", words)

    def _progress(self) -> int:
        progress: int = self._connection.execute("SELECT journal FROM progress").get
        return progress


def _open_index(path: Path, key: bytes, store_id: bytes) -> apsw.Connection:
    """Open the index of this very store; one that is damaged, foreign or of another format is made anew."""
    try:
        connection = open_database(path, key, INDEX_LAYOUT)
        source = connection.execute("SELECT source FROM progress").get
        if source == store_id:
            return connection
        if source is None:
            connection.execute("INSERT INTO progress VALUES(1, ?, 0)", (store_id,))
            return connection
        connection.close()
    except StoreError as error:
        _log.warning("the index is rebuilt: %s", error)
    for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        leftover.unlink(missing_ok=True)
    connection = open_database(path, key, INDEX_LAYOUT)
    connection.execute("INSERT INTO progress VALUES(1, ?, 0)", (store_id,))
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
