"""Local networks in namespaces: bridges that carry multicast as a switch does, and hosts on one of them or on several.

::

    with Lan() as lan:
        ana = lan.host("ana", "home")
        ben = lan.host("ben", "home", "lab")       # eth0 on one, eth1 on the other
        cat = lan.host("cat", "v6only", ipv4=False)  # link-local addresses of IPv6, and no other
        with lan.observer("home") as observer:
            observer.heard()                       # all mDNS that passed
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.net.nat import namespaces
from tests.net.nat.internet import Edge, Host
from tests.net.nat.namespaces import Namespace

_BRIDGE = "02:00:00:00:00:{:02x}"
"""A bridge without an address of its own changes it with its ports: see ``tests.net.nat.internet``."""
_MDNS_PORT = 5353
_ALL_PROTOCOLS, _IPV4, _IPV6, _UDP = 0x0003, 0x0800, 0x86DD, 17
_FRAME_BYTES = 65536


@dataclass
class Network:
    """One bridge; hosts on it have addresses that begin with ``prefix``."""

    bridge: str
    prefix: str
    members: itertools.count[int] = field(default_factory=lambda: itertools.count(10))


@dataclass
class Lan:
    """All of it; a context manager that removes what it made."""

    core: Namespace = field(init=False)
    _networks: dict[str, Network] = field(default_factory=dict)
    _made: list[Namespace] = field(default_factory=list)
    _ports: itertools.count[int] = field(default_factory=itertools.count)
    _hosts: itertools.count[int] = field(default_factory=itertools.count)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self._stack.callback(lambda: namespaces.remove(self._made))
        self.core = self._namespace("lan")
        self.core.set({"ipv6/conf/default/disable_ipv6": "1"})  # a switch says nothing itself
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def host(self, name: str, *networks: str, ipv4: bool = True) -> Host:
        """Add a host with an interface on each network, eth0 on the first; its addresses are usable at once."""
        namespace = self._namespace(f"l{next(self._hosts)}{name}")
        namespace.set({"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/router_solicitations": "0"})
        address = ""
        for number, network in enumerate(networks):
            given = self.plug(namespace, f"eth{number}", network, ipv4=ipv4)
            address = address or given
        return Host(name, "lan", namespace, address, Edge(namespace, address))

    def plug(self, namespace: Namespace, interface: str, network: str, *, ipv4: bool = True) -> str:
        """Add an interface on a network; returns its IPv4 address, if it gets one."""
        there, port = self._network(network), f"p{next(self._ports)}"
        namespace.ip(f"link add {interface} type veth peer name {port} netns {self.core.name}")
        self.core.ip(f"link set {port} master {there.bridge} up")
        address = f"{there.prefix}{next(there.members)}" if ipv4 else ""
        given = [f"addr add {address}/24 dev {interface}"] if ipv4 else []
        namespace.ip(*given, f"link set {interface} up")
        return address

    @contextlib.contextmanager
    def observer(self, network: str) -> Iterator[Observer]:
        """Listen to all frames of a network from now on, as anybody on it can."""
        bridge = self._network(network).bridge
        with self.core.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind((bridge, _ALL_PROTOCOLS))
            yield Observer(sock)

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            number = len(self._networks) + 1
            bridge = f"br{number}"
            self.core.ip(
                f"link add {bridge} address {_BRIDGE.format(number)} type bridge mcast_snooping 0",
                f"link set {bridge} up",
            )
            self._networks[name] = Network(bridge, f"192.168.{number}.")
        return self._networks[name]

    def _namespace(self, label: str) -> Namespace:
        (made,) = namespaces.make(label)
        self._made.append(made)
        return made


@dataclass(frozen=True)
class Frame:
    """One datagram of mDNS; ``size`` is that of the whole frame, and ``at`` by the monotonic clock."""

    source: str
    payload: bytes
    size: int
    at: float


class Observer:
    """Reads what passes on a network."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._heard: list[Frame] = []

    def heard(self) -> list[Frame]:
        """Return all mDNS until now."""
        while True:
            try:
                data = self._socket.recv(_FRAME_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return list(self._heard)
            if (frame := _mdns_in(data)) is not None:
                self._heard.append(frame)


def _mdns_in(data: bytes) -> Frame | None:
    """Return the datagram in an Ethernet frame, if it is one of mDNS."""
    (kind,) = struct.unpack_from("!H", data, 12)
    if kind == _IPV4 and data[23] == _UDP:
        source, at = socket.inet_ntop(socket.AF_INET, data[26:30]), 14 + 4 * (data[14] & 15)
    elif kind == _IPV6 and data[20] == _UDP:
        source, at = socket.inet_ntop(socket.AF_INET6, data[22:38]), 54
    else:
        return None
    _, port, length, _ = struct.unpack_from("!4H", data, at)
    return Frame(source, data[at + 8 : at + length], len(data), time.monotonic()) if port == _MDNS_PORT else None
