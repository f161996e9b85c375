"""The sockets of mDNS: one for each interface and family, so that what is said on a network stays on it (RFC 6762).

On Linux each is bound to the group itself: it hears its own interface alone, and takes no unicast away from whatever
else serves mDNS on this machine. What comes is read in bursts and at a bounded rate; a flood beyond that waits in the
kernel, which drops it. Of what is read so much a second is looked at of each source, so that one that floods is not
heard, and others are. ::

    for interface in interfaces():
        for channel in open_channels(interface, on_datagram):
            channel.send(data)
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

import ifaddr

from cis.rate import Bucket, Rates

PORT = 5353
GROUP_IPV4, GROUP_IPV6 = "224.0.0.251", "ff02::fb"
INTERFACES_MAX = 16
ADDRESSES_MAX = 8
READ_PER_S, READ_BURST = 5000, 5000
SOURCE_PER_S, SOURCE_BURST = 100, 500
"""Datagrams looked at of one source; a hundred nodes of one machine that all start at once send fewer."""
LOOK_PER_S, LOOK_BURST = 300, 2000
"""Datagrams looked at of all."""
SOURCES_MAX = 1024
_PAUSE_S = 0.05
_AT_ONCE = 32
_READ_BYTES = 2048
_HOPS = 255
_LINUX = sys.platform == "linux"
_IP_MULTICAST_ALL = 49
"""Of Linux, which Python does not name: whether a socket hears groups that others have joined."""

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True)
class Interface:
    """A network interface with its addresses, each with the network it lies in."""

    index: int
    name: str
    addresses: tuple[Address, ...]

    def has(self, version: int) -> bool:
        """Tell whether it has an address of that family."""
        return any(one.version == version for one in self.addresses)

    def reaches(self, host: str) -> bool:
        """Tell whether an address lies on a network of this interface."""
        address = ipaddress.ip_address(host)
        return any(address in one.network for one in self.addresses)

    def scoped(self, host: str) -> str:
        """Return an address as it is dialled from this machine: a link-local one of IPv6 by this interface alone."""
        address = ipaddress.ip_address(host)
        return f"{host}%{self.name}" if address.version == 6 and address.is_link_local else host


def interfaces(only: Collection[str] = (), *, ipv6: bool = True) -> list[Interface]:
    """Return the interfaces to speak on: those with one of the addresses in ``only``, else all but loopback.

    Addresses are in the order they are best dialled: IPv4, then what lies on a network, then link-local.
    """
    found = []
    for adapter in ifaddr.get_adapters():
        addresses = [
            one for ip in adapter.ips if (one := _address(ip, only)) is not None and (ipv6 or one.version == 4)
        ]
        addresses.sort(key=lambda one: (one.is_link_local, one.version, one))
        if addresses and adapter.index is not None:
            found.append(Interface(adapter.index, adapter.name, tuple(addresses[:ADDRESSES_MAX])))
    return sorted(found, key=lambda one: one.index)[:INTERFACES_MAX]


def _address(ip: ifaddr.IP, only: Collection[str]) -> Address | None:
    text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
    address = ipaddress.ip_interface(f"{text.partition('%')[0]}/{ip.network_prefix}")
    usable = str(address.ip) in only if only else not (address.is_loopback or address.is_unspecified)
    return address if usable else None


class Channel:
    """One socket in the group; `close` it. ``on_datagram`` is told what came."""

    def __init__(self, sock: socket.socket, group: str, on_datagram: Callable[[bytes], None]) -> None:
        self._socket = sock
        self._group = group
        self._on_datagram = on_datagram
        self._loop = asyncio.get_running_loop()
        self._reads = Bucket(per_s=READ_PER_S, burst=READ_BURST)
        self._looks = Bucket(per_s=LOOK_PER_S, burst=LOOK_BURST)
        self._sources: Rates[str] = Rates(per_s=SOURCE_PER_S, burst=SOURCE_BURST, keys_max=SOURCES_MAX)
        self._resuming: asyncio.Handle | None = None
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes) -> bool:
        """Send to the group; False where the network does not take it now."""
        try:
            self._socket.sendto(data, (self._group, PORT))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Leave the group."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket.fileno() < 0:  # closed by what was read
                return
            try:
                data, source = self._socket.recvfrom(_READ_BYTES)
            except OSError:  # nothing more, or an error that came for something sent
                return
            now = self._loop.time()
            if owed_s := self._reads.spend(1, now):
                self._pause(owed_s)
                return
            if self._sources.take(source[0], now) and self._looks.take(1, now):
                self._on_datagram(data)

    def _pause(self, owed_s: float) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._resuming = self._loop.call_later(max(owed_s, _PAUSE_S), self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._readable)


def open_channels(interface: Interface, on_datagram: Callable[[bytes], None]) -> tuple[list[Channel], list[str]]:
    """Join the groups of an interface; returns the channels, and what kept others from being opened."""
    channels, problems = [], []
    for version, family, group, join in _FAMILIES:
        if not interface.has(version):
            continue
        try:
            channels.append(Channel(_joined(family, join, interface), group, on_datagram))
        except OSError as error:
            problems.append(f"{interface.name}, IPv{version}: {error.strerror or error}")
    return channels, problems


def _ipv4(sock: socket.socket, interface: Interface) -> None:
    own = next(one for one in interface.addresses if one.version == 4).ip.packed
    # By index, as addresses may be there twice; other systems than Linux are told the address.
    place = struct.pack("@4si", own, interface.index) if _LINUX else own
    if _LINUX:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    sock.bind((GROUP_IPV4 if _LINUX else "", PORT))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP_IPV4) + place)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(4) + place if _LINUX else own)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def _ipv6(sock: socket.socket, interface: Interface) -> None:
    index = struct.pack("@I", interface.index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((GROUP_IPV6, PORT, 0, interface.index) if _LINUX else ("::", PORT))
    group = socket.inet_pton(socket.AF_INET6, GROUP_IPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)


_FAMILIES = (
    (4, socket.AF_INET, GROUP_IPV4, _ipv4),
    (6, socket.AF_INET6, GROUP_IPV6, _ipv6),
)


def _joined(family: int, join: Callable[[socket.socket, Interface], None], interface: Interface) -> socket.socket:
    """Return a socket in the group; raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not _LINUX and hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        join(sock, interface)
    except BaseException:
        sock.close()
        raise
    return sock
