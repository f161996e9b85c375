"""NAT-PMP, PCP's predecessor, which many home routers still speak alone (RFC 6886)."""

from __future__ import annotations

import ipaddress
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
_EXTERNAL, _MAP_UDP = 0, 1
_RESPONSE = 0x80
_HEADER = struct.Struct(">BBHI")
_MAP_REQUEST = struct.Struct(">BBHHHI")
_MAP_BODY = struct.Struct(">HHI")
_RESULTS = {
    1: "its version is another",
    2: "mapping is switched off, or not allowed to this machine",
    3: "it has no address of its own yet",
    4: "it has no room now",
    5: "it does not know the operation",
}


@dataclass(frozen=True, slots=True)
class External:
    """The router's outer address."""

    epoch: int
    address: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping granted; a removal has port and lifetime 0."""

    epoch: int
    port: int
    lifetime_s: int


def encode_external() -> bytes:
    """A request for the outer address."""
    return struct.pack(">BB", 0, _EXTERNAL)


def encode_map(port: int, wanted: int, lifetime_s: int) -> bytes:
    """A request to map a UDP port; to remove its mapping with a lifetime of 0."""
    return _MAP_REQUEST.pack(0, _MAP_UDP, 0, port, wanted, lifetime_s)


def decode_external(data: bytes) -> External | None:
    """The outer address, or None for anything else; `Refused` for a refusal."""
    epoch = _decode_header(data, _EXTERNAL)
    if epoch is None or len(data) < _HEADER.size + 4:
        return None
    return External(epoch, str(ipaddress.IPv4Address(data[_HEADER.size : _HEADER.size + 4])))


def decode_mapped(data: bytes, port: int) -> Mapped | None:
    """The mapping of our port, or None for anything else; `Refused` for a refusal."""
    epoch = _decode_header(data, _MAP_UDP)
    if epoch is None or len(data) < _HEADER.size + _MAP_BODY.size:
        return None
    internal, external, lifetime_s = _MAP_BODY.unpack_from(data, _HEADER.size)
    if internal != port or (lifetime_s and not external):
        return None
    return Mapped(epoch, external, lifetime_s)


def _decode_header(data: bytes, operation: int) -> int | None:
    if len(data) < _HEADER.size:
        return None
    version, code, result, epoch = _HEADER.unpack_from(data)
    if version or code != _RESPONSE | operation:
        return None
    if result:
        raise Refused(f"the router refused: {_RESULTS.get(result, f'result {result}')}")
    return int(epoch)


class NatPmp:
    """NAT-PMP with the gateway, for one UDP port."""

    name: ProtocolName = "nat-pmp"

    def __init__(
        self, gateway: Gateway, port: int, *, server_port: int = PORT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._own = gateway.own
        self._server = (gateway.address, server_port)
        self._port = port
        self._clock = clock
        self._epoch = Epoch()
        self._address: str | None = None

    async def probe(self) -> str | None:
        external = await ask(self._own, self._server, encode_external(), decode_external)
        self._epoch.restarted(external.epoch, self._clock())
        self._address = external.address
        return external.address

    async def map(self, wanted: int) -> Mapping:
        mapped = await self._map(wanted, LEASE_S)
        if not mapped.lifetime_s:
            raise Refused("the router granted a mapping of no duration")
        address = await self.probe()
        return Mapping("nat-pmp", public(address or ""), mapped.port, mapped.lifetime_s)

    async def alive(self) -> bool:
        before = self._address
        external = await ask(self._own, self._server, encode_external(), decode_external)
        restarted = self._epoch.restarted(external.epoch, self._clock())
        return not restarted and external.address == before

    async def release(self) -> None:
        await self._map(0, 0)

    async def _map(self, wanted: int, lifetime_s: int) -> Mapped:
        def accept(data: bytes) -> Mapped | None:
            return decode_mapped(data, self._port)

        mapped = await ask(self._own, self._server, encode_map(self._port, wanted, lifetime_s), accept)
        self._epoch.restarted(mapped.epoch, self._clock())
        return mapped
