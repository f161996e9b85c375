"""One authenticated connection: the streams a peer opens on it, and the live changes sent over it.

`serve` is the boundary that turns whatever goes wrong with a peer into the end of that one link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cis.errors import CisError, Fault, PeerFault
from cis.model import NodeId
from cis.net import Connection, ConnectionLost, Stream
from cis.net.closing import CloseReason, StreamReset
from cis.node import events
from cis.node.local import LocalNode
from cis.node.syncing import run_session
from cis.wire.messages import FRAME_BYTES_MAX, Open, Ping, Pong, Records, decode, encode, is_segment

_log = logging.getLogger(__name__)

LIVE_BYTES_MAX = 4 << 20
"""Live changes that may wait for a slow peer; beyond that they are dropped and a session brings them."""
STREAM_OPENING_S = 5.0
_PING_BYTES_MAX = 64
_BLAMELESS = frozenset({Fault.NONE, Fault.BUSY, Fault.FORKED, Fault.EXCESSIVE})
"""What a session may fail with through no fault of the peer's: the log of a cloned disk is passed on in good faith."""


@dataclass(frozen=True)
class Surroundings:
    """What a link needs of its node: the local part, where to report events, the records to hand on, and take in."""

    local: LocalNode
    report: Callable[[events.Event], None]
    records: Callable[[], list[bytes]]
    on_record: Callable[[bytes], None]


class PeerLink:
    """Serves one connection until it ends."""

    def __init__(self, link: events.LinkId, node: NodeId, connection: Connection, around: Surroundings) -> None:
        self.id = link
        self.node = node
        self.connection = connection
        self._around = around
        self._live: deque[bytes] = deque()
        self._live_bytes = 0
        self._live_ready = asyncio.Event()
        self._own_session = False
        self._serving = asyncio.Lock()
        self._sessions_waiting = 0
        self._pings = 0

    async def serve(self) -> CloseReason:
        """Take streams until the connection ends; returns why."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_live())
                while True:
                    stream = await self.connection.accept_stream()
                    group.create_task(self._guard(self._serve_stream(stream)))
        except* ConnectionLost:
            pass
        return await self.connection.wait_closed()

    async def synchronise(self) -> None:
        """Hold a session begun here and report its end; never raises but when cancelled."""
        report, error = None, ""
        self._own_session = True
        try:
            async with await self.connection.open_stream() as stream:
                await stream.write_frame(encode(Open("sync")))
                report = await run_session(self._around.local, stream)
        except* StreamReset:
            pass  # superseded by the session the peer began
        except* ConnectionLost as group:
            error = str(group.exceptions[0])
        except* (CisError, TimeoutError) as group:
            error = self._blame(group.exceptions[0])
        finally:
            self._own_session = False
            self._around.report(events.SyncEnded(self.id, report, error))

    def push(self, frames: tuple[bytes, ...]) -> None:
        """Queue live segments; a peer that lets too many wait loses them all and is reported."""
        self._live.extend(frames)
        self._live_bytes += sum(map(len, frames))
        if self._live_bytes > LIVE_BYTES_MAX:
            self._live.clear()
            self._live_bytes = 0
            self._around.report(events.Overflowed(self.id))
        self._live_ready.set()

    async def ping(self) -> tuple[float, int]:
        """Return (seconds there and back, the peer's clock in Unix ms)."""
        self._pings += 1
        number = self._pings
        async with await self.connection.open_stream() as stream:
            began = time.perf_counter()  # the loop's clock may count in milliseconds
            await stream.write_frame(encode(Open("ping")))
            await stream.write_frame(encode(Ping(number)))
            frame = await stream.read_frame(_PING_BYTES_MAX)
            took = time.perf_counter() - began
            stream.finish()
        answer = decode(frame) if frame is not None else None
        if not isinstance(answer, Pong) or answer.number != number:
            raise PeerFault(Fault.MALFORMED, "a ping was answered by something else")
        return took, answer.clock_ms

    async def introduce(self) -> None:
        """Tell the peer how to reach this node and the others it knows of."""
        async with await self.connection.open_stream() as stream:
            await stream.write_frame(encode(Open("records")))
            await stream.write_frame(encode(Records(self._around.records())))
            stream.finish()

    # --- what the peer opens -------------------------------------------------------------------------------------

    async def _guard(self, serving: object) -> None:
        """Run something for this peer; a fault of the peer's ends the link with its reason."""
        try:
            await serving  # type: ignore[misc] # a coroutine
        except* (StreamReset, ConnectionLost):
            pass
        except* PeerFault as group:
            self._blame(group.exceptions[0])
        except* (CisError, TimeoutError) as group:
            _log.warning("a stream of %s failed: %s", self._name(), group.exceptions[0])

    async def _serve_stream(self, stream: Stream) -> None:
        async with stream:
            async with asyncio.timeout(STREAM_OPENING_S):
                frame = await stream.read_frame(FRAME_BYTES_MAX)
            opening = decode(frame) if frame is not None else None
            if not isinstance(opening, Open):
                raise PeerFault(Fault.MALFORMED, "a stream that does not say what it is for")
            match opening.purpose:
                case "sync":
                    await self._serve_sync(stream)
                case "live":
                    await self._receive_live(stream)
                case "ping":
                    await self._answer_pings(stream)
                case "records":
                    await self._receive_records(stream)
                case _:
                    stream.reset(Fault.VERSION)

    async def _serve_sync(self, stream: Stream) -> None:
        if self._own_session and self._around.local.identity.node < self.node:
            stream.reset(Fault.DUPLICATE)  # both began at once: the session of the smaller id goes on
            return
        if self._sessions_waiting:
            stream.reset(Fault.BUSY)
            return
        self._sessions_waiting += 1
        async with self._serving:
            self._sessions_waiting -= 1
            report = await run_session(self._around.local, stream)
        self._around.report(events.SyncEnded(self.id, report))

    async def _receive_live(self, stream: Stream) -> None:
        while (frame := await stream.read_frame(FRAME_BYTES_MAX)) is not None:
            if not is_segment(frame):
                raise PeerFault(Fault.MALFORMED, "a live stream carries segments alone")
            try:
                applied = await asyncio.wrap_future(self._around.local.store.merge(frame))
                if applied.changes:
                    self._around.report(events.Learned(self.id))
            except PeerFault as fault:
                if fault.fault not in _BLAMELESS:
                    raise
                self._around.report(events.SyncAsked(self.node))

    async def _answer_pings(self, stream: Stream) -> None:
        while (frame := await stream.read_frame(_PING_BYTES_MAX)) is not None:
            ping = decode(frame)
            if not isinstance(ping, Ping):
                raise PeerFault(Fault.MALFORMED, "a ping stream carries pings alone")
            await stream.write_frame(encode(Pong(ping.number, self._around.local.clock_ms())))

    async def _receive_records(self, stream: Stream) -> None:
        frame = await stream.read_frame(FRAME_BYTES_MAX)
        message = decode(frame) if frame is not None else None
        if not isinstance(message, Records):
            raise PeerFault(Fault.MALFORMED, "a records stream carries records alone")
        for raw in message.records:
            self._around.on_record(raw)

    # --- sending -------------------------------------------------------------------------------------------------

    async def _send_live(self) -> None:
        stream: Stream | None = None
        while True:
            await self._live_ready.wait()
            self._live_ready.clear()
            while self._live:
                if stream is None:
                    stream = await self.connection.open_stream()
                    await stream.write_frame(encode(Open("live")))
                frame = self._live.popleft()
                self._live_bytes -= len(frame)
                try:
                    await stream.write_frame(frame)
                except StreamReset:
                    stream = None
                    self._around.report(events.Overflowed(self.id))

    def _blame(self, error: BaseException) -> str:
        """Close the link for a fault of the peer's; other errors leave it open. Returns the error's text."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, PeerFault) and error.fault not in _BLAMELESS:
            _log.warning("closing the connection with %s: %s", self._name(), error)
            self.connection.close(error.fault, error.detail)
        return str(error) or type(error).__name__

    def _name(self) -> str:
        return self._around.local.cluster.name_of(self.node)
