"""What the Linux kernel tells of its network by rtnetlink(7): links, addresses, default routes.

Messages go in as bytes, changes come out as words; the kernel repeats much that is no change (a router's
advertisement renews addresses every few seconds), so what is there is remembered. A link without an address, such as
a container's end, is nobody's way. Anything malformed is skipped.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, and _IFADDR and _ROUTE of IPv4 and IPv6."""
DUMPS = (18, 22, 26)
"""RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE."""
DONE, ERROR = 3, 2
KNOWN_MAX = 4096
"""Links, addresses and routes remembered, of each; beyond it every message counts as a change."""

_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _NEW_ROUTE, _DEL_ROUTE = 16, 17, 20, 21, 24, 25
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST_DUMP = 0x1 | 0x300
_UP_AND_RUNNING = 0x1 | 0x40
_LOOPBACK = 0x8
_SCOPE_LINK = 253
_TENTATIVE = 0x40
_MAIN_TABLE = 254
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_OIF, _RTA_GATEWAY = 4, 5


def encode_dump(kind: int) -> bytes:
    """A request that the kernel list all of a kind (one of `DUMPS`)."""
    return _HEADER.pack(_HEADER.size + _LINK.size, kind, _REQUEST_DUMP, 1, 0) + bytes(_LINK.size)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each message in a datagram, as far as their lengths make sense."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a message by their type; of several of one type the last."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


class Network:
    """The network as the kernel described it so far."""

    def __init__(self) -> None:
        self._links: dict[int, bool] = {}
        self._addresses: dict[tuple[int, bytes], None] = {}
        self._routes: dict[tuple[int, bytes, bytes], None] = {}

    def changes(self, data: bytes) -> list[str]:
        """What the messages of a datagram change, in words without addresses."""
        readers: dict[int, Callable[[int, bytes], str | None]] = {
            _NEW_LINK: self._on_link,
            _DEL_LINK: self._on_link,
            _NEW_ADDRESS: self._on_address,
            _DEL_ADDRESS: self._on_address,
            _NEW_ROUTE: self._on_route,
            _DEL_ROUTE: self._on_route,
        }
        found = (readers[kind](kind, payload) for kind, payload in messages(data) if kind in readers)
        return [change for change in found if change is not None]

    def _on_link(self, kind: int, payload: bytes) -> str | None:
        if len(payload) < _LINK.size:
            return None
        _, _, index, flags, _ = _LINK.unpack_from(payload)
        if flags & _LOOPBACK:
            return None
        up = kind == _NEW_LINK and flags & _UP_AND_RUNNING == _UP_AND_RUNNING
        before = self._links.pop(index, False)
        if up and len(self._links) < KNOWN_MAX:
            self._links[index] = up
        if up == before or all(index != holder for holder, _ in self._addresses):
            return None
        return "a link came up" if up else "a link went down"

    def _on_address(self, kind: int, payload: bytes) -> str | None:
        if len(payload) < _ADDRESS.size:
            return None
        _, _, flags, scope, index = _ADDRESS.unpack_from(payload)
        found = attributes(payload[_ADDRESS.size :])
        address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if scope >= _SCOPE_LINK or address is None:
            return None
        if kind == _DEL_ADDRESS:
            self._addresses.pop((index, address), None)
            return "an address went"
        if flags & _TENTATIVE or not _added(self._addresses, (index, address)):
            return None
        return "an address came"

    def _on_route(self, kind: int, payload: bytes) -> str | None:
        if len(payload) < _ROUTE.size:
            return None
        family, length, _, _, table, _, _, _, _ = _ROUTE.unpack_from(payload)
        if length or table != _MAIN_TABLE:
            return None
        found = attributes(payload[_ROUTE.size :])
        route = (family, found.get(_RTA_GATEWAY, b""), found.get(_RTA_OIF, b""))
        if kind == _DEL_ROUTE:
            self._routes.pop(route, None)
        elif not _added(self._routes, route):
            return None
        return "the default route changed"


def _added(known: dict[T, None], item: T) -> bool:
    """Whether the item was not known; remembers it while there is room."""
    if item in known:
        return False
    if len(known) < KNOWN_MAX:
        known[item] = None
    return True
