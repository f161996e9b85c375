"""What was found out about the network here, in the terms of RFC 5780, and what follows from it for peers.

A NAT maps (from which public address does a packet leave?) and filters (who may answer to it?). Each is unknown until
measured, and what follows is worked out for every case that is still possible: where these differ, it is unknown too::

    name_of(Mapping.ENDPOINT, Filtering.ADDRESS_PORT)          # "port-restricted cone"
    outlook(Nat(Mapping.ADDRESS_PORT, Filtering.ADDRESS_PORT))  # … "behind a symmetric NAT": no direct path
"""

from __future__ import annotations

import enum
from itertools import product
from typing import Literal

import msgspec


class Mapping(enum.Enum):
    """What the public address of a socket depends on (RFC 4787 §4.1)."""

    NONE = "none"
    """no translation: it is the socket's own"""
    ENDPOINT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_PORT = "address-and-port-dependent"
    DEPENDENT = "destination-dependent"
    """on the destination's address, perhaps on its port too: two ordinary servers tell no more"""


class Filtering(enum.Enum):
    """Who may send to it (RFC 4787 §5)."""

    ENDPOINT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_PORT = "address-and-port-dependent"


Reachable = Literal["direct", "relay", "unknown"]
_OPEN = (Mapping.NONE, Mapping.ENDPOINT)
_MAPPINGS = (Mapping.ENDPOINT, Mapping.ADDRESS_PORT)
_CONES = {
    Filtering.ENDPOINT: "full cone",
    Filtering.ADDRESS: "address-restricted cone",
    Filtering.ADDRESS_PORT: "port-restricted cone",
}


class Nat(msgspec.Struct, frozen=True):
    """How the network treats a socket here; None for what could not be measured, and why not."""

    mapping: Mapping | None = None
    filtering: Filtering | None = None
    mapping_unknown: str = ""
    filtering_unknown: str = ""

    @property
    def translates(self) -> bool:
        """Whether addresses are known to be translated."""
        return self.mapping not in {None, Mapping.NONE}


class Outlook(msgspec.Struct, frozen=True):
    """How one kind of peer will be reached."""

    peers: str
    how: Reachable


_PEERS: tuple[tuple[str, Nat], ...] = (
    ("with a public or forwarded address", Nat(Mapping.NONE, Filtering.ENDPOINT)),
    ("behind a full cone NAT", Nat(Mapping.ENDPOINT, Filtering.ENDPOINT)),
    ("behind an address-restricted cone NAT", Nat(Mapping.ENDPOINT, Filtering.ADDRESS)),
    ("behind a port-restricted cone NAT", Nat(Mapping.ENDPOINT, Filtering.ADDRESS_PORT)),
    ("behind a symmetric NAT", Nat(Mapping.ADDRESS_PORT, Filtering.ADDRESS_PORT)),
)


def name_of(mapping: Mapping, filtering: Filtering | None) -> str:
    """Return what people call such a NAT (RFC 3489 §5)."""
    if mapping is Mapping.NONE:
        if filtering is None:
            return "no NAT"
        return "no NAT, open to all" if filtering is Filtering.ENDPOINT else "no NAT, behind a firewall"
    if mapping is not Mapping.ENDPOINT:
        return "symmetric NAT"
    return f"{_CONES[filtering]} NAT" if filtering is not None else "a cone NAT"


def outlook(nat: Nat, *, udp: bool | None = True, forwarded: bool = False) -> tuple[Outlook, ...]:
    """Return how each kind of peer is reached from here.

    ``udp`` is whether UDP gets out at all, None where that is unknown; ``forwarded`` that a router forwards a port.
    """
    found = [Outlook(name, _reached(nat, peer, udp=udp, forwarded=forwarded)) for name, peer in _PEERS]
    return (*found, Outlook("whose network blocks UDP", "relay"))


def _reached(nat: Nat, peer: Nat, *, udp: bool | None, forwarded: bool) -> Reachable:
    if udp is False:
        return "relay"
    if udp is None:
        return "unknown"
    mappings = (nat.mapping,) if nat.mapping is not None else _MAPPINGS
    filterings = (nat.filtering,) if nat.filtering is not None else tuple(Filtering)
    cases = {
        forwarded or _lets_in(Nat(*case), peer) or _lets_in(peer, Nat(*case)) for case in product(mappings, filterings)
    }
    if len(cases) > 1:
        return "unknown"
    return "direct" if cases.pop() else "relay"


def _lets_in(here: Nat, there: Nat) -> bool:
    """Tell whether what comes from there gets in at the address made known here, once here has sent a packet there.

    It does past a filter that lets everybody in. Else what was sent must have left from that same address, which it
    does where the mapping is independent of the destination, and must have gone to where the packet comes from: to
    that host, or, for the strictest filter, to that very port, which is known only where the mapping there is
    independent too.
    """
    if here.filtering is Filtering.ENDPOINT:
        return True
    return here.mapping in _OPEN and (here.filtering is Filtering.ADDRESS or there.mapping in _OPEN)


class ServerFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was asked: how long its answer took, or why there was none."""

    kind: Literal["stun", "turn", "anchor"]
    name: str
    latency_ms: float | None = None
    error: str = ""


class Netcheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; ``*_unknown`` says why something was not."""

    udp: bool | None
    udp_detail: str
    ipv6: bool | None
    ipv6_detail: str
    public: tuple[str, ...]
    """this node's addresses as servers saw them"""
    nat: Nat
    hairpin: bool | None
    hairpin_detail: str
    servers: tuple[ServerFinding, ...]
