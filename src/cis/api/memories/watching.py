"""Watching: what each commit changed and what expired, for as many watchers as there are, each at its own pace.

What waits for a watcher is ranges of logs, a few dozen bytes each; one that lets too many wait is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from cis.api.memories.memory_schema import WatchEvent, WatchMemories
from cis.api.memories.watch_events import Events, LogRange
from cis.api.reading import Readers
from cis.crdt import Policy
from cis.errors import Unavailable
from cis.model import ReplicaId, SpaceId
from cis.node.home.local import LocalNode
from cis.store.engine import Commit
from cis.wire.segment import RECORD

RANGES_MAX = 65_536


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


class WatchOperations:
    """Streams changes."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, feed: Feed) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._feed = feed

    async def watch(self, request: WatchMemories) -> AsyncIterator[WatchEvent]:
        """Yield what is committed and what expires from now on; `Unavailable` where it is cut off."""
        if request.space is not None:
            self._local.cluster.space(request.space)  # refused where there is none
        events = Events(self._local, self._policy, self._readers)
        with self._feed.subscribe() as subscription:
            await asyncio.to_thread(events.load)
            while True:
                async for event in self._next(subscription, events):
                    if request.space in (None, event.space) and event.key.startswith(request.prefix):
                        yield event

    async def _next(self, subscription: Subscription, events: Events) -> AsyncIterator[WatchEvent]:
        """Wait until there is something, and yield it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(subscription.changed.wait(), events.patience_s())
        subscription.changed.clear()
        if subscription.overflowed:
            raise Unavailable("this watcher reads too slowly and was cut off, so changes are missing: watch again")
        for event in await asyncio.to_thread(lambda: list(events.expired())):
            yield event
        while subscription.ranges:
            for event in await asyncio.to_thread(events.changes, subscription.ranges.popleft()):
                yield event
        if subscription.ended:
            raise Unavailable("the node ended, and watching with it: start it with `cis up`, then watch again")
