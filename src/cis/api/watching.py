"""Watching: the memories each commit touched, for as many watchers as there are, each at its own pace.

What waits for a watcher is ranges of logs, a few dozen bytes each; one that lets too many wait is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cis.api.memory_schema import WatchEvent, WatchMemories
from cis.api.reading import Readers
from cis.api.values import memory_of
from cis.crdt import Policy
from cis.errors import Unavailable
from cis.model import MemoryId, ReplicaId, SpaceId
from cis.model.change import SEQ_BITS
from cis.node.local import LocalNode
from cis.store.database import fetch
from cis.store.engine import Commit
from cis.store.read import Reader
from cis.wire.segment import RECORD

NAMES_MAX = 100_000
"""Keys remembered so that a deletion can be told by name; deletions of others come without."""
RANGES_MAX = 65_536
_TOUCHED = """
    SELECT substr(h.record, 9, 16) FROM space s JOIN replica r ON r.space = s.no
    JOIN head h ON h.rid BETWEEN (r.no << ?5) + ?3 AND (r.no << ?5) + ?4 WHERE s.id = ?1 AND r.id = ?2"""


@dataclass(frozen=True, slots=True)
class LogRange:
    """Changes first..last of one replica."""

    space: SpaceId
    replica: ReplicaId
    first: int
    last: int


class Subscription:
    """What one watcher has still to read."""

    def __init__(self, changed: asyncio.Event) -> None:
        self.ranges: deque[LogRange] = deque()
        self.changed = changed
        self.ended = False
        self.overflowed = False

    def put(self, ranges: Sequence[LogRange]) -> None:
        """Queue what a commit brought."""
        self.overflowed |= len(self.ranges) + len(ranges) > RANGES_MAX
        if not self.overflowed:
            self.ranges.extend(ranges)
        self.changed.set()

    def forget(self) -> bool:
        """Drop what is queued, and tell whether there was anything."""
        had = bool(self.ranges) or self.overflowed
        self.ranges.clear()
        self.overflowed = False
        return had


class Feed:
    """Tells watchers of each commit; make one per store, on the loop's thread."""

    def __init__(self, local: LocalNode) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscriptions: set[Subscription] = set()
        self._closed = False
        local.store.on_commit(self._on_commit_elsewhere)

    @contextlib.contextmanager
    def subscribe(self, changed: asyncio.Event | None = None) -> Iterator[Subscription]:
        """Yield a subscription that gathers commits until it is left; ``changed`` is what it sets, if given."""
        subscription = Subscription(changed or asyncio.Event())
        subscription.ended = self._closed
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all watching."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.ended = True
            subscription.changed.set()

    def _on_commit_elsewhere(self, commit: Commit) -> None:
        """Called on the writer's thread."""
        ranges = [LogRange(one.space, one.replica, one.first, one.last) for one in commit.merged if one.changes]
        for segment in commit.written:
            last = segment.first + len(segment.records) // RECORD.size - 1
            ranges.append(LogRange(SpaceId(segment.space), ReplicaId(segment.replica), segment.first, last))
        if ranges and not self._closed:
            self._loop.call_soon_threadsafe(self._on_commit, ranges)

    def _on_commit(self, ranges: Sequence[LogRange]) -> None:
        for subscription in self._subscriptions:
            subscription.put(ranges)


@dataclass(frozen=True)
class _Names:
    """What memories were called when last seen."""

    known: dict[bytes, str]

    def note(self, memory: bytes, key: str) -> None:
        if memory in self.known or len(self.known) < NAMES_MAX:
            self.known[memory] = key


class WatchOperations:
    """Streams changes."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, feed: Feed) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._feed = feed

    async def watch(self, request: WatchMemories) -> AsyncIterator[WatchEvent]:
        """Yield what is committed from now on."""
        wanted = self._local.cluster.space(request.space) if request.space is not None else None
        with self._feed.subscribe() as subscription:
            names = await asyncio.to_thread(self._names)
            while True:
                await subscription.changed.wait()
                subscription.changed.clear()
                if subscription.overflowed:
                    raise Unavailable("this watcher reads too slowly and was cut off: watch again")
                while subscription.ranges:
                    for space, event in await asyncio.to_thread(self._read, subscription.ranges.popleft(), names):
                        if wanted in (None, space) and event.key.startswith(request.prefix):
                            yield event
                if subscription.ended:
                    return

    def _names(self) -> _Names:
        with self._local.store.index() as index:
            rows: list[Any] = fetch(index, "SELECT memory, key FROM doc ORDER BY no DESC LIMIT ?", (NAMES_MAX,))
        return _Names(dict(rows))

    def _read(self, touched: LogRange, names: _Names) -> list[tuple[SpaceId, WatchEvent]]:
        if touched.space not in self._local.store.keys:
            return []  # kept blindly: whether a memory was set or deleted cannot be told
        values = (touched.space, touched.replica, touched.first, touched.last, SEQ_BITS)
        with self._readers.snapshot() as reader:
            rows: list[Any] = fetch(reader.connection, _TOUCHED, values)
            return self._events(reader, touched.space, [MemoryId(memory) for (memory,) in rows], names)

    def _events(
        self, reader: Reader, space: SpaceId, memories: Sequence[MemoryId], names: _Names
    ) -> list[tuple[SpaceId, WatchEvent]]:
        events = []
        name = self._local.cluster.space_name(space)
        for memory in memories:
            recalled = reader.recall_by_id(memory, space, self._policy)
            if recalled is None or recalled.expired(self._local.clock_ms()):
                event = WatchEvent("delete", names.known.get(memory, ""), name, None)
            else:
                names.note(memory, recalled.key)
                event = WatchEvent("set", recalled.key, name, memory_of(recalled, self._local.cluster))
            events.append((space, event))
        return events
