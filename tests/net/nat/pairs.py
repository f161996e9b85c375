"""One pair of networks: whether a direct path exists in theory, which way the bytes went, and how fast.

The way is judged by the counters of the two edges (`Edge.traffic`), never by what the nodes say.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cis.api.peers.network_schema import ConnectPeer, DisconnectPeer
from cis.errors import CisError
from tests.net.nat.internet import Host, Internet, Traffic, grown
from tests.net.nat.namespaces import BedError
from tests.net.nat.nodes import Trio, describe, stop
from tests.net.nat.programs import wait_until
from tests.net.nat.rules import Nat
from tests.net.nat.servers import TURN_HOSTS
from tests.net.nat.signalling import Signalling

CONNECT_S = 20.0
SYNC_S = 60.0
PAYLOAD_BYTES = 3 << 20
SINGLE = ("none", "full", "arc", "cone", "sym", "blocked", "cgnat")
SPECIAL = (
    ("coneA", "coneA.2"),
    ("conehairA", "conehairA.2"),
    ("symA", "symA.2"),
    ("cgnatA", "cgnatA.2"),
    ("cgnathairA", "cgnathairA.2"),
    ("symupnpA", "symB"),
    ("symupnpA", "coneB"),
    ("coneupnpA", "symB"),
    ("symupnpA", "symupnpB"),
    ("symA", "coneB"),
    ("blockedA", "noneB"),
    ("symA", "arcB"),
)
ALL = (
    *((f"{one}A", f"{other}B") for one, other in itertools.combinations_with_replacement(SINGLE, 2)),
    *SPECIAL,
)


class Way(enum.Enum):
    """How two nodes speak."""

    DIRECT = "direct"
    RELAYED = "relayed"
    NONE = "none"


@dataclass(frozen=True)
class Verdict:
    """What became of one pair."""

    first: str
    second: str
    expected: Way
    way: Way
    connect_s: float | None = None
    rate: float | None = None
    """megabytes per second of a sync"""
    error: str = ""
    signalled_s: float = 0.0
    """from both being up to both being able to exchange offers; no part of ``connect_s``"""
    flows: Traffic = field(default_factory=dict)
    """bytes of the first one's edge during the sync"""

    @property
    def connected(self) -> bool:
        """Whether they spoke at all."""
        return self.way is not Way.NONE

    @property
    def needless(self) -> bool:
        """Whether a relay carried what could have gone directly."""
        return self.expected is Way.DIRECT and self.way is Way.RELAYED

    @property
    def ok(self) -> bool:
        """Whether it went as it should."""
        return not self.error and self.way is self.expected


def expected_way(first: Host, second: Host) -> Way:
    """Say how two hosts can speak at best, by how their routers map and filter (RFC 4787, RFC 5128)."""
    if first.router is not None and first.router is second.router:
        return Way.DIRECT
    if "blocked" in {first.kind, second.kind}:
        return Way.RELAYED
    if first.edge is second.edge:
        return Way.DIRECT if first.kind == "cgnathair" else Way.RELAYED
    reached = _opens(first, second), _opens(second, first)
    return Way.DIRECT if any(reached) else Way.RELAYED


def _opens(host: Host, other: Host) -> bool:
    """Whether the other's first packet gets in at the address the host knows of itself."""
    if host.kind in {"none", "full"} or host.kind.endswith("upnp"):
        return True
    nat = host.router.nat if host.router is not None else None
    if nat is Nat.ARC:  # once it has spoken to that address, any port of it gets in
        return True
    return nat is Nat.CONE and (other.router is None or other.router.nat.maps_alike)


def way_of(flows: Traffic, other: Host, least: int) -> Way:
    """Say which way most bytes went, as one side's counters saw them; none where it was fewer than ``least``."""
    relayed = sum(count for (address, _, _), count in flows.items() if address in TURN_HOSTS)
    direct = sum(count for (address, _, _), count in flows.items() if address in {other.edge.address, other.address})
    if max(relayed, direct) < least:
        return Way.NONE
    return Way.DIRECT if direct > relayed else Way.RELAYED


def counters(host: Host, other: Host) -> Traffic:
    """Read what sees all that a host exchanges with another: its edge, or itself where both are behind one."""
    return (host.own if host.edge is other.edge else host.edge).traffic()


@dataclass
class Trial:
    """Runs pairs, one after the other."""

    internet: Internet
    trio: Trio
    settings: Mapping[str, str]
    signalling: Signalling

    def run(self, first: str, second: str) -> Verdict:
        """Run one pair: start both, connect, synchronise, judge."""
        one, other = self.internet.host_named(first), self.internet.host_named(second)
        expected = expected_way(one, other)
        try:
            signalled_s = self.start(one, other)
            return dataclasses.replace(self._measured(one, other, expected), signalled_s=signalled_s)
        except (BedError, CisError) as error:
            return Verdict(first, second, expected, Way.NONE, error=str(error))
        finally:
            stop((self.trio.alpha, self.trio.beta))

    def start(self, one: Host, other: Host) -> float:
        """Start both, parted from each other, with signalling in place; returns how many seconds that took to be."""
        self.signalling.enter()
        settings = {**self.settings, **self.signalling.settings}
        self.trio.alpha.start(one, settings)
        self.trio.alpha.call(DisconnectPeer(target="beta"))
        self.trio.beta.start(other, settings)
        began = time.monotonic()
        for node in (self.trio.alpha, self.trio.beta):
            self.signalling.wait(node)
        return time.monotonic() - began

    def _measured(self, one: Host, other: Host, expected: Way) -> Verdict:
        began = time.monotonic()
        self.trio.alpha.call(ConnectPeer(target="beta", timeout_s=CONNECT_S))
        connect_s = time.monotonic() - began
        self.signalling.leave()
        before = counters(one, other)
        began = time.monotonic()
        keys = self.trio.alpha.write(PAYLOAD_BYTES, "payload")
        error = ""
        try:
            wait_until(
                lambda: self.trio.beta.holds(keys), SYNC_S, "the memories", seen=lambda: describe(self.trio.beta)
            )
        except BedError as late:
            error = str(late)
        took_s = time.monotonic() - began
        flows = grown(before, counters(one, other))
        rate = PAYLOAD_BYTES / took_s / 1e6
        return Verdict(
            one.name,
            other.name,
            expected,
            way_of(flows, other, PAYLOAD_BYTES // 2),
            connect_s,
            rate,
            error,
            flows=flows,
        )
