"""The streams of one connection: which are open, who waits for room, and when the peer must stop sending.

Receive back pressure is per connection: once more than ``NetLimits.pause_above_bytes`` lie unread the core
is left undrained, so the peer runs out of credit; draining resumes when half of that has been read. A stream
that nobody reads therefore stalls its siblings in the end: reset what you do not read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from cis.errors import Fault
from cis.net.closing import ConnectionLost
from cis.net.intake import Account as IntakeAccount
from cis.net.intake import Intake
from cis.net.limits import Cut
from cis.net.qh3_core import LISTENER_OF_STREAM, UNIDIRECTIONAL
from cis.net.stream import Stream
from cis.net.traffic import Ledger
from cis.net.waiting import Change

if TYPE_CHECKING:
    from cis.net.drive import Drive
    from cis.net.limits import NetLimits
    from cis.net.traffic import Traffic


class Account(IntakeAccount, Protocol):
    """Where it is counted (``connection.Registrar``)."""

    @property
    def traffic(self) -> Traffic: ...
    def on_cut(self, why: Cut) -> None: ...


class Streams:
    """Implements ``stream.StreamCarrier`` for its streams and ``qh3_core.StreamEvents`` for the core."""

    def __init__(self, drive: Drive, limits: NetLimits, account: Account, *, is_dialler: bool) -> None:
        self._drive = drive
        self._core = drive.core.streams
        self.limits = limits
        self._account = account
        self._is_dialler = is_dialler
        self._open: dict[int, Stream] = {}
        self._next_remote = 1 if is_dialler else 0
        self._accepted: deque[Stream] = deque()
        self._unheard: dict[int, Fault] = {}
        """streams given up before anything of them arrived; no more than the peer may have open"""
        self._changed = Change()
        self._room: list[tuple[int, asyncio.Future[None]]] = []
        self.intake = Intake(drive, limits, account)
        self.ledger = Ledger(account.traffic)
        drive.footing.share.peer_of = lambda: self.ledger.peer
        self.local = self.remote = self.opened_by_peer = 0
        self.bytes_in = self.bytes_out = 0

    @property
    def lost(self) -> ConnectionLost | None:
        """What to raise if the connection has ended."""
        reason = self._drive.reason
        return None if reason is None else ConnectionLost(reason)

    async def open(self, purpose: str | None) -> Stream:
        """Open a stream once the peer permits, for a purpose; raises ConnectionLost."""
        while (lost := self.lost) is None and not self._may_open():
            await self._changed.wait()
        if lost is not None:
            raise lost
        stream = self._make(self._core.open())
        self.local += 1
        if purpose is not None:
            self.ledger.aim(stream, purpose)
        return stream

    async def accept(self) -> Stream:
        """Return the next stream the peer opened; raises ConnectionLost."""
        while not self._accepted:
            if (lost := self.lost) is not None:
                raise lost
            await self._changed.wait()
        return self._accepted.popleft()

    def on_input(self) -> None:
        """Stop or permit reading, and look whether the peer permits new streams."""
        self.intake.look()
        if self._changed and self._may_open():
            self._changed.notify()

    def on_flushed(self) -> None:
        """Wake the writers that have found room, and enough of it to be worth waking for."""
        if not self._room:
            return
        low = self.limits.send_high_water_bytes // 2
        waiting, self._room = self._room, []
        for stream_id, waiter in waiting:
            unsent = self._core.unsent_bytes(stream_id)
            if self._drive.reason is None and stream_id in self._open and unsent > low:
                self._room.append((stream_id, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    def on_end(self) -> None:
        """Wake everybody, to learn that it is over."""
        self.ledger.close()
        self._drive.footing.share.end()
        self._changed.notify()
        self.on_flushed()
        for stream in self._open.values():
            stream.wake()

    # What streams ask.

    def send(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """Queue stream data."""
        self._core.send(stream_id, data, end=end)
        self.bytes_out += len(data)
        self._drive.flush_soon()

    def has_room(self, stream_id: int) -> bool:
        """Whether the stream's unsent bytes are below the high-water mark."""
        return self._core.unsent_bytes(stream_id) <= self.limits.send_high_water_bytes

    async def wait_room(self, stream_id: int) -> None:
        """Wait until there may be room, or the stream or connection has ended."""
        self._drive.guarded(self._drive.flush)
        if self._drive.reason is None and not self.has_room(stream_id):
            waiter = asyncio.get_running_loop().create_future()
            self._room.append((stream_id, waiter))
            await waiter

    def consumed(self, size: int) -> None:
        """Count bytes as read; may let the peer send on."""
        self.intake.consumed(size)

    def abandon(self, stream_id: int, fault: Fault, *, reset: bool, stop: bool) -> None:
        """Give up directions of a stream; of one that is known by a higher number alone, once something arrives."""
        if self._drive.reason is None:
            if not self._core.abandon(stream_id, int(fault), reset=reset, stop=stop):
                self._unheard[stream_id] = fault
            self._drive.flush_soon()

    def ended(self, stream_id: int) -> None:
        """Forget a stream both of whose directions have ended."""
        if (stream := self._open.pop(stream_id, None)) is not None:
            self.ledger.leave(stream)
            if self._is_local(stream_id):
                self.local -= 1
                self._changed.notify()
            else:
                self.remote -= 1

    # What the core reports.

    def on_stream_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Pass bytes to their stream."""
        if stream := self._open.get(stream_id) or self._open_remote(stream_id):
            self.bytes_in += len(data)
            self.intake.arrived(len(data), stream.flow)
            stream.on_data(data, ended=ended)

    def on_stream_reset(self, stream_id: int) -> None:
        """Pass the news to the reader."""
        if stream := self._open.get(stream_id) or self._open_remote(stream_id):
            stream.on_reset()

    def on_stop_sending(self, stream_id: int) -> None:
        """Pass the news to the writer."""
        if stream := self._open.get(stream_id) or self._open_remote(stream_id):
            stream.on_stop_sending()
            self.on_flushed()

    def _make(self, stream_id: int) -> Stream:
        stream = self._open[stream_id] = Stream(self, stream_id, self._drive.footing.share)
        self.ledger.enter(stream)
        return stream

    def _may_open(self) -> bool:
        return self.local < self.limits.streams_max and self._core.can_open()

    def _is_local(self, stream_id: int) -> bool:
        return bool(stream_id & LISTENER_OF_STREAM) != self._is_dialler

    def _open_remote(self, stream_id: int) -> Stream | None:
        """Make the stream a first packet belongs to, and those numbered below it (RFC 9000 §3.2).

        What was given up before anything of it arrived is refused now.
        """
        if (fault := self._unheard.pop(stream_id, None)) is not None:
            self.abandon(stream_id, fault, reset=True, stop=True)
        if stream_id & UNIDIRECTIONAL:
            self._drive.close(Fault.MALFORMED, "streams are bidirectional here")
        if self._is_local(stream_id) or self._drive.reason is not None:
            return None  # what has ended here, or never should have been
        while self._next_remote <= stream_id:
            # Streams that ended unaccepted still wait in the queue.
            if max(self.remote, len(self._accepted)) >= self.limits.streams_max:
                self._account.on_cut(Cut.STREAMS)
                self._drive.close(Fault.BUSY, f"more than {self.limits.streams_max} streams")
                return None
            stream = self._make(self._next_remote)
            self._accepted.append(stream)
            self.remote += 1
            self.opened_by_peer += 1
            self._next_remote += 4
            self._changed.notify()
        return self._open.get(stream_id)
