"""Gossip on one connection: a long-lived stream each way; what waits to be sent is bounded, as is what is examined."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cis.errors import Fault, PeerFault
from cis.net import Connection, Stream
from cis.net.closing import StreamReset
from cis.node.streams.paces import Pace, units_of_gossip
from cis.wire.gossip import BODY_BYTES_MAX, CONTACTS_MAX, RECORD_BYTES_MAX, GossipMessage
from cis.wire.messages import Open, decode, encode

WAITING_BYTES_MAX = 4 << 20
"""Gossip that may wait for a slow peer; beyond that it is dropped, and a session brings the changes in it."""
EXAMINED_BYTES_MAX = 4 << 20
"""Bodies from one peer that may be under examination; beyond that its stream is not read on."""
GOSSIP_FRAME_BYTES_MAX = BODY_BYTES_MAX + CONTACTS_MAX * (RECORD_BYTES_MAX + 64)


class GossipOut:
    """What is to be said to one peer, in order; ``overflowed`` is called when what waited was dropped."""

    def __init__(self, connection: Connection, overflowed: Callable[[], None]) -> None:
        self._connection = connection
        self._overflowed = overflowed
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, message: GossipMessage) -> None:
        """Queue a message; a peer that lets too much wait loses all of it."""
        frame = encode(message)
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes > WAITING_BYTES_MAX:
            self._frames.clear()
            self._bytes = 0
            self._overflowed()
        self._empty.clear()
        self._ready.set()

    async def wait_sent(self) -> None:
        """Return once nothing waits."""
        await self._empty.wait()

    async def run(self) -> None:
        """Send what is queued until the connection ends; raises ConnectionLost then."""
        stream: Stream | None = None
        try:
            while True:
                await self._ready.wait()
                self._ready.clear()
                while self._frames:
                    stream = await self._send(stream, self._frames.popleft())
                self._empty.set()
        finally:
            self._empty.set()

    async def _send(self, stream: Stream | None, frame: bytes) -> Stream | None:
        """Send a frame on the stream, or on a new one; None where the peer gave the stream up."""
        self._bytes -= len(frame)
        try:
            stream = stream or await self._begin()
            await stream.write_frame(frame)
        except StreamReset:
            self._overflowed()
            return None
        return stream

    async def _begin(self) -> Stream:
        stream = await self._connection.open_stream("gossip")
        await stream.write_frame(encode(Open("gossip")))
        return stream


class GossipIn:
    """What a peer says; ``heard`` is given each message, no faster than ``pace`` allows."""

    def __init__(self, heard: Callable[[GossipMessage], None], pace: Pace) -> None:
        self._heard = heard
        self._pace = pace
        self._examined_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def serve(self, stream: Stream) -> None:
        """Read a gossip stream to its end; raises `PeerFault`, StreamReset or ConnectionLost."""
        while (frame := await stream.read_frame(GOSSIP_FRAME_BYTES_MAX)) is not None:
            self._pace.spend(units_of_gossip(len(frame)))
            await self._pace.wait()
            message = decode(frame)
            if not isinstance(message, GossipMessage):
                raise PeerFault(Fault.MALFORMED, "a gossip stream carries gossip alone")
            await self._room.wait()
            self._heard(message)

    def examining(self, size: int) -> None:
        """A body from this peer is being examined: it is not read on while there are too many."""
        self._examined_bytes += size
        if self._examined_bytes > EXAMINED_BYTES_MAX:
            self._room.clear()

    def examined(self, size: int) -> None:
        """It has been."""
        self._examined_bytes -= size
        if self._examined_bytes <= EXAMINED_BYTES_MAX:
            self._room.set()
