"""A TURN allocation (RFC 8656) as a carrier: what is sent here leaves from the server, over UDP, TCP or TLS to it.

aioice speaks the protocol; here its messages find channels of their own per peer, kept open while they are used, and
a request every 25 s keeps the way to the server open and tells early when the server is gone. What a peer's first
datagrams need is a channel: until the server granted it a few of them wait, more are dropped, as on any network.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aioice import stun, turn

from cis.errors import Unavailable
from cis.reach.names import Address, Names

if TYPE_CHECKING:
    from cis.net.qh3_core import RawAddress
    from cis.reach.options import TurnServer

_LIFETIME_S = 600
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
_BUFFER_HIGH_BYTES = 256 << 10
_BUFFER_MAX_BYTES = 1 << 20


_UNREADABLE = (ValueError, struct.error, LookupError, ArithmeticError)
"""What aioice raises on what a hostile server sent, or on having to repeat it."""


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


class _Careful(turn.TurnClientMixin):
    """aioice's client, that survives what a hostile server sends and tells when it is to be doubted."""

    relay: Relay | None = None

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        with suppress(*_UNREADABLE):
            super().datagram_received(data, addr)

    async def request(self, request: stun.Message) -> tuple[stun.Message, Address]:
        try:
            return await super().request(request)
        except _UNREADABLE as error:  # a nonce or realm too large to be sent back
            raise stun.TransactionError from error

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - whatever it is, the server is asked
        if self.relay is not None:
            self.relay.doubt()

    def put(self, data: bytes) -> None:
        """Send as it is, or padded on a stream (RFC 8656 §12.5)."""
        self._send(data)

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.pause()

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.resume()


class _Udp(_Careful, turn.TurnClientUdpProtocol):
    pass


class _Stream(_Careful, turn.TurnClientTcpProtocol):
    pass


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

    def __init__(self, inner: _Udp | _Stream, sink: Sink, kind: str) -> None:
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
        inner.relay = self
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
        if not gone:
            with suppress(TimeoutError, stun.TransactionError):
                async with asyncio.timeout(_RECHECK_S):
                    await self._inner.delete()
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
        request.attributes["LIFETIME"] = _LIFETIME_S
        try:
            async with asyncio.timeout(within_s):
                await self._inner.request_with_retry(request)
        except (TimeoutError, stun.TransactionError):
            return False
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
            self._inner.put(struct.pack("!HH", channel, len(data)) + data)


def _buffered(transport: asyncio.BaseTransport) -> int:
    size = getattr(transport, "get_write_buffer_size", None)  # asyncio's datagram transports have it undeclared
    return 0 if size is None else int(size())


async def open_relay(server: TurnServer, names: Names, sink: Sink) -> Relay:
    """Allocate an address on a server; Unavailable, naming neither it nor the account, where that fails."""
    try:
        inner = await _connect(server, names)
    except ssl.SSLError as error:
        raise Unavailable("cannot connect: TLS fails; check the server's certificate and its port") from error
    except OSError as error:  # its own words name the address
        raise Unavailable(f"cannot connect: {os.strerror(error.errno or errno.EIO)}") from error
    try:
        await inner.connect()
    except (stun.TransactionError, ConnectionError, OSError) as error:
        inner.transport.close()
        raise Unavailable(_refusal(error)) from error
    except BaseException:
        inner.transport.close()
        raise
    if inner.refresh_task is not None:
        inner.refresh_task.cancel()  # Relay.serve asks more often than aioice would
        inner.refresh_task = None
    return Relay(inner, sink, server.transport)


async def _connect(server: TurnServer, names: Names) -> _Udp | _Stream:
    """Connect to the first address that can be had, IPv4 before IPv6."""
    failed: OSError | None = None
    for address in sorted(await names.lookup(server.host, server.port), key=lambda one: ":" in one[0]):
        try:
            return await _connect_at(address, server)
        except OSError as error:
            failed = error
    raise failed or Unavailable("the name has no address; check it, and the resolver")


async def _connect_at(address: Address, server: TurnServer) -> _Udp | _Stream:
    loop = asyncio.get_running_loop()
    account = (address, server.username, server.credential, _LIFETIME_S, _LIFETIME_S)
    if server.transport == "udp":
        _, datagrams = await loop.create_datagram_endpoint(lambda: _Udp(*account), remote_addr=address)
        return datagrams
    context = ssl.create_default_context() if server.transport == "tls" else None
    name = server.host if context is not None else None
    transport, stream = await loop.create_connection(
        lambda: _Stream(*account), *address, ssl=context, server_hostname=name
    )
    transport.set_write_buffer_limits(_BUFFER_HIGH_BYTES)
    return stream


def _refusal(error: Exception) -> str:
    """Say what a server answered in its own code, without its words."""
    response = getattr(error, "response", None)
    if isinstance(response, stun.Message) and response.error_code is not None:
        hint = {401: "; check user name and credential", 486: "; its quota of allocations is used up"}
        return f"the server refuses with {response.error_code}{hint.get(response.error_code, '')}"
    return "the server does not answer"
