"""PCP, the Port Control Protocol: a mapping by one datagram each way (RFC 6887, MAP and ANNOUNCE).

A mapping belongs to its nonce: only who knows it can renew or remove it, and an answer without it is a stranger's.
The client keeps one for its life. The router's epoch is watched in every answer.
"""

from __future__ import annotations

import ipaddress
import secrets
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.reach.portmap.datagrams import ask
from cis.reach.portmap.epoch import Epoch
from cis.reach.portmap.values import LEASE_S, Mapping, ProtocolName, Refused, public

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.reach.portmap.gateway import Gateway

PORT = 5351
_VERSION = 2
_ANNOUNCE, _MAP = 0, 1
_RESPONSE = 0x80
_UDP = 17
_SIZE_MAX = 1100
_REQUEST_HEADER = struct.Struct(">BBHI16s")
_RESPONSE_HEADER = struct.Struct(">BBBBII12x")
_MAP_BODY = struct.Struct(">12sB3xHH16s")
_ANY = ipaddress.IPv6Address("::ffff:0.0.0.0").packed
_RESULTS = {
    1: "its version is another",
    2: "it does not allow it",
    3: "it found the request malformed",
    4: "it does not know the operation",
    5: "it does not know the option",
    6: "it found the option malformed",
    7: "it has trouble with its own network",
    8: "it has no room now",
    9: "it does not know the protocol",
    10: "this machine has as many mappings as it may",
    11: "it cannot give that external address",
    12: "there is another NAT between",
    13: "too many peers were named",
}
_UNKNOWN_OPERATION = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A PCP response: result code, lifetime in seconds, epoch, and what follows the header."""

    result: int
    lifetime_s: int
    epoch: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a MAP response grants."""

    external: str
    port: int


def encode_announce(own: str) -> bytes:
    """A request that asks for nothing but the epoch."""
    return _REQUEST_HEADER.pack(_VERSION, _ANNOUNCE, 0, 0, _packed(own))


def encode_map(own: str, nonce: bytes, port: int, wanted: int, lifetime_s: int) -> bytes:
    """A request to map a UDP port; to remove its mapping with a lifetime of 0."""
    header = _REQUEST_HEADER.pack(_VERSION, _MAP, 0, lifetime_s, _packed(own))
    return header + _MAP_BODY.pack(nonce, _UDP, port, wanted, _ANY)


def decode_answer(data: bytes, operation: int) -> Answer | None:
    """An answer to a request of that operation, or None; `Refused` from a router with NAT-PMP alone."""
    if len(data) >= 8 and data[0] == 0 and data[1] & _RESPONSE:
        raise Refused("the router knows NAT-PMP and not PCP")
    if not _RESPONSE_HEADER.size <= len(data) <= _SIZE_MAX or len(data) % 4:
        return None
    version, code, _, result, lifetime_s, epoch = _RESPONSE_HEADER.unpack_from(data)
    if code != _RESPONSE | operation:
        return None
    if version != _VERSION:
        raise Refused(f"the router knows PCP in version {version} and not {_VERSION}")
    return Answer(result, lifetime_s, epoch, data[_RESPONSE_HEADER.size :])


def decode_mapped(body: bytes, nonce: bytes, port: int) -> Mapped | None:
    """What a MAP answer says, if it answers this very request."""
    if len(body) < _MAP_BODY.size:
        return None
    echoed, protocol, internal, external_port, external = _MAP_BODY.unpack_from(body)
    if echoed != nonce or protocol != _UDP or internal != port or external_port == 0:
        return None
    address = ipaddress.IPv6Address(external)
    return Mapped(str(address.ipv4_mapped or address), external_port)


class Pcp:
    """PCP with the gateway, for one UDP port."""

    name: ProtocolName = "pcp"

    def __init__(
        self, gateway: Gateway, port: int, *, server_port: int = PORT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._own = gateway.own
        self._server = (gateway.address, server_port)
        self._port = port
        self._clock = clock
        self._nonce = secrets.token_bytes(12)
        self._epoch = Epoch()

    async def probe(self) -> str | None:
        answer = await ask(self._own, self._server, encode_announce(self._own), _announced)
        self._restarted(answer)
        if answer.result not in {0, _UNKNOWN_OPERATION}:
            raise _refusal(answer)
        return None

    async def map(self, wanted: int) -> Mapping:
        answer, mapped = await self._map(wanted, LEASE_S)
        return Mapping("pcp", public(mapped.external), mapped.port, answer.lifetime_s)

    async def alive(self) -> bool:
        answer = await ask(self._own, self._server, encode_announce(self._own), _announced)
        return not self._restarted(answer)

    async def release(self) -> None:
        await self._map(0, 0)

    async def _map(self, wanted: int, lifetime_s: int) -> tuple[Answer, Mapped]:
        def accept(data: bytes) -> tuple[Answer, Mapped] | None:
            answer = decode_answer(data, _MAP)
            if answer is None:
                return None
            if answer.result:
                if answer.body[: len(self._nonce)] not in {b"", self._nonce}:
                    return None
                raise _refusal(answer)
            mapped = decode_mapped(answer.body, self._nonce, self._port)
            if mapped is None and not lifetime_s and answer.body[: len(self._nonce)] == self._nonce:
                mapped = Mapped("", 0)  # a removal names no external port
            return None if mapped is None else (answer, mapped)

        request = encode_map(self._own, self._nonce, self._port, wanted, lifetime_s)
        answer, mapped = await ask(self._own, self._server, request, accept)
        self._restarted(answer)
        return answer, mapped

    def _restarted(self, answer: Answer) -> bool:
        return self._epoch.restarted(answer.epoch, self._clock())


def _announced(data: bytes) -> Answer | None:
    return decode_answer(data, _ANNOUNCE)


def _refusal(answer: Answer) -> Refused:
    return Refused(f"the router refused: {_RESULTS.get(answer.result, f'result {answer.result}')}")


def _packed(own: str) -> bytes:
    return ipaddress.IPv6Address(f"::ffff:{own}").packed
