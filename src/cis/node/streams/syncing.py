"""Running a session of `cis.sync` over a stream: the machine decides, this performs.

A task of its own keeps the stream drained, so that two nodes that both send cannot block each other; what waits
is bounded in bytes, above what the window lets an honest peer have under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from cis.errors import CisError, Fault, PeerFault
from cis.model import NodeId, ReplicaId, SpaceId
from cis.net import Stream
from cis.node.home.local import LocalNode
from cis.node.streams.patience import unless_stalled
from cis.node.streams.snapshots import SnapshotThread
from cis.store.keeping import keep_of
from cis.store.log import CHANGESETS_PER_FRAME, LogReader
from cis.store.merge import Applied
from cis.store.ordering import Order
from cis.store.read import Reader
from cis.store.stability import give_up_unbacked
from cis.store.store import Store
from cis.sync import (
    WINDOW_BYTES,
    AddEntries,
    Effect,
    Fetch,
    Finished,
    Index,
    InspectOwn,
    Merge,
    Report,
    Send,
    SendFrame,
    Session,
    Standing,
)
from cis.wire.messages import FRAME_BYTES_MAX, decode, encode, is_segment
from cis.wire.segment import RECORD

_log = logging.getLogger(__name__)

INBOX_BYTES_MAX = WINDOW_BYTES + (2 << 20)
SESSION_STALL_S = 120.0
"""A session in which nothing happens for so long is given up; the next one resumes."""
SESSION_S_MAX = 900.0
"""So is one that takes longer: its snapshot keeps the store's journal from being reused."""


def standing(reader: Reader, space: SpaceId) -> Standing:
    """Return what a snapshot holds of a space, and up to where that is stable."""
    keep = keep_of(reader.connection, space)
    return Standing(reader.vector(space), reader.floor(space), reader.owes(space), keep.partial, keep.unwanted)


class StoreIndex:
    """`cis.sync.Index` over a snapshot of the store, of the spaces a peer may see."""

    def __init__(
        self, reader: Reader, spaces: Sequence[SpaceId], changesets_per_frame: int = CHANGESETS_PER_FRAME
    ) -> None:
        self._standings = {space: standing(reader, space) for space in spaces}
        self._logs = {space: LogReader(reader.connection, space, changesets_per_frame) for space in spaces}

    def standings(self) -> Mapping[SpaceId, Standing]:
        """Return what the snapshot holds of each space, and up to where that is stable."""
        return self._standings

    def segment(
        self, space: SpaceId, replica: ReplicaId, first: int, last: int, unwanted: Collection[int] = ()
    ) -> tuple[bytes, int] | None:
        """Return an encoded segment and its last number."""
        segment = self._logs[space].segment(replica, first, last, unwanted)
        if segment is None:
            return None
        frame = encode(segment)
        return frame, segment.first + len(segment.records) // RECORD.size - 1


def order_of(standings: Mapping[SpaceId, Standing], session: Session) -> Order:
    """Return the order in which a session brings what was lacking by these standings."""
    return Order({space: standing.vector for space, standing in standings.items()}, session.theirs)


def give_up_floors(store: Store, standings: Mapping[SpaceId, Standing], report: Report) -> None:
    """After a session that ended well: give up what was taken over of floors that the peer could not back by it.

    ``standings`` are those of before. A liar could else keep a node waiting for what there is not; one that keeps not
    all bodies gives no more than it holds.
    """
    for space, stated in report.stated.items():
        backing = space not in report.to_compare and space not in report.partial
        if standings[space].catching_up and backing:
            given_up: bool = store.execute(partial(give_up_unbacked, space=space, stated=stated)).result()
            if given_up:
                _log.warning("a peer stated that all members had changes it could not give: they are not waited for")


@dataclass(frozen=True, slots=True)
class _Fetched:
    fetch: Fetch
    found: tuple[bytes, int] | None


@dataclass(frozen=True, slots=True)
class _Merged:
    size: int
    outcome: Applied | CisError


_Event = bytes | _Fetched | _Merged | CisError


async def run_session(local: LocalNode, stream: Stream, peer: NodeId) -> Report:
    """Hold one session to its end; raises `PeerFault`, StreamReset, ConnectionLost or TimedOut."""
    with SnapshotThread(local.store, "cis-session") as snapshot:
        spaces, per_frame = local.cluster.shared_with(peer), local.cluster.exchange.changesets_per_frame
        index = await snapshot.run(lambda: StoreIndex(snapshot.open(), spaces, per_frame))
        return await _Runner(local, stream, index, snapshot).run()


class _Inbox:
    """What waits for the session: frames, bounded in bytes by making the reader wait, and our own answers."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def put_frame(self, frame: bytes) -> None:
        """Queue a frame once there is room: an honest sender's window always fits."""
        await self._room.wait()
        self._bytes += len(frame)
        if self._bytes > INBOX_BYTES_MAX:
            self._room.clear()
        self._events.put_nowait(frame)

    def put(self, event: _Event) -> None:
        """Queue something this node itself brought about."""
        self._events.put_nowait(event)

    async def get(self) -> _Event:
        """Return the next event."""
        event = await self._events.get()
        if isinstance(event, bytes):
            self._bytes -= len(event)
            if self._bytes <= INBOX_BYTES_MAX:
                self._room.set()
        return event


class _Runner:
    def __init__(self, local: LocalNode, stream: Stream, index: Index, snapshot: SnapshotThread) -> None:
        self._local = local
        self._stream = stream
        self._index = index
        self._snapshot = snapshot
        self._events = _Inbox()
        self._arrived: list[bytes] = []
        self._session = Session(index.standings(), local.cluster.membership, local.store.replica)
        self._order = order_of(index.standings(), self._session)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Report:
        async with asyncio.timeout(SESSION_S_MAX), asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            try:
                await self._drive(group)
            finally:
                reading.cancel()
        report = self._session.report
        await asyncio.to_thread(give_up_floors, self._local.store, self._index.standings(), report)
        return report

    async def _drive(self, group: asyncio.TaskGroup) -> None:
        await self._perform(self._session.start(), group)
        while not self._session.finished:
            async with unless_stalled(self._stream, SESSION_STALL_S):
                await self._perform(self._react(await self._events.get()), group)

    def _react(self, event: _Event) -> list[Effect]:
        match event:
            case bytes():
                if is_segment(event):
                    self._arrived.append(event)
                    return self._session.receive_segment(len(event))
                return self._session.receive(decode(event))
            case _Fetched(fetch, found):
                frame, last = found if found is not None else (None, fetch.last)
                return self._session.fetched(fetch, frame, last)
            case _Merged(size, Applied() as applied):
                return self._session.merged(size, applied.changes)
            case _Merged(size, PeerFault(fault=Fault.FORKED | Fault.EXCESSIVE | Fault.CUT) as aside):
                self._session.report.refused = aside.detail  # that log stays as it is; all else goes on
                return self._session.merged(size, 0)
            case _Merged(_, CisError() as error):
                raise error
            case CisError():
                raise event
        raise AssertionError(event)

    async def _perform(self, effects: list[Effect], group: asyncio.TaskGroup) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    await self._stream.write_frame(encode(message))
                case SendFrame(frame):
                    await self._stream.write_frame(frame, bulk=True)
                case Fetch():
                    group.create_task(self._fetch(effect))
                case Merge(size):
                    self._merge(self._arrived.pop(0), size)
                case AddEntries(entries):
                    await asyncio.to_thread(self._local.cluster.add_entries, entries, self._local.store)
                case InspectOwn():
                    await asyncio.to_thread(self._inspect_own, effect)
                case Finished():
                    self._stream.finish()

    async def _fetch(self, fetch: Fetch) -> None:
        asked = (fetch.space, fetch.replica, fetch.first, fetch.last, fetch.unwanted)
        found = await self._snapshot.run(self._index.segment, *asked)
        self._events.put(_Fetched(fetch, found))

    def _merge(self, frame: bytes, size: int) -> None:
        def done(future: Future[Applied]) -> None:
            error = future.exception()
            outcome = future.result() if error is None else error
            assert isinstance(outcome, Applied | CisError)
            self._loop.call_soon_threadsafe(self._events.put, _Merged(size, outcome))

        self._local.store.merge(frame, self._order).add_done_callback(done)

    def _inspect_own(self, seen: InspectOwn) -> None:
        """A peer that holds more of this replica's log, or another, has seen a life of it that this store has not."""
        store = self._local.store
        with store.snapshot() as reader:
            held = reader.vector(seen.space).contiguous(store.replica)
            link = reader.link_at(seen.space, store.replica, seen.seq)
            if link is None and seen.seq <= reader.floor(seen.space).contiguous(store.replica):
                return  # collected since the peer had it
        if seen.seq > held or (seen.head and (link is None or not link.startswith(seen.head))):
            _log.warning("this store was rolled back or cloned: it goes on under a new incarnation")
            store.renew_incarnation()

    async def _read(self) -> None:
        """Keep the stream drained; its end or failure is an event like any other."""
        try:
            while (frame := await self._stream.read_frame(FRAME_BYTES_MAX)) is not None:
                await self._events.put_frame(frame)
            self._events.put(PeerFault(Fault.NONE, "the peer ended the session early"))
        except CisError as error:
            self._events.put(error)
