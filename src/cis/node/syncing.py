"""Running a session of `cis.sync` over a stream: the machine decides, this performs.

A reader of its own keeps the stream drained, so that two nodes that both send cannot block each other; what
waits is bounded by the session's window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from cis.errors import CisError, Fault, PeerFault
from cis.model import ReplicaId, SpaceId, VersionVector
from cis.net import Stream
from cis.node.local import LocalNode
from cis.store.log import LogReader
from cis.store.merge import Applied
from cis.store.read import Reader
from cis.sync import (
    AddEntries,
    Effect,
    Fetch,
    Finished,
    InspectOwn,
    Merge,
    Report,
    Send,
    SendFrame,
    Session,
)
from cis.wire.messages import FRAME_BYTES_MAX, decode, encode, is_segment

SESSION_STALL_S = 60.0
"""A session in which nothing happens for so long is given up; the next one resumes."""


class StoreIndex:
    """`cis.sync.Index` over a snapshot of the store, of the spaces a peer may see."""

    def __init__(self, reader: Reader, spaces: Sequence[SpaceId]) -> None:
        self._vectors = {space: reader.vector(space) for space in spaces}
        self._logs = {space: LogReader(reader.connection, space) for space in spaces}

    def vectors(self) -> Mapping[SpaceId, VersionVector]:
        """Return the vectors of the snapshot."""
        return self._vectors

    def segment(self, space: SpaceId, replica: ReplicaId, first: int, last: int) -> tuple[bytes, int] | None:
        """Return an encoded segment and its last number."""
        segment = self._logs[space].segment(replica, first, last)
        if segment is None:
            return None
        frame = encode(segment)
        return frame, segment.first + len(segment.records) // 40 - 1


@dataclass(frozen=True, slots=True)
class _Fetched:
    fetch: Fetch
    found: tuple[bytes, int] | None


@dataclass(frozen=True, slots=True)
class _Merged:
    size: int
    outcome: Applied | CisError


_Event = bytes | _Fetched | _Merged | CisError


async def run_session(local: LocalNode, stream: Stream) -> Report:
    """Hold one session to its end; raises `PeerFault`, StreamReset, ConnectionLost or TimedOut."""
    spaces = [local.cluster.public]
    reader = await asyncio.to_thread(_begin, local)
    try:
        runner = _Runner(local, stream, StoreIndex(reader, spaces))
        return await runner.run()
    finally:
        await asyncio.to_thread(reader.connection.close)


def _begin(local: LocalNode) -> Reader:
    reader = local.store.open_reader()
    reader.connection.execute("BEGIN")
    return reader


class _Runner:
    def __init__(self, local: LocalNode, stream: Stream, index: StoreIndex) -> None:
        self._local = local
        self._stream = stream
        self._index = index
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._arrived: list[bytes] = []
        self._session = Session(index.vectors(), local.cluster.membership, own=local.store.replica)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Report:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            try:
                await self._drive(group)
            finally:
                reading.cancel()
        return self._session.report

    async def _drive(self, group: asyncio.TaskGroup) -> None:
        await self._perform(self._session.start(), group)
        while not self._session.finished:
            async with asyncio.timeout(SESSION_STALL_S):
                event = await self._events.get()
            await self._perform(self._react(event), group)

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
                    await self._stream.write_frame(frame)
                case Fetch():
                    group.create_task(self._fetch(effect))
                case Merge(size):
                    self._merge(self._arrived.pop(0), size)
                case AddEntries(entries):
                    await asyncio.to_thread(self._local.cluster.add_entries, entries, self._local.store)
                case InspectOwn(space, seq):
                    await asyncio.to_thread(self._inspect_own, space, seq)
                case Finished():
                    self._stream.finish()

    async def _fetch(self, fetch: Fetch) -> None:
        found = await asyncio.to_thread(self._index.segment, fetch.space, fetch.replica, fetch.first, fetch.last)
        self._events.put_nowait(_Fetched(fetch, found))

    def _merge(self, frame: bytes, size: int) -> None:
        def done(future: Future[Applied]) -> None:
            error = future.exception()
            outcome = future.result() if error is None else error
            assert isinstance(outcome, Applied | CisError)
            self._loop.call_soon_threadsafe(self._events.put_nowait, _Merged(size, outcome))

        self._local.store.merge(frame).add_done_callback(done)

    def _inspect_own(self, space: SpaceId, seq: int) -> None:
        """A peer that holds more of this replica's log than this store does has seen a later life of it."""
        with self._local.store.snapshot() as reader:
            held = reader.vector(space).contiguous(self._local.store.replica)
        if seq > held:
            self._local.store.renew_incarnation()

    async def _read(self) -> None:
        """Keep the stream drained; its end or failure is an event like any other."""
        try:
            while (frame := await self._stream.read_frame(FRAME_BYTES_MAX)) is not None:
                self._events.put_nowait(frame)
            self._events.put_nowait(PeerFault(Fault.NONE, "the peer ended the session early"))
        except CisError as error:
            self._events.put_nowait(error)
