"""What the three port mapping protocols have in common: mappings, answers, and the shape of a client."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import Literal, Protocol

from cis.errors import TimedOut, Unavailable

ProtocolName = Literal["pcp", "nat-pmp", "upnp"]
LEASE_S = 600
"""The lease asked for: a crashed node's mapping is gone after ten minutes, a living one asks every five."""


class Refused(Unavailable):
    """The router answered, and what it said is no or makes no sense."""


class NoAnswer(TimedOut):
    """Nobody answered."""


class Outcome(enum.Enum):
    """What a protocol came to."""

    OK = "ok"
    REFUSED = "refused"
    SILENT = "no answer"
    UNTRIED = "not asked"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A UDP port of the router that leads to ours.

    ``host`` is the router's address on the internet; None where it named none, or one that is not public (there
    is another NAT above it): then only the port is known. A ``lease_s`` of 0 holds until it is deleted.
    """

    protocol: ProtocolName
    host: str | None
    port: int
    lease_s: int

    @property
    def external(self) -> tuple[str, int] | int:
        """Where it is reached from outside, as far as that is known: address and port, or the port alone."""
        return self.port if self.host is None else (self.host, self.port)


@dataclass(frozen=True, slots=True)
class ProtocolFacts:
    """What came of one protocol: ``external`` is the address the router states, public or not."""

    protocol: ProtocolName
    outcome: Outcome = Outcome.UNTRIED
    latency_s: float | None = None
    external: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PortmapFacts:
    """What is known of the router; ``gateway`` is None where no default route names one."""

    gateway: str | None
    protocols: tuple[ProtocolFacts, ...]
    mapping: Mapping | None

    @property
    def nat_above(self) -> bool:
        """Whether the router's own outer address is one of another NAT (RFC 1918, RFC 6598)."""
        return any(facts.external is not None and public(facts.external) is None for facts in self.protocols)


class PortmapClient(Protocol):
    """One protocol with one router, for one UDP port of this machine; every method raises `Refused` or `NoAnswer`."""

    @property
    def name(self) -> ProtocolName: ...

    async def probe(self) -> str | None:
        """Ask without mapping anything; the router's outer address, where the protocol tells."""
        ...

    async def map(self, wanted: int) -> Mapping:
        """Map the port, or renew it, outside at ``wanted`` if that is free."""
        ...

    async def alive(self) -> bool:
        """Whether the mapping made last is still there and means the same address."""
        ...

    async def release(self) -> None:
        """Remove whatever `map` has made or may have made."""
        ...


def public(host: str) -> str | None:
    """The address, if the internet could reach it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return host if address.is_global and not address.is_multicast else None
