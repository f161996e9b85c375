"""One authenticated connection: the streams a peer opens on it, and the gossip said over it.

`serve` is the boundary that turns whatever goes wrong with a peer into the end of that one link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cis.errors import CisError, Fault, PeerFault
from cis.model import NodeId
from cis.net import Connection, ConnectionLost, Stream
from cis.net.closing import CloseReason, StreamReset
from cis.node.core import events
from cis.node.home.local import LocalNode
from cis.node.streams.auditing import AuditSummary, run_audit
from cis.node.streams.comparing import Vectors, answer_vectors, ask_vectors
from cis.node.streams.gossiping import GossipIn, GossipOut
from cis.node.streams.lending import Borrowing, answer_bodies, ask_bodies
from cis.node.streams.paces import LENT_UNITS, Quotas, Tally, gossip_pace, stream_pace, units_of_stream
from cis.node.streams.syncing import run_session
from cis.wire.gossip import Gossip, GossipMessage
from cis.wire.messages import FRAME_BYTES_MAX, Open, Ping, Pong, Records, decode, encode

_log = logging.getLogger(__name__)

STREAM_OPENING_S = 5.0
LENDING_WAITING_MAX = 8
"""Questions for values of one peer that are answered or wait for that."""
_PING_BYTES_MAX = 64
BLAMELESS = frozenset({Fault.NONE, Fault.BUSY, Fault.FORKED, Fault.EXCESSIVE, Fault.CUT})
"""What may go wrong through no fault of the peer's: the log of a cloned disk is passed on in good faith."""


@dataclass(frozen=True)
class Surroundings:
    """What a link needs of its node: the local part, where to report events, where to hand records.

    ``vetted`` returns a gossip message without the records that are not what they claim to be, None to leave it out.
    ``signals`` serves a stream of signals.
    """

    local: LocalNode
    report: Callable[[events.Event], None]
    on_record: Callable[[bytes], None]
    vetted: Callable[[GossipMessage], GossipMessage | None]
    signals: Callable[[NodeId, Stream], Awaitable[None]]
    tally: Tally = field(default_factory=Tally)


class PeerLink:
    """Serves one connection until it ends."""

    def __init__(self, link: events.LinkId, node: NodeId, connection: Connection, around: Surroundings) -> None:
        self.id = link
        self.node = node
        self.connection = connection
        self._around = around
        self.gossip_out = GossipOut(connection, lambda: around.report(events.Overflowed(link)))
        self.gossip_in = GossipIn(self._on_gossip, gossip_pace(around.tally))
        self._stream_pace = stream_pace(around.tally)
        clock = asyncio.get_running_loop().time
        self._quotas = Quotas(node, around.tally, clock, lambda: around.report(events.Missed(link)))
        self.blamed = False
        """whether the peer was at fault"""
        self._own_session = False
        self._serving = asyncio.Lock()
        self._sessions_waiting = 0
        self._auditing = False
        self._lending = asyncio.Lock()
        self._lending_waiting = 0
        self._pings = 0

    async def serve(self) -> CloseReason:
        """Take streams until the connection ends; returns why."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.gossip_out.run())
                while True:
                    await self._stream_pace.wait()
                    stream = await self.connection.accept_stream()
                    group.create_task(self._guard(self._serve_stream, stream))
        except* ConnectionLost:
            pass
        return await self.connection.wait_closed()

    async def synchronise(self) -> None:
        """Hold a session begun here and report its end; never raises but when cancelled."""
        report, error = None, ""
        self._own_session = True
        try:
            async with await self.connection.open_stream("sync") as stream:
                await stream.write_frame(encode(Open("sync")))
                report = await run_session(self._around.local, stream, self.node)
        except* StreamReset:
            pass  # superseded by the session the peer began
        except* ConnectionLost as group:
            error = str(group.exceptions[0])
        except* (CisError, TimeoutError) as group:
            error = self.blame(group.exceptions[0])
        finally:
            self._own_session = False
            self._around.report(events.SyncEnded(self.id, report, error))

    async def audit(self, *, checked: bool = True) -> AuditSummary:
        """Hold an audit begun here, having ``checked`` the own store first; raises what `run_audit` does."""
        with self._in_use():
            async with await self.connection.open_stream("audit") as stream:
                await stream.write_frame(encode(Open("audit")))
                return await run_audit(self._around.local, stream, self.node, initiator=True, checked=checked)

    async def compare_whole(self) -> None:
        """Compare whole states, as one of the two collected what the other never had, and report the end of it."""
        error = ""
        try:
            await self.audit(checked=False)
        except* ConnectionLost as group:
            error = str(group.exceptions[0])
        except* (CisError, TimeoutError) as group:
            error = self.blame(group.exceptions[0])
        finally:
            self._around.report(events.Compared(self.id, error))

    async def ping(self) -> tuple[float, int]:
        """Return (seconds there and back, the peer's clock in Unix ms)."""
        self._pings += 1
        number = self._pings
        async with await self.connection.open_stream("ping") as stream:
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

    async def compare(self, own: Vectors) -> None:
        """Ask what the peer holds of what is held here, and report it; raises as `ask_vectors`."""
        vectors = await ask_vectors(self.connection, self._around.local, own, self.node)
        self._around.report(events.Stated(self.id, vectors))

    async def borrow(self, borrowing: Borrowing) -> None:
        """Ask the peer for values that are not kept here; raises as `ask_bodies`."""
        with self._in_use():
            await ask_bodies(self.connection, borrowing)

    async def introduce(self, records: list[bytes]) -> None:
        """Tell the peer how to reach nodes: this one and others."""
        async with await self.connection.open_stream("records") as stream:
            await stream.write_frame(encode(Open("records")))
            await stream.write_frame(encode(Records(records)))
            stream.finish()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Say for how long the link must not be closed as not needed."""
        self._around.report(events.Served(self.id, begun=True))
        try:
            yield
        finally:
            self._around.report(events.Served(self.id, begun=False))

    # --- what the peer opens -------------------------------------------------------------------------------------

    async def _guard(self, serve: Callable[[Stream], Awaitable[None]], stream: Stream) -> None:
        """Serve a stream of this peer's; a fault of the peer's ends the link with its reason."""
        try:
            await serve(stream)
        except* (StreamReset, ConnectionLost):
            pass
        except* PeerFault as group:
            self.blame(group.exceptions[0])
        except* (CisError, TimeoutError) as group:
            _log.warning("a stream of %s failed: %s", self._name(), group.exceptions[0])

    async def _serve_stream(self, stream: Stream) -> None:
        async with stream:
            async with asyncio.timeout(STREAM_OPENING_S):
                frame = await stream.read_frame(FRAME_BYTES_MAX)
            opening = decode(frame) if frame is not None else None
            if not isinstance(opening, Open):
                raise PeerFault(Fault.MALFORMED, "a stream that does not say what it is for")
            self.connection.ledger.aim(stream, opening.purpose)
            self._stream_pace.spend(units_of_stream(opening.purpose))
            match opening.purpose:
                case "sync":
                    await self._serve_sync(stream)
                case "audit":
                    await self._serve_audit(stream)
                case "gossip":
                    await self.gossip_in.serve(stream)
                case "ping":
                    await self._answer_pings(stream)
                case "vectors":
                    await answer_vectors(stream, self._around.local, self.node)
                case "bodies":
                    await self._serve_bodies(stream)
                case "signal":
                    await self._around.signals(self.node, stream)
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
            with self._in_use():
                report = await run_session(self._around.local, stream, self.node)
        self._around.report(events.SyncEnded(self.id, report))

    async def _serve_audit(self, stream: Stream) -> None:
        if self._auditing:
            stream.reset(Fault.BUSY)
            return
        self._auditing = True
        try:
            with self._in_use():
                await run_audit(self._around.local, stream, self.node, initiator=False)
        finally:
            self._auditing = False

    async def _serve_bodies(self, stream: Stream) -> None:
        """Lend values, to one question after the other; more than wait already are told to ask another member."""
        if self._lending_waiting >= LENDING_WAITING_MAX:
            stream.reset(Fault.BUSY)
            return
        self._lending_waiting += 1
        try:
            async with self._lending:
                with self._in_use():
                    lent = await answer_bodies(stream, self._around.local, self.node)
            self._stream_pace.spend(LENT_UNITS * lent)
        finally:
            self._lending_waiting -= 1

    async def _answer_pings(self, stream: Stream) -> None:
        while (frame := await stream.read_frame(_PING_BYTES_MAX)) is not None:
            ping = decode(frame)
            if not isinstance(ping, Ping):
                raise PeerFault(Fault.MALFORMED, "a ping stream carries pings alone")
            self._stream_pace.spend(1.0)
            await self._stream_pace.wait()
            await stream.write_frame(encode(Pong(ping.number, self._around.local.clock_ms())))

    async def _receive_records(self, stream: Stream) -> None:
        frame = await stream.read_frame(FRAME_BYTES_MAX)
        message = decode(frame) if frame is not None else None
        if not isinstance(message, Records):
            raise PeerFault(Fault.MALFORMED, "a records stream carries records alone")
        for raw in message.records:
            self._around.on_record(raw)

    def _on_gossip(self, message: GossipMessage) -> None:
        if isinstance(message, Gossip) and not self._quotas.admit(message.body):
            return
        vetted = self._around.vetted(message)
        if vetted is not None:
            self._around.report(events.GossipReceived(self.id, vetted))

    def blame(self, error: BaseException) -> str:
        """Close the link for a fault of the peer's; other errors leave it open. Returns the error's text."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, PeerFault) and error.fault not in BLAMELESS:
            _log.warning("closing the connection with %s: %s", self._name(), error)
            self.blamed = True
            self.connection.close(error.fault, error.detail)
        return str(error) or type(error).__name__

    def _name(self) -> str:
        return self._around.local.cluster.name_of(self.node)
