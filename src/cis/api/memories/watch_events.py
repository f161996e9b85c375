"""What a watcher is told: the changes in ranges of logs, each with its author, and memories whose time has passed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cis.api.memories.memory_schema import WatchEvent
from cis.api.memories.recalling import current, values_of
from cis.api.memories.values import memory_of
from cis.model import Hlc, MemoryId, ReplicaId, SpaceId, did_of, hlc_ms, node_of, short_id
from cis.model.change import SEQ_BITS
from cis.store.database import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cis.api.reading import Readers
    from cis.crdt import Policy
    from cis.node.home.local import LocalNode
    from cis.store.read import Reader, Recalled

NAMES_MAX = 100_000
"""Memories remembered, so that a deletion can be told by name, and an end at its time; others come without."""

Word = Literal["delete", "put", "count", "add", "remove"]
_WORDS: dict[int, Word] = {0: "delete", 1: "put", 2: "count", 3: "add", 4: "remove"}
_ENDING: frozenset[Word] = frozenset({"delete", "remove"})
_TOUCHED = """
    SELECT substr(h.record, 9, 16), substr(h.record, 33, 1), substr(h.record, 1, 8) FROM space s
    JOIN replica r ON r.space = s.no JOIN head h ON h.rid BETWEEN (r.no << ?5) + ?3 AND (r.no << ?5) + ?4
    WHERE s.id = ?1 AND r.id = ?2
    AND NOT EXISTS (SELECT 1 FROM held d WHERE d.memory = substr(h.record, 9, 16) AND d.rid = h.rid)
    ORDER BY h.rid"""
_KNOWN = "SELECT memory, key, space, expires_ms FROM doc ORDER BY no DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class LogRange:
    """Changes first..last of one replica."""

    space: SpaceId
    replica: ReplicaId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Cause:
    """What an event is told of: a change, or a time that has passed, which is nobody's."""

    event: Literal["set", "delete", "expire"]
    kind: Word | None
    replica: ReplicaId
    at_ms: int


class Events:
    """One watcher's: what memories were called when it last heard of them, and which of them will expire."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._names: dict[bytes, str] = {}
        self._ended: dict[bytes, None] = {}
        self._ends: list[tuple[int, bytes, SpaceId]] = []

    def load(self) -> None:
        """Learn what there is."""
        now_ms = self._local.clock_ms()
        with self._local.store.index() as index:
            rows: list[Any] = fetch(index, _KNOWN, (NAMES_MAX,))
        with self._readers.snapshot() as reader:
            for memory, key, number, expires_ms in rows:
                self._names[memory] = key
                if 0 < expires_ms <= now_ms:
                    self._end(memory)
                elif expires_ms:
                    heapq.heappush(self._ends, (expires_ms, memory, reader.space(number)))

    def patience_s(self) -> float | None:
        """Return the seconds until the next memory expires, None where none will."""
        return max(0.0, (self._ends[0][0] - self._local.clock_ms()) / 1000) if self._ends else None

    def expired(self) -> Iterator[WatchEvent]:
        """Yield the memories whose time has passed since they were last asked for."""
        while self._ends and self._ends[0][0] <= self._local.clock_ms():
            _, memory, space = heapq.heappop(self._ends)
            with self._readers.snapshot() as reader:
                recalled = reader.recall_by_id(MemoryId(memory), space)
                event = None if recalled is None else self._expiry(recalled)
            if event is not None:
                yield event

    def changes(self, touched: LogRange) -> list[WatchEvent]:
        """Return what a range of a log did; nothing of spaces kept blindly, where it cannot be told.

        Of a memory that was changed more than once in it the last change is told: they all show what there is now.
        """
        if touched.space not in self._local.store.keys:
            return []
        values = (touched.space, touched.replica, touched.first, touched.last, SEQ_BITS)
        last: dict[bytes, tuple[Word, int]] = {}
        with self._readers.snapshot() as reader:
            for memory, kind, stamp in fetch(reader.connection, _TOUCHED, values):
                word = _WORDS.get(kind[0])
                if word is not None:
                    last.pop(memory, None)
                    last[memory] = word, hlc_ms(Hlc(int.from_bytes(stamp, "big")))
            events = [
                self._change(reader, touched, MemoryId(memory), word, at_ms) for memory, (word, at_ms) in last.items()
            ]
        return [event for event in events if event is not None]

    def _change(self, reader: Reader, touched: LogRange, memory: MemoryId, word: Word, at_ms: int) -> WatchEvent | None:
        recalled = reader.recall_by_id(memory, touched.space)
        shown = current(recalled, self._policy, self._local.clock_ms())
        if recalled is not None and shown is not None:
            self._note(recalled, shown)
            cause = _Cause("set", word, touched.replica, at_ms)
            return self._event(touched.space, shown.key, shown, cause)
        if word not in _ENDING or memory in self._ended:
            return None  # what it wrote is gone already, and that is told of what ended it; or was told
        if word == "remove" and memory not in self._names:
            return None  # it took back the vector of a memory that had gone before
        self._end(memory)
        cause = _Cause("delete", word, touched.replica, at_ms)
        return self._event(touched.space, self._names.get(memory, ""), None, cause)

    def _end(self, memory: bytes) -> None:
        self._ended[memory] = None
        if len(self._ended) > NAMES_MAX:
            del self._ended[next(iter(self._ended))]

    def _expiry(self, recalled: Recalled) -> WatchEvent | None:
        now_ms = self._local.clock_ms()
        last = values_of(recalled)[0]
        if not last.expired(now_ms):
            return None
        shown = current(recalled, self._policy, now_ms)
        if shown is not None:
            self._note(recalled, shown)
        else:
            self._end(recalled.memory)
        cause = _Cause("expire", None, last.latest.change.dot.replica, last.expires_ms)
        return self._event(recalled.space, recalled.key, shown, cause)

    def _note(self, recalled: Recalled, shown: Recalled) -> None:
        memory = recalled.memory
        self._ended.pop(memory, None)
        if memory in self._names or len(self._names) < NAMES_MAX:
            self._names[memory] = shown.key
        if shown.expires_ms and len(self._ends) < NAMES_MAX:
            heapq.heappush(self._ends, (shown.expires_ms, memory, recalled.space))

    def _event(self, space: SpaceId, key: str, shown: Recalled | None, cause: _Cause) -> WatchEvent:
        cluster = self._local.cluster
        node = node_of(cause.replica)
        return WatchEvent(
            event=cause.event,
            key=key,
            space=cluster.space_name(space),
            memory=None if shown is None else memory_of(shown, cluster),
            kind=cause.kind,
            author=cluster.name_of(node),
            author_did=did_of(node),
            device=short_id(node),
            at_ms=cause.at_ms,
        )
