"""A STUN server of one question (RFC 8489): from which address a request came.

It answers Binding requests on one address and port, so it tells a node its reflexive address and cannot tell how its
NAT filters (RFC 5780 takes two addresses). An answer goes to where the request came from, is at most 32 bytes longer,
and is given to one address only so often: nobody gains by forging where a request comes from.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address

from cis.anchor.limits import address_of, address_rates
from cis.errors import Unavailable

MAGIC_COOKIE = 0x2112A442
HEADER = struct.Struct("!HHI12s")
REQUEST_BYTES_MAX = 548
_BINDING_REQUEST = 0x0001
_BINDING_RESPONSE = 0x0101
_BINDING_ERROR = 0x0111
_XOR_MAPPED_ADDRESS = 0x0020
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_UNKNOWN = b"\0\0\x04\x14Unknown Attribute\0\0\0"
_KNOWN = frozenset({0x0006, 0x0008, 0x0020, 0x0024, 0x0025})
"""Attributes that must be understood, and make no difference to who only wants its address."""
_MUST_KNOW_BELOW = 0x8000
ANSWERS_PER_S, ANSWERS_BURST = 10.0, 60.0
"""To one address."""


def answer_to(data: bytes, host: str, port: int) -> bytes | None:
    """Return the response to a datagram from an address; None for what is no Binding request."""
    if not HEADER.size <= len(data) <= REQUEST_BYTES_MAX:
        return None
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != MAGIC_COOKIE or length != len(data) - HEADER.size or length % 4:
        return None
    unknown = _unknown(data)
    if unknown is None:
        return None
    if unknown:
        kinds = b"".join(one.to_bytes(2, "big") for one in unknown[:4])
        body = struct.pack("!HH", _ERROR_CODE, 21) + _UNKNOWN
        body += struct.pack("!HH", _UNKNOWN_ATTRIBUTES, len(kinds)) + kinds + bytes(-len(kinds) % 4)
        return HEADER.pack(_BINDING_ERROR, len(body), MAGIC_COOKIE, transaction) + body
    value = _xored(host, port, transaction)
    body = struct.pack("!HH", _XOR_MAPPED_ADDRESS, len(value)) + value
    return HEADER.pack(_BINDING_RESPONSE, len(body), MAGIC_COOKIE, transaction) + body


def _unknown(data: bytes) -> list[int] | None:
    """Return the attributes that must be understood and are not; None where they do not add up."""
    found, place = [], HEADER.size
    while place < len(data):
        kind, length = struct.unpack_from("!HH", data, place)
        place += 4 + length + -length % 4
        if kind < _MUST_KNOW_BELOW and kind not in _KNOWN and kind not in found:
            found.append(kind)
    return found if place == len(data) else None


def _xored(host: str, port: int, transaction: bytes) -> bytes:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    key = MAGIC_COOKIE.to_bytes(4, "big") + transaction
    packed = bytes(left ^ right for left, right in zip(address.packed, key, strict=False))
    family = 1 if address.version == 4 else 2
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + packed


class _Responder(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answered = 0
        self._rates = address_rates(ANSWERS_PER_S, ANSWERS_BURST)
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # as asyncio gives it
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = answer_to(data, address[0], address[1])
        if answer is not None and self._rates.take(address_of(address[0]), time.monotonic()):
            self.answered += 1
            self._transport.sendto(answer, address)

    def error_received(self, exc: Exception) -> None:
        """An answer could not be delivered, which is its receiver's concern."""


class StunServer:
    """A responder that runs; ``port`` is the one it has."""

    def __init__(self, transport: asyncio.DatagramTransport, responder: _Responder) -> None:
        self.port: int = transport.get_extra_info("sockname")[1]
        self._responder = responder

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return self._responder.answered


@asynccontextmanager
async def answer_stun(host: str, port: int) -> AsyncIterator[StunServer]:
    """Answer on a UDP port for as long as the context lasts; `Unavailable` where it cannot be bound."""
    loop = asyncio.get_running_loop()
    try:
        bound = _bound(host, port)
    except OSError as error:
        raise Unavailable(f"UDP port {port}, for STUN, cannot be bound: {error.strerror or error}") from error
    transport, responder = await loop.create_datagram_endpoint(_Responder, sock=bound)
    try:
        yield StunServer(transport, responder)
    finally:
        transport.close()


def _bound(host: str, port: int) -> socket.socket:
    """Bind, on IPv4 as well where the host is ``::``."""
    six = ":" in host
    if host == "::" and not socket.has_dualstack_ipv6():
        six, host = False, "0.0.0.0"  # noqa: S104 - what the caller asked for, as far as the system can
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(0)
    try:
        if six and host == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
