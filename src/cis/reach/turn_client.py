"""A TURN client (RFC 8656) over UDP, TCP or TLS: aioice's, so that no server can raise in it or keep it busy."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from aioice import stun, turn

from cis.errors import Unavailable

if TYPE_CHECKING:
    from cis.reach.names import Address, Names
    from cis.reach.options import TurnServer

LIFETIME_S = 600
_BUFFER_HIGH_BYTES = 256 << 10
FRAME = struct.Struct("!HH")
"""How channel data and STUN messages begin: a number or a kind, and a length without this header or STUN's."""
_UNREADABLE = (ValueError, struct.error, LookupError, ArithmeticError)
"""What aioice raises on what a hostile server sent, or on having to repeat it."""


class Holder(Protocol):
    """Who uses a client (`cis.reach.relay.Relay`)."""

    def doubt(self) -> None:
        """The server may be gone."""

    def pause(self) -> None:
        """The way to it is full."""

    def resume(self) -> None:
        """It has room again."""


class _Client(turn.TurnClientMixin):
    """aioice's client, that survives what a hostile server sends and tells when it is to be doubted."""

    holder: Holder | None = None

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        with suppress(*_UNREADABLE):
            super().datagram_received(data, addr)

    async def request(self, request: stun.Message) -> tuple[stun.Message, Address]:
        try:
            return await super().request(request)
        except _UNREADABLE as error:  # a nonce or realm too large to be sent back
            raise stun.TransactionError from error

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - whatever it is, the server is asked
        if self.holder is not None:
            self.holder.doubt()

    def put(self, data: bytes) -> None:
        """Send as it is, or padded on a stream (RFC 8656 §12.5)."""
        self._send(data)

    def pause_writing(self) -> None:
        if self.holder is not None:
            self.holder.pause()

    def resume_writing(self) -> None:
        if self.holder is not None:
            self.holder.resume()


class Datagrams(_Client, turn.TurnClientUdpProtocol):
    """Over UDP."""


class Bytestream(_Client, turn.TurnClientTcpProtocol):
    """Over TCP or TLS."""

    _begun = b""

    def data_received(self, data: bytes) -> None:
        """Cut what came into messages; aioice would copy the rest for each, and anybody may send many small ones."""
        data, start = self._begun + data, 0
        while len(data) - start >= FRAME.size:
            kind, length = FRAME.unpack_from(data, start)
            end = start + length + -length % 4 + (FRAME.size if kind >> 14 == 1 else stun.HEADER_LENGTH)
            if end > len(data):
                break
            self.datagram_received(data[start:end], self.server)
            start = end
        self._begun = data[start:]


async def allocate(server: TurnServer, names: Names) -> Datagrams | Bytestream:
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
        inner.refresh_task.cancel()  # the relay asks more often than aioice would
        inner.refresh_task = None
    return inner


async def _connect(server: TurnServer, names: Names) -> Datagrams | Bytestream:
    """Connect to the first address that can be had, IPv4 before IPv6."""
    failed: OSError | None = None
    for address in sorted(await names.lookup(server.host, server.port), key=lambda one: ":" in one[0]):
        try:
            return await _connect_at(address, server)
        except OSError as error:
            failed = error
    raise failed or Unavailable("the name has no address; check it, and the resolver")


async def _connect_at(address: Address, server: TurnServer) -> Datagrams | Bytestream:
    loop = asyncio.get_running_loop()
    account = (address, server.username, server.credential, LIFETIME_S, LIFETIME_S)
    if server.transport == "udp":
        _, datagrams = await loop.create_datagram_endpoint(lambda: Datagrams(*account), remote_addr=address)
        return datagrams
    context = ssl.create_default_context() if server.transport == "tls" else None
    name = server.host if context is not None else None
    transport, stream = await loop.create_connection(
        lambda: Bytestream(*account), *address, ssl=context, server_hostname=name
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
