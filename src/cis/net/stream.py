"""A bidirectional byte stream, and frames on it.

Both directions wait: a writer while more than the high-water mark of its bytes is still unsent, and,
through its connection, the peer while too much is unread here. One task reads a stream and one writes it;
frames of two writers would interleave. A read that is cancelled half-way through ``read_exactly`` or
``read_frame`` has lost its place: reset the stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from cis.errors import Fault, PeerFault
from cis.net.closing import ConnectionLost, StreamReset
from cis.net.traffic import Flow

if TYPE_CHECKING:
    from types import TracebackType

SLICE_BYTES = 64 << 10
FRAME_HEADER_BYTES = 4
URGENT_BYTES_MAX = 4 << 10
"""Frames up to this size wait for no turn: gossip, acknowledgements, what is asked and answered."""


class StreamCarrier(Protocol):
    """What a stream asks of its connection."""

    @property
    def lost(self) -> ConnectionLost | None: ...
    def send(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None: ...
    def has_room(self, stream_id: int) -> bool: ...
    async def wait_room(self, stream_id: int) -> None: ...
    def consumed(self, size: int) -> None: ...
    def abandon(self, stream_id: int, fault: Fault, *, reset: bool, stop: bool) -> None: ...
    def ended(self, stream_id: int) -> None: ...


class Turns(Protocol):
    """Who has bulk wait for its turn (``line.Share``)."""

    @property
    def limited(self) -> bool: ...
    @property
    def slice_bytes(self) -> int: ...
    async def wait_turn(self, size: int) -> float: ...


class Stream:
    """One stream; as a context manager it resets itself if left before both directions have ended."""

    __slots__ = (
        "_carrier",
        "_chunks",
        "_offset",
        "_receive_ended",
        "_reset_by_peer",
        "_send_ended",
        "_size",
        "_stopped",
        "_turns",
        "_waiter",
        "flow",
        "stream_id",
    )

    def __init__(self, carrier: StreamCarrier, stream_id: int, turns: Turns | None = None) -> None:
        self.stream_id = stream_id
        self.flow = Flow()
        """where what passes is counted"""
        self._carrier = carrier
        self._turns = turns
        self._chunks: deque[bytes] = deque()
        self._offset = 0
        self._size = 0
        self._receive_ended = False
        self._send_ended = False
        self._reset_by_peer = False
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def unread_bytes(self) -> int:
        return self._size

    async def read(self) -> bytes:
        """Return what has arrived next, waiting for something; ``b""`` at the end of the stream.

        Little is joined into one piece, much comes chunk by chunk, uncopied: loop until the end.
        Raises StreamReset if the peer abandoned it, ConnectionLost once what arrived before the loss is read.
        """
        await self._wait_data()
        much = self._size > SLICE_BYTES
        return self._take(len(self._chunks[0]) - self._offset if much else self._size)

    async def read_exactly(self, size: int) -> bytes:
        """Return ``size`` bytes; raises PeerFault (malformed) if the stream ends before."""
        parts: list[bytes] = []
        missing = size
        while missing:
            await self._wait_data()
            if not self._size:
                raise PeerFault(Fault.MALFORMED, f"the stream ended {missing} bytes short of {size}")
            # Taken as it comes: a frame larger than what may lie unread must not wait for itself.
            part = self._take(min(missing, self._size))
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_frame(self, max_bytes: int) -> bytes | None:
        """Return the next frame's body, or None at a clean end.

        Raises PeerFault (too large) before a byte of the body is kept.
        """
        await self._wait_data()
        if not self._size:
            return None
        size = int.from_bytes(await self.read_exactly(FRAME_HEADER_BYTES))
        if size > max_bytes:
            raise PeerFault(Fault.TOO_LARGE, f"a frame of {size} bytes where {max_bytes} are allowed")
        self.flow.messages_in += 1
        return await self.read_exactly(size)

    async def write(self, data: bytes) -> None:
        """Hand over ``data``, waiting for its turn and for room; raises StreamReset or ConnectionLost."""
        start, view = 0, memoryview(data)
        while start < len(data):
            size = SLICE_BYTES
            if self._turns is not None and self._turns.limited:
                size = min(self._turns.slice_bytes, len(data) - start)
                self.flow.held_out_s += await self._turns.wait_turn(size)
            await self._send(view[start : start + size])
            start += size

    async def write_frame(self, *parts: bytes, bulk: bool = False) -> None:
        """Write the parts, together, as one frame: a 4-byte big-endian length, then the body.

        A small one waits for no turn unless it is one of many, ``bulk``.
        """
        size = sum(map(len, parts))
        header = size.to_bytes(FRAME_HEADER_BYTES)
        self.flow.messages_out += 1
        if size <= (SLICE_BYTES if self._turns is None or not self._turns.limited else 0 if bulk else URGENT_BYTES_MAX):
            await self._send(b"".join((header, *parts)))
            return
        await self._send(header)
        for part in parts:
            await self.write(part)

    def finish(self) -> None:
        """End the sending direction; what was written still arrives."""
        if self._send_ended:
            return
        self._send_ended = True
        if self._carrier.lost is None and not self._stopped:
            self._carrier.send(self.stream_id, b"", end=True)
        self._report_end()

    def reset(self, fault: Fault = Fault.NONE) -> None:
        """Give up both directions at once; what is unread or unsent is lost."""
        reset, stop = not self._send_ended, not self._receive_ended
        self._send_ended = self._receive_ended = True
        self._take(self._size)
        if reset or stop:
            self._carrier.abandon(self.stream_id, fault, reset=reset, stop=stop)
        self._report_end()
        self.wake()

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing half open: unread bytes would count against the connection for ever."""
        self.reset()

    # What the connection reports.

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Keep what arrived until it is read."""
        self.flow.bytes_in += len(data)
        if self._receive_ended:
            self._carrier.consumed(len(data))
            return
        if data:
            self._chunks.append(data)
            self._size += len(data)
        self._receive_ended = ended
        self.wake()
        self._report_end()

    def on_reset(self) -> None:
        """The peer abandoned its sending direction."""
        if self._receive_ended:
            return
        self._receive_ended = self._reset_by_peer = True
        self._take(self._size)
        self.wake()
        self._report_end()

    def on_stop_sending(self) -> None:
        """The peer no longer reads; QUIC has already answered with a reset (RFC 9000 §3.5)."""
        self._stopped = self._send_ended = True
        self._report_end()

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_data(self) -> None:
        while not self._size and not self._receive_ended:
            if (lost := self._carrier.lost) is not None:
                raise lost
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._reset_by_peer:
            raise StreamReset(self.stream_id)

    async def _send(self, data: bytes | memoryview) -> None:
        while True:
            if (lost := self._carrier.lost) is not None:
                raise lost
            if self._send_ended:
                raise StreamReset(self.stream_id)
            if self._carrier.has_room(self.stream_id):
                break
            await self._carrier.wait_room(self.stream_id)
        self._carrier.send(self.stream_id, data, end=False)
        self.flow.bytes_out += len(data)

    def _take(self, size: int) -> bytes:
        """Remove and return the first ``size`` unread bytes; there are that many."""
        if not size:
            return b""
        taken = self._take_parts(size)
        self._size -= size
        self._carrier.consumed(size)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _take_parts(self, size: int) -> list[bytes]:
        parts: list[bytes] = []
        while size:
            head = self._chunks[0]
            end = self._offset + size
            part = head[self._offset : end] if self._offset or end < len(head) else head
            parts.append(part)
            size -= len(part)
            self._offset += len(part)
            if self._offset == len(head):  # an offset, not a shorter copy: many small frames share one chunk
                self._chunks.popleft()
                self._offset = 0
        return parts

    def _report_end(self) -> None:
        if self._receive_ended and self._send_ended:
            self._carrier.ended(self.stream_id)
