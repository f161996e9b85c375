"""A TURN allocation (RFC 8656) as a carrier: what is sent here leaves from the server, over UDP, TCP or TLS to it.

aioice speaks the protocol; here its messages find channels of their own per peer, kept open while they are used, and
a request every 25 s keeps the way to the server open and tells early when the server is gone. What a peer's first
datagrams need is a channel: until the server granted it a few of them wait, more are dropped, as on any network.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aioice import stun

from cis.reach.names import Address, Names
from cis.reach.turn_client import FRAME, LIFETIME_S, allocate

if TYPE_CHECKING:
    from cis.net.qh3_core import RawAddress
    from cis.reach.options import TurnServer
    from cis.reach.turn_client import Bytestream, Datagrams

_KEEPALIVE_S = 25.0
_ANSWER_S = 5.0
_RECHECK_S = 1.0
_CHANNEL_FRESH_S = 200.0
"""A channel lasts 600 s, the permission in it 300 s (RFC 8656 §9, §12)."""
_CHANNEL_GRACE_S = 90.0
"""Meanwhile it is still open, and renewed beside the traffic."""
_CHANNEL_IDLE_S = 1500.0
"""After that nobody uses its number any more: it may name another peer (RFC 8656 §12)."""
_CHANNELS_MAX = 1024
_CHANNELS_PER_HOST_MAX = 64
"""The server lets every port of a host in once one of them has a channel: those must not take all there are."""
_FIRST_CHANNEL = 0x4000
_WAITING_MAX = 32
_BUFFER_MAX_BYTES = 1 << 20


class Sink(Protocol):
    """Where what peers sent to the relayed address goes (`cis.net.Endpoint`)."""

    def receive_via(self, carrier: Any, received: list[tuple[bytes, RawAddress]]) -> None:  # noqa: ANN401 - a Carrier
        """Take datagrams that came over this carrier."""


@dataclass(slots=True)
class _Channel:
    """The short name of a peer towards the server."""

    number: int
    fresh_until: float = -math.inf
    used_at: float = 0.0
    binding: asyncio.Task[None] | None = None
    waiting: list[bytes] = field(default_factory=list)


class _Inbox(asyncio.DatagramProtocol):
    """What aioice hands over from the server."""

    def __init__(self, relay: Relay, sink: Sink) -> None:
        self._relay = relay
        self._sink = sink

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._relay.on_heard()
        self._sink.receive_via(self._relay, [(data, (addr[0], addr[1]))])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._relay.on_lost()


class Relay:
    """A carrier; ``serve`` keeps it, until it is lost or cancelled."""

    relayed = True

    def __init__(self, inner: Datagrams | Bytestream, sink: Sink, kind: str) -> None:
        assert inner.relayed_address is not None
        self.address: Address = inner.relayed_address
        self.kind = kind
        """How the server is spoken to: udp, tcp or tls."""
        self.lost = False
        self.congested = False
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._channels: dict[Address, _Channel] = {}
        self._free = list(range(_FIRST_CHANNEL + _CHANNELS_MAX, _FIRST_CHANNEL, -1))
        self._when_writable: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._doubted = False
        self._heard_at = self._loop.time()
        self._group: asyncio.TaskGroup | None = None
        inner.holder = self
        inner.receiver = _Inbox(self, sink)

    def __repr__(self) -> str:
        return f"Relay({self.kind})"

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        """Send to a peer by way of the server."""
        peer = (address[0], address[1])
        channel = self._channels.get(peer) or self._new_channel(peer)
        if self.lost or channel is None:
            return OSError(errno.ENETUNREACH, "the relay is gone or full")
        channel.used_at = self._loop.time()
        if channel.used_at < channel.fresh_until + _CHANNEL_GRACE_S:
            self._put(channel.number, datagrams)
        else:
            room = _WAITING_MAX - len(channel.waiting)
            channel.waiting += datagrams[: max(room, 0)]
        if channel.used_at >= channel.fresh_until:
            self._begin_binding(peer, channel)
        return None

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once the way to the server has room."""
        self._when_writable.append(callback)

    def pause(self) -> None:
        """The way to the server is full."""
        self.congested = True

    def resume(self) -> None:
        """The way to the server has room."""
        self.congested = False
        callbacks, self._when_writable = self._when_writable, []
        for callback in callbacks:
            callback()

    def doubt(self) -> None:
        """Ask the server soon whether the allocation is still there."""
        self._doubted = True
        self._wake.set()

    def on_heard(self) -> None:
        """Something came from the server."""
        self._heard_at = self._loop.time()

    def on_lost(self) -> None:
        """Nothing will come any more."""
        self.lost = True
        self._wake.set()
        self.resume()

    @property
    def silent_s(self) -> float:
        """How long ago the server was last heard."""
        return self._loop.time() - self._heard_at

    async def serve(self) -> None:
        """Keep the allocation and its channels until the server no longer answers."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for peer, channel in self._channels.items():
                    self._begin_binding(peer, channel)
                while not self.lost:
                    await self._keep()
                for channel in self._channels.values():
                    if channel.binding is not None:
                        channel.binding.cancel()
        finally:
            self._group = None

    async def close(self) -> None:
        """Give the allocation back, if the server is still there, and the socket."""
        gone, self.lost = self.lost, True
        try:
            if not gone:
                with suppress(TimeoutError, stun.TransactionError):
                    async with asyncio.timeout(_RECHECK_S):
                        await self._inner.delete()
        finally:
            self._inner.transport.close()

    async def _keep(self) -> None:
        """Wait until it is time to ask, or there is doubt; then ask."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_KEEPALIVE_S):
                await self._wake.wait()
        self._wake.clear()
        within_s = _RECHECK_S if self._doubted else _ANSWER_S
        self._doubted = False
        self._drop_idle()
        if not await self._answers(within_s):
            self.on_lost()

    async def _answers(self, within_s: float) -> bool:
        if self.lost:
            return False
        request = stun.Message(stun.Method.REFRESH, stun.Class.REQUEST)
        request.attributes["LIFETIME"] = LIFETIME_S
        try:
            async with asyncio.timeout(within_s):
                await self._inner.request_with_retry(request)
        except stun.TransactionFailed:
            return False
        except (TimeoutError, stun.TransactionError):
            return self.silent_s < within_s  # peers are heard by it: the way loses much, and is there
        self.on_heard()
        return True

    def _new_channel(self, peer: Address) -> _Channel | None:
        if not self._free or sum(host == peer[0] for host, _ in self._channels) >= _CHANNELS_PER_HOST_MAX:
            return None
        channel = self._channels[peer] = _Channel(self._free.pop())
        self._inner.channel_to_peer[channel.number] = peer
        self._inner.peer_to_channel[peer] = channel.number
        return channel

    def _drop_idle(self) -> None:
        now = self._loop.time()
        for peer, channel in list(self._channels.items()):
            if now - channel.used_at > _CHANNEL_IDLE_S and channel.binding is None:
                del self._channels[peer], self._inner.peer_to_channel[peer]
                del self._inner.channel_to_peer[channel.number]
                self._free.insert(0, channel.number)

    def _begin_binding(self, peer: Address, channel: _Channel) -> None:
        if self._group is not None and channel.binding is None:
            channel.binding = self._group.create_task(self._bind(peer, channel))

    async def _bind(self, peer: Address, channel: _Channel) -> None:
        """Have the server name a peer by its channel, then send what waited for that."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._inner.channel_bind(channel.number, peer)
        except (TimeoutError, stun.TransactionError):
            return
        else:
            channel.fresh_until = self._loop.time() + _CHANNEL_FRESH_S
            self._put(channel.number, channel.waiting)
        finally:
            channel.binding = None
            channel.waiting = []

    def _put(self, channel: int, datagrams: list[bytes]) -> None:
        transport = self._inner.transport
        if transport.is_closing() or (self.congested and _buffered(transport) > _BUFFER_MAX_BYTES):
            return
        for data in datagrams:
            self._inner.put(FRAME.pack(channel, len(data)) + data)


def _buffered(transport: asyncio.BaseTransport) -> int:
    size = getattr(transport, "get_write_buffer_size", None)  # asyncio's datagram transports have it undeclared
    return 0 if size is None else int(size())


async def open_relay(server: TurnServer, names: Names, sink: Sink) -> Relay:
    """Allocate an address on a server; raises what `allocate` does."""
    return Relay(await allocate(server, names), sink, server.transport)
