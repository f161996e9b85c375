"""A small internet in network namespaces: public addresses on one bridge, homes behind routers of every kind.

Everything lives in namespaces without a way out, so its addresses may be real ones: what cis thinks of an address
(private, reserved, anybody's) holds here as outside. Every home has the same network, 192.168.1.0/24, as homes do.

::

    with Internet() as internet:
        alice = internet.host("cone", "A")          # made when first asked for
        bob = internet.host("cone", "A", 2)         # on alice's network
        carol = internet.host("cgnat", "B")
        alice.namespace.run("cis", "up", "--detach")
        print(carol.edge.traffic())                 # bytes by the other side's address, protocol and port

| kind | between the host and the internet |
|---|---|
| none | nothing |
| full, arc, cone, sym, blocked | one router of that kind (`rules`) |
| cgnat, cgnathair | a router, and a carrier's; the second host is another customer of that carrier; hairpin or none |
| conehair | a port-restricted router that hairpins |
| symupnp, coneupnp | a router that opens ports when asked (miniupnpd) |
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from tests.net.nat import conntrack, namespaces
from tests.net.nat.link import Link
from tests.net.nat.namespaces import BedError, Namespace
from tests.net.nat.rules import Nat, counting_rules, nat_rules
from tests.net.nat.upnp import PortMapper

PUBLIC = "44.0.0."
CARRIER = "100.64.0."
HOME = "192.168.1."
KINDS = ("none", "full", "arc", "cone", "sym", "blocked", "cgnat", "cgnathair", "conehair", "symupnp", "coneupnp")
_NAME = re.compile(r"(?P<kind>[a-z]+)(?P<site>[A-Z])(?:\.(?P<number>[1-9]))?")
_BRIDGE = "02:00:00:00:00:01"
"""Without an address of its own a bridge takes the least of its ports', another with some new ones: its neighbours then
send to the one they know of for as long as they believe in it, and nothing arrives."""
_FORWARD = {"ipv4/ip_forward": "1"}
_NO_IPV6 = {"ipv6/conf/all/disable_ipv6": "1"}

Traffic = dict[tuple[str, str, int], int]
"""Bytes by the other side's address, protocol (udp or tcp) and port."""


@dataclass
class Edge:
    """Where a host's packets enter the internet: its router, the carrier's, or the host itself."""

    namespace: Namespace
    address: str
    """as the internet sees it"""

    def traffic(self) -> Traffic:
        """Return all that ever passed, both ways."""
        found: collections.Counter[tuple[str, str, int]] = collections.Counter()
        for row in self.namespace.nft_json("list", "table", "ip", "traffic"):
            for one in row.get("set", {}).get("elem", ()):
                address, protocol, port = one["elem"]["val"]["concat"]
                found[address, protocol, port] += one["elem"]["counter"]["bytes"]
        return dict(found)


@dataclass
class Router(Edge):
    """A router with a network of its own behind it."""

    label: str
    nat: Nat
    inside: str
    gateway: str
    hairpin: bool = False
    members: int = 0
    link: Link | None = None
    mapper: PortMapper | None = None

    def reboot(self) -> None:
        """Forget every flow and every mapping, as a router does that was switched off and on."""
        with self.namespace.entered():
            conntrack.flush()
        self.namespace.nft("flush map ip nat inner\nflush set ip nat spoken")

    def become(self, nat: Nat) -> None:
        """Turn into a router of another kind; what flows now flows on."""
        self.nat = nat
        self.namespace.nft("delete table ip nat\n" + nat_rules(nat, self.address, hairpin=self.hairpin))

    def move(self, address: str) -> None:
        """Take another outer address, as after a new lease."""
        self.namespace.ip(
            f"addr del {self.address}/24 dev wan",
            f"addr add {address}/24 dev wan",
            f"route replace default via {self.gateway}",
        )
        self.address = address


@dataclass
class Host:
    """A computer; ``edge`` is where it meets the internet, ``router`` what it sits behind."""

    name: str
    kind: str
    namespace: Namespace
    address: str
    edge: Edge
    router: Router | None = None
    gateway: str = ""

    @property
    def own(self) -> Edge:
        """Its own interface, which counts too."""
        return Edge(self.namespace, self.address)

    def unplug(self) -> None:
        """Take its interface down."""
        self.namespace.ip("link set eth0 down")

    def plug(self) -> None:
        """Take its interface up again."""
        self.namespace.ip("link set eth0 up", f"route replace default via {self.gateway}")


@dataclass
class Internet:
    """All of it; a context manager that removes what it made."""

    core: Namespace = field(init=False)
    hosts: dict[str, Host] = field(default_factory=dict)
    _made: list[Namespace] = field(default_factory=list)
    _routers: dict[str, Router] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _addresses: itertools.count[int] = field(default_factory=lambda: itertools.count(10))
    _ports: itertools.count[int] = field(default_factory=itertools.count)

    def __enter__(self) -> Self:
        try:
            self._stack.callback(lambda: namespaces.remove(self._made))
            self.core = self._namespace("core")
            self.core.ip(
                f"link add br0 address {_BRIDGE} type bridge",
                *(f"addr add {PUBLIC}{number}/24 dev br0" for number in range(1, 8)),
                "link set br0 up",
                # What is sent to a private address vanishes, as outside; without a route coturn would give up.
                f"neigh add {PUBLIC}254 lladdr 02:00:00:00:00:fe dev br0 nud permanent",
                f"route add default via {PUBLIC}254",
            )
            self.core.set(_NO_IPV6)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def stack(self) -> contextlib.ExitStack:
        """What is to end before the namespaces go is entered here."""
        return self._stack

    def host_named(self, name: str) -> Host:
        """Return the host of a name such as ``coneA``, or ``coneA.2`` for the second one at that place."""
        found = _NAME.fullmatch(name)
        if found is None or found["kind"] not in KINDS:
            raise BedError(f"{name!r} names no host: a kind of {', '.join(KINDS)}, a letter, and .2 for a neighbour")
        return self.host(found["kind"], found["site"], int(found["number"] or 1))

    def host(self, kind: str, site: str, number: int = 1, *, link: bool = False) -> Host:
        """Return a host, made when first asked for; with ``link`` its router's line can delay and lose."""
        name = f"{kind}{site}" + (f".{number}" if number > 1 else "")
        if name not in self.hosts:
            self.hosts[name] = self._host(name, kind, site, number, link=link)
        return self.hosts[name]

    def next_address(self) -> str:
        """Return a public address nobody has."""
        return f"{PUBLIC}{next(self._addresses)}"

    def _host(self, name: str, kind: str, site: str, number: int, *, link: bool) -> Host:
        namespace = self._namespace(f"h{name}")
        if kind == "none":
            address = self.next_address()
            self._attach(namespace, "eth0", self.core, "br0", address, f"{PUBLIC}1")
            namespace.nft(counting_rules("eth0"))
            return Host(name, kind, namespace, address, Edge(namespace, address), None, f"{PUBLIC}1")
        if kind.startswith("cgnat"):
            outer = self._router(f"c{kind}{site}", Nat.CONE, CARRIER, hairpin=kind == "cgnathair", link=link)
            router = self._router(f"r{name}", Nat.CONE, HOME, within=outer)
        else:
            nat = Nat(kind.removesuffix("hair").removesuffix("upnp"))
            outer = router = self._router(f"r{kind}{site}", nat, HOME, hairpin=kind == "conehair", link=link)
        router.members += 1
        address, gateway = f"{HOME}{router.members + 1}", f"{HOME}1"
        self._attach(namespace, "eth0", router.namespace, "lan", address, gateway)
        namespace.nft(counting_rules("eth0"))
        if kind.endswith("upnp") and router.mapper is None:  # with a host on it, its network is up
            router.mapper = self._stack.enter_context(PortMapper(router.namespace, router.address))
        return Host(name, kind, namespace, address, outer, router, gateway)

    def _router(
        self,
        label: str,
        nat: Nat,
        inside: str,
        *,
        within: Router | None = None,
        hairpin: bool = False,
        link: bool = False,
    ) -> Router:
        if label in self._routers:
            return self._routers[label]
        namespace = self._namespace(label)
        if within is not None:
            within.members += 1
            address, gateway = f"{CARRIER}{within.members + 1}", f"{CARRIER}1"
            self._attach(namespace, "wan", within.namespace, "lan", address, gateway)
        else:
            address, gateway = self.next_address(), f"{PUBLIC}1"
        router = Router(namespace, address, label, nat, inside, gateway, hairpin)
        if link:
            router.link = self._stack.enter_context(Link(namespace, "wan", self.core, "br0", f"t{next(self._ports)}"))
            self._address(namespace, "wan", address, gateway)
        elif within is None:
            self._attach(namespace, "wan", self.core, "br0", address, gateway)
        namespace.ip(f"link add lan address {_BRIDGE} type bridge", f"addr add {inside}1/24 dev lan", "link set lan up")
        namespace.set({**_FORWARD, **_NO_IPV6})
        namespace.nft(nat_rules(nat, address, hairpin=hairpin) + counting_rules("wan"))
        self._routers[label] = router
        return router

    def _attach(
        self, namespace: Namespace, interface: str, to: Namespace, bridge: str, address: str, gateway: str
    ) -> None:
        port = f"p{next(self._ports)}"
        namespace.ip(f"link add {interface} type veth peer name {port} netns {to.name}")
        to.ip(f"link set {port} master {bridge} up")
        self._address(namespace, interface, address, gateway)

    def _address(self, namespace: Namespace, interface: str, address: str, gateway: str) -> None:
        namespace.ip(
            f"addr add {address}/24 dev {interface}",
            f"link set {interface} up",
            f"route add default via {gateway}",
        )

    def _namespace(self, label: str) -> Namespace:
        (made,) = namespaces.make(label)
        self._made.append(made)
        return made


def grown(before: Mapping[tuple[str, str, int], int], after: Traffic) -> Traffic:
    """Return what passed between two readings."""
    return {flow: count - before.get(flow, 0) for flow, count in after.items() if count > before.get(flow, 0)}
