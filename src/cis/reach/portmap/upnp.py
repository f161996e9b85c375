"""UPnP-IGD, versions 1 and 2: what most home routers speak (WANIPConnection:1 and :2, WANPPPConnection:1).

A router is found once and kept until it no longer answers. Only our own port is ever mapped: a port outside that
leads to somebody else, or to another port of this machine, is left alone and another one is taken.
"""

from __future__ import annotations

import enum
import ipaddress
import random
from typing import TYPE_CHECKING

from cis.reach.portmap.soap import Service, SoapFault, call, services_at
from cis.reach.portmap.ssdp import search
from cis.reach.portmap.values import LEASE_S, Mapping, NoAnswer, ProtocolName, Refused, public

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cis.reach.portmap.document import Element
    from cis.reach.portmap.gateway import Gateway
    from cis.reach.portmap.links import Link

_DESCRIPTION = "cis"
_TRIES = 6
_PORT_MIN = 1024
_INVALID_ARGUMENTS, _ONLY_PERMANENT = 402, 725
_UNKNOWN_ACTION = frozenset({401, 602})
_NO_SUCH_ENTRY = frozenset({713, 714})
_TAKEN = frozenset({501, 718, 729})
"""Conflict with a mapping or a mechanism; 501 (action failed) is what many routers say instead."""


class _Entry(enum.Enum):
    """What a port of the router leads to."""

    OURS = enum.auto()
    OTHER = enum.auto()
    NONE = enum.auto()
    UNSAID = enum.auto()
    """The router does not tell."""


class Upnp:
    """UPnP-IGD with the gateway, or with whichever router answers where that is not known, for one UDP port."""

    name: ProtocolName = "upnp"

    def __init__(
        self,
        own: str,
        gateway: Gateway | None,
        port: int,
        *,
        searching: Callable[[str, str | None], Awaitable[list[Link]]] = search,
        chance: random.Random | None = None,
    ) -> None:
        self._own = own
        self._gateway = None if gateway is None else gateway.address
        self._port = port
        self._search = searching
        self._chance = chance or random.Random()
        self._service: Service | None = None
        self._address: str | None = None
        self._mapped: int | None = None
        self._lease_s = LEASE_S
        self._chooses = True

    async def probe(self) -> str | None:
        if self._service is not None:
            try:
                self._address = await _external(self._service)
            except (Refused, NoAnswer):
                self._service = None
        if self._service is None:
            await self._find()
        return self._address

    async def map(self, wanted: int) -> Mapping:
        service = self._service
        if service is None:
            await self._find()
            service = self._service
            assert service is not None
        port, lease_s = await self._add(service, wanted)
        self._mapped = port
        return Mapping("upnp", public(self._address or ""), port, lease_s)

    async def alive(self) -> bool:
        service, before = self._service, self._address
        if service is None or self._mapped is None:
            return False
        self._address = await _external(service)
        entry = await self._entry(service, self._mapped)
        return self._address == before and entry in {_Entry.OURS, _Entry.UNSAID}

    async def release(self) -> None:
        service, port = self._service, self._mapped
        self._mapped = None
        if service is not None and port is not None and await self._entry(service, port) is not _Entry.OTHER:
            await call(service, "DeletePortMapping", _at(port))

    async def _find(self) -> None:
        """Find a router, and in it a service that has an outer address."""
        failure: Refused | NoAnswer = Refused("the router offers no port mapping")
        for description in await self._search(self._own, self._gateway):
            try:
                for service in await services_at(description):
                    self._address = await _external(service)
                    self._service = service
                    if self._address is not None:
                        return
            except (Refused, NoAnswer) as error:
                failure = error
        if self._service is None:
            raise failure

    async def _add(self, service: Service, wanted: int) -> tuple[int, int]:
        """Map a port: the wanted one, or another where that is taken; port and lease."""
        for attempt in range(_TRIES):
            port = wanted if attempt == 0 else self._chance.randrange(_PORT_MIN, 1 << 16)
            entry = await self._entry(service, port)
            choosing = service.any_port and self._chooses and entry is not _Entry.OURS
            if entry is _Entry.OTHER and not choosing:
                continue
            try:
                return await self._add_at(service, port, choosing=choosing)
            except SoapFault as fault:
                if choosing and fault.code in _UNKNOWN_ACTION:
                    self._chooses = False
                    return await self._add(service, wanted)
                if fault.code not in _TAKEN:
                    raise
        raise Refused(f"the {_TRIES} ports of the router that were tried are taken")

    async def _add_at(self, service: Service, port: int, *, choosing: bool) -> tuple[int, int]:
        """Map that port for the usual lease, or without end where the router knows no other."""
        try:
            return await self._add_for(service, port, self._lease_s, choosing=choosing)
        except SoapFault as fault:
            if fault.code not in {_ONLY_PERMANENT, _INVALID_ARGUMENTS} or not self._lease_s:
                raise
        mapped = await self._add_for(service, port, 0, choosing=choosing)
        self._lease_s = 0
        return mapped

    async def _add_for(self, service: Service, port: int, lease_s: int, *, choosing: bool) -> tuple[int, int]:
        arguments: list[tuple[str, str | int]] = [
            *_at(port),
            ("NewInternalPort", self._port),
            ("NewInternalClient", self._own),
            ("NewEnabled", 1),
            ("NewPortMappingDescription", _DESCRIPTION),
            ("NewLeaseDuration", lease_s),
        ]
        self._mapped = port  # before it is made: whoever is cancelled meanwhile removes it
        try:
            if not choosing:
                await call(service, "AddPortMapping", arguments)
                return port, lease_s
            return _port(await call(service, "AddAnyPortMapping", arguments)), lease_s
        except SoapFault:
            self._mapped = None
            raise

    async def _entry(self, service: Service, port: int) -> _Entry:
        try:
            entry = await call(service, "GetSpecificPortMappingEntry", _at(port))
        except SoapFault as fault:
            return _Entry.NONE if fault.code in _NO_SUCH_ENTRY else _Entry.UNSAID
        ours = entry.leaf("NewInternalClient") == self._own and entry.leaf("NewInternalPort") == str(self._port)
        return _Entry.OURS if ours else _Entry.OTHER


async def _external(service: Service) -> str | None:
    text = (await call(service, "GetExternalIPAddress")).leaf("NewExternalIPAddress")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if address.is_unspecified else str(address)


def _at(port: int) -> list[tuple[str, str | int]]:
    return [("NewRemoteHost", ""), ("NewExternalPort", port), ("NewProtocol", "UDP")]


def _port(result: Element) -> int:
    text = result.leaf("NewReservedPort")
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 1 << 16):
        raise Refused("the router mapped no port that can be used")
    return int(text)
