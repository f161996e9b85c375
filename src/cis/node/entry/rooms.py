"""A conversation through an anchor's room: streams as over QUIC, on sealed chunks that the anchor passes on.

It carries one pairing and the joining that follows, so it is small: a few streams, their bytes in order, no window but
that reading stops while much lies unread, and writing while much is unsent. ::

    room = RoomConversation(line, 42, is_dialler=True, entropy=os.urandom)
    await room.agree()                    # H is settled
    async with asyncio.TaskGroup() as group:
        group.create_task(room.run())
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cis.anchor.protocol import CHUNK_BYTES_MAX, Left, Said, ToNode
from cis.errors import CisError, Fault, PeerFault, TimedOut, Unavailable
from cis.net import ConnectionLost, Stream
from cis.net.closing import CloseReason, clipped, reason_of
from cis.trust.identity import Entropy
from cis.trust.rooms import CLOSING_STREAM, OVERHEAD, RoomCipher

if TYPE_CHECKING:
    from cis.anchor.line import Line

AGREE_S = 10.0
FLUSH_S = 3.0
SLICE_BYTES = CHUNK_BYTES_MAX - OVERHEAD
UNSENT_MAX = 256 << 10
UNREAD_MAX = 1 << 20
STREAMS_MAX = 8
"""Streams each side may open; a pairing takes three."""
_DATA, _END, _RESET = range(3)


class _Streams:
    """The streams of a room, and what they have to say; implements `cis.net.stream.StreamCarrier`."""

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.unsent: deque[tuple[int, int, bytes]] = deque()
        self.unread_bytes = 0
        self.reason: CloseReason | None = None
        self._unsent_bytes = 0
        self._changed = asyncio.Event()

    @property
    def lost(self) -> ConnectionLost | None:
        """What to raise once it has ended."""
        return ConnectionLost(self.reason) if self.reason is not None else None

    def make(self, stream_id: int) -> Stream:
        """Return a new stream of that number."""
        stream = self.open[stream_id] = Stream(self, stream_id)
        return stream

    def send(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """Have bytes of a stream sent."""
        for start in range(0, len(data), SLICE_BYTES):
            self._put(stream_id, _DATA, bytes(data[start : start + SLICE_BYTES]))
        if end:
            self._put(stream_id, _END, b"")

    def has_room(self, _stream_id: int) -> bool:
        """Tell whether little enough is unsent."""
        return self._unsent_bytes < UNSENT_MAX

    async def wait_room(self, _stream_id: int) -> None:
        """Return after something has changed."""
        await self.change()

    def consumed(self, size: int) -> None:
        """Count what was read."""
        self.unread_bytes -= size
        self.notify()

    def abandon(self, stream_id: int, _fault: Fault, *, reset: bool, stop: bool) -> None:
        """Tell the other side that this one neither sends nor reads any more."""
        if (reset or stop) and self.reason is None:
            self._put(stream_id, _RESET, b"")

    def ended(self, stream_id: int) -> None:
        """Forget a stream that is over both ways."""
        self.open.pop(stream_id, None)

    def next(self) -> tuple[int, int, bytes]:
        """Return what is to be sent next; there is something."""
        taken = self.unsent.popleft()
        self._unsent_bytes -= len(taken[2])
        self.notify()
        return taken

    def end(self, reason: CloseReason) -> None:
        """End all streams; the first reason counts."""
        if self.reason is None:
            self.reason = reason
        self.notify()
        for stream in list(self.open.values()):
            stream.wake()

    def close(self, said: bytes, reason: CloseReason) -> None:
        """End all streams, and have the other side told."""
        if self.reason is None:
            self._put(CLOSING_STREAM, 0, said)
            self.end(reason)

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def change(self) -> None:
        """Wait for one."""
        await self._changed.wait()

    def _put(self, stream_id: int, kind: int, data: bytes) -> None:
        self.unsent.append((stream_id, kind, data))
        self._unsent_bytes += len(data)
        self.notify()


class RoomConversation:
    """Implements `cis.node.entry.conversation.Conversation`."""

    def __init__(self, line: Line, number: int, entropy: Entropy, *, is_dialler: bool) -> None:
        self.is_dialler = is_dialler
        self._line = line
        self._cipher = RoomCipher(number, entropy, is_taker=is_dialler)
        self._streams = _Streams()
        self._opened = self._accepted = 0
        self._waiting: deque[Stream] = deque()

    @property
    def certificate_hash(self) -> bytes:
        """H, once agreed."""
        return self._cipher.binding

    async def agree(self) -> None:
        """Settle H and the keys with the other side; raises `Unavailable` or `PeerFault`."""
        await self._line.say(self._cipher.public)
        try:
            async with asyncio.timeout(AGREE_S):
                message = await self._line.heard()
        except TimeoutError:
            raise TimedOut("the other device did not go on in the anchor's room") from None
        if not isinstance(message, Said):
            raise Unavailable("the other device left the anchor's room")
        self._cipher.agree(message.chunk)

    def confirm(self, secret: bytes) -> None:
        """Take the secret both sides proved to know, for all streams to come."""
        self._cipher.confirm(secret)

    def mark_authenticated(self) -> None:
        """Let the other side open more streams: those it could not seal before `confirm`."""

    async def open_stream(self) -> Stream:
        """Open a stream; raises ConnectionLost."""
        if (lost := self._streams.lost) is not None:
            raise lost
        stream = self._streams.make(2 * self._opened + (0 if self.is_dialler else 1))
        self._opened += 1
        return stream

    async def accept_stream(self) -> Stream:
        """Return the next stream the other side opened; raises ConnectionLost."""
        while not self._waiting:
            if (lost := self._streams.lost) is not None:
                raise lost
            await self._streams.change()
        return self._waiting.popleft()

    def close(self, fault: Fault, reason: str) -> None:
        """End it, and tell the other side why."""
        said = fault.to_bytes(2, "big") + clipped(reason).encode()
        self._streams.close(said, reason_of(fault, reason, by_peer=False, transport=False))

    async def wait_closed(self) -> CloseReason:
        """Wait for the end, and return why."""
        while (reason := self._streams.reason) is None:
            await self._streams.change()
        return reason

    async def run(self) -> None:
        """Carry what is said, both ways, until cancelled or ended; what is unsent then still goes out."""
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._until_lost(self._write))
                await self._until_lost(self._read)
                writing.cancel()
        finally:
            with contextlib.suppress(CisError, TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._flush()

    async def _write(self) -> None:
        while True:
            await self._flush()
            await self._streams.change()

    async def _flush(self) -> None:
        while self._streams.unsent:
            await self._line.say(self._cipher.seal(*self._streams.next()))

    async def _read(self) -> None:
        while self._streams.reason is None:
            while self._streams.unread_bytes > UNREAD_MAX:
                await self._streams.change()
            self._take(await self._line.heard())

    def _take(self, message: ToNode) -> None:
        if isinstance(message, Left):
            raise Unavailable("the other device left the anchor's room")
        if not isinstance(message, Said):
            return
        stream_id, kind, data = self._cipher.open(message.chunk)
        if stream_id == CLOSING_STREAM:
            text = data[2:].decode(errors="replace")
            self._streams.end(reason_of(int.from_bytes(data[:2], "big"), text, by_peer=True, transport=False))
            return
        stream = self._streams.open.get(stream_id) or self._incoming(stream_id)
        if stream is None:
            return
        if kind == _RESET:
            stream.on_reset()
            stream.on_stop_sending()
        else:
            self._streams.unread_bytes += len(data)
            stream.on_data(data, ended=kind == _END)

    def _incoming(self, stream_id: int) -> Stream | None:
        """Return the stream the other side opens with that number; None for one that is over already."""
        number, ours = divmod(stream_id, 2)
        if bool(ours) is not self.is_dialler or number < self._accepted:
            return None
        if number != self._accepted or number >= STREAMS_MAX:
            raise PeerFault(Fault.MALFORMED, "a stream out of turn in an anchor's room")
        self._accepted += 1
        stream = self._streams.make(stream_id)
        self._waiting.append(stream)
        self._streams.notify()
        return stream

    async def _until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except PeerFault as fault:
            self.close(fault.fault, "")
        except Unavailable as error:
            self._streams.end(CloseReason(Fault.NONE, str(error), by_peer=True, transport=True))
