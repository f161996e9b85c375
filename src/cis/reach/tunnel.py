"""QUIC's datagrams in a WebSocket, through an anchor's tunnel: for networks that let nothing but HTTPS out.

Datagrams that wait are sent together, and few may wait: beyond `WAITING_HIGH_BYTES` the connections on it are told to
hold back, beyond `WAITING_MAX_BYTES` what comes is dropped. The stream beneath repeats what is lost and slows down by
itself, so QUIC sees a path without loss whose delay grows; it is a last resort and no more than that.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TYPE_CHECKING, Protocol

from websockets.exceptions import ConnectionClosed, InvalidStatus

from cis.anchor.line import ANSWER_S, closing, connected
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import TOKEN_LENGTH_MAX, VERSION
from cis.anchor.tunnel import (
    BUNDLE_BYTES_MAX,
    DATAGRAM_BYTES_MAX,
    PATH,
    Attach,
    bundled,
    decode_attached,
    encode,
    unbundled,
)
from cis.errors import CisError, PeerFault, Unavailable
from cis.reach.transports import Channel, Take, Transport, address_of

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from cis.net.qh3_core import RawAddress

WAITING_HIGH_BYTES = 64 << 10
WAITING_LOW_BYTES = 16 << 10
WAITING_MAX_BYTES = 1 << 20
BUFFER_BYTES = 64 << 10
"""Of the socket, for what is sent: what waits there cannot be held back any more."""
REFUSED_S = 600.0
"""How long an anchor that has no tunnel is not asked for one again."""


class Anchor(Protocol):
    """An anchor this node uses (`cis.anchor.client.AnchorClient`)."""

    @property
    def place(self) -> AnchorPlace: ...
    @property
    def up(self) -> bool: ...


class AnchorTunnel(Transport):
    """The transport by way of the anchors this node uses; a place is an anchor's host and port."""

    name = "websocket"

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._anchors = anchors
        self._without: dict[str, float] = {}

    def places(self) -> Sequence[str]:
        """Return the anchors that serve now, but for those that were found to carry nothing."""
        now = asyncio.get_running_loop().time()
        return [place for place in self._up() if now >= self._without.get(place, now)]

    @asynccontextmanager
    async def open(self, place: str, channel: bytes, *, waits: bool, take: Take) -> AsyncIterator[Channel]:
        """Open a channel through an anchor; raises `Unavailable`, saying why."""
        anchor = self._up().get(place)
        if anchor is None:
            raise Unavailable(f"the anchor {place} does not serve now")
        try:
            socket = await _attached(anchor, channel, waits=waits)
        except _NoTunnel:
            self._without[place] = asyncio.get_running_loop().time() + REFUSED_S
            raise
        async with closing(socket):
            tunnel, failure = Tunnel(socket, address_of(channel), take), None
            async with asyncio.TaskGroup() as group:
                works = [group.create_task(tunnel.read()), group.create_task(tunnel.write())]
                try:
                    yield tunnel
                    await tunnel.flush()
                except CisError as error:  # passed on as it is, and not in a group
                    failure = error
                finally:
                    for work in works:
                        work.cancel()
            if failure is not None:
                raise failure

    def _up(self) -> dict[str, AnchorPlace]:
        return {one.place.authority: one.place for one in self._anchors if one.up}


class Tunnel:
    """One channel: a carrier, while ``read`` and ``write`` run."""

    relayed = True

    def __init__(self, socket: ClientConnection, address: RawAddress, take: Take) -> None:
        self.address = address
        self._socket = socket
        self._take = take
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._congested = False
        self._when_writable: list[Callable[[], None]] = []
        self._stirred = asyncio.Event()
        self._ended = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __repr__(self) -> str:
        return "Tunnel()"

    @property
    def congested(self) -> bool:
        """Whether as much waits as should."""
        return self._congested

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:  # noqa: ARG002 - there is one peer
        """Send to the other end, or keep for a moment."""
        if self._ended.is_set():
            return OSError(errno.ENETUNREACH, "the channel has ended")
        for datagram in datagrams:
            if 0 < len(datagram) <= DATAGRAM_BYTES_MAX and self._bytes + len(datagram) <= WAITING_MAX_BYTES:
                self._waiting.append(datagram)
                self._bytes += len(datagram)
        self._congested = self._congested or self._bytes >= WAITING_HIGH_BYTES
        self._empty.clear()
        self._stirred.set()
        return None

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once little waits."""
        self._when_writable.append(callback)

    async def wait_ended(self) -> None:
        """Wait until the connection has ended."""
        await self._ended.wait()

    async def flush(self) -> None:
        """Give what waits a moment to leave."""
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(event.wait()) for event in (self._empty, self._ended)]
            await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()

    async def read(self) -> None:
        """Take in what comes, until the connection ends."""
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    self._take(self, [(datagram, self.address) for datagram in unbundled(message)])
        except ConnectionClosed:
            pass
        finally:
            self._end()

    async def write(self) -> None:
        """Send what waits, as much together as one message holds, until the connection ends."""
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                while self._waiting:
                    await self._socket.send(self._next_bundle())
                    self._ease()
                self._empty.set()
        except ConnectionClosed:
            self._end()

    def _next_bundle(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._waiting and size + 2 + len(self._waiting[0]) <= BUNDLE_BYTES_MAX:
            taken.append(self._waiting.popleft())
            size += 2 + len(taken[-1])
            self._bytes -= len(taken[-1])
        return next(bundled(taken), b"")

    def _ease(self) -> None:
        if self._congested and self._bytes <= WAITING_LOW_BYTES:
            self._congested = False
            callbacks, self._when_writable = self._when_writable, []
            for callback in callbacks:
                callback()

    def _end(self) -> None:
        self._waiting.clear()
        self._bytes = 0
        self._ended.set()
        self._ease()


class _NoTunnel(Unavailable):
    """The anchor carries nothing for anybody."""


async def _attached(place: AnchorPlace, channel: bytes, *, waits: bool) -> ClientConnection:
    """Connect and be let into a channel; raises `Unavailable`, saying why not."""
    try:
        socket = await connected(place, PATH, BUNDLE_BYTES_MAX)
    except Unavailable as error:
        if isinstance(error.__cause__, InvalidStatus) and error.__cause__.response.status_code in {403, 404}:
            raise _NoTunnel(f"the anchor {place.host} carries nothing between nodes") from error
        raise
    try:
        await socket.send(encode(Attach(VERSION, place.token[:TOKEN_LENGTH_MAX], channel, waits)))
        async with asyncio.timeout(ANSWER_S):
            answer = await socket.recv()
        socket.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
        decode_attached(answer if isinstance(answer, bytes) else answer.encode())
    except (ConnectionClosed, PeerFault, TimeoutError) as error:
        socket.transport.abort()
        raise Unavailable(f"the anchor {place.host} let this node into no channel: {_why(error)}") from error
    except BaseException:
        socket.transport.abort()
        raise
    return socket


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionClosed):
        return (error.rcvd.reason if error.rcvd is not None else "") or "it ended the connection"
    return "it answered something else" if isinstance(error, PeerFault) else f"it did not answer within {ANSWER_S:g} s"
