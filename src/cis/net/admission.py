"""Whether a stranger's first packet is worth a connection: pure arithmetic over what is already open.

Order of the questions: is there room at all, has this address come to nothing too often, must it show that it is
real (RFC 9000 §8.1), does it hold too much, are too many strangers waiting to prove themselves. Where they are, the
oldest of whichever address holds most of these places gives way to a newcomer whose address holds fewer; where all
hold one, the oldest after it had its time. What an address has not been shown to hold never counts against one that
was shown to be real: an address is easily forged in a first packet. Who comes on a path a peer is expected on is
asked none of this and takes no stranger's place; of these there may be as many again.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.net.limits import NetLimits, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

PRESSED_S = 1.0
"""How long a stranger surely has to prove itself, however many wait for its place."""


class Admission(enum.Enum):
    """What to do with a newcomer that is not refused."""

    ACCEPT = enum.auto()
    PROVE_ADDRESS = enum.auto()


@dataclass(frozen=True, slots=True)
class Occupant:
    """What counts of a connection that is already there; ``who`` names it to the caller."""

    network: str
    accepted: bool
    authenticated: bool
    proven: bool = True
    """whether what it sent came from its address"""
    age_s: float = 0.0
    who: object = None
    expected: bool = False
    """whether it came on a path a peer was expected on"""

    @property
    def unproven(self) -> bool:
        """Whether it was let in and has not proven who it is."""
        return self.accepted and not self.authenticated

    @property
    def stranger(self) -> bool:
        """Whether nobody expected it either."""
        return self.unproven and not self.expected


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who asks to be let in; ``failed`` too often lately, or ``expected`` on the path it came by."""

    network: str
    address_proven: bool
    failed: bool = False
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Evict:
    """Let it in, in the place of ``who``."""

    who: object


def network_of(host: str) -> str:
    """Name what one party controls: an IPv4 address, or the /64 that an IPv6 address lies in (RFC 6177)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def admit(newcomer: Newcomer, occupants: Sequence[Occupant], limits: NetLimits) -> Admission | Evict | Refusal:
    """Decide about a newcomer; ``occupants`` are in the order they came."""
    strangers = [one for one in occupants if one.stranger]
    settled = sum(one.authenticated for one in occupants)
    if settled >= limits.connections_max:
        return Refusal.CONNECTIONS
    if newcomer.expected and sum(one.unproven and one.expected for one in occupants) < limits.unauthenticated_max:
        return Admission.ACCEPT
    if newcomer.failed:
        return Refusal.FAILED
    here = sum(
        one.accepted
        and not one.expected
        and one.network == newcomer.network
        and (one.proven or not newcomer.address_proven)
        for one in occupants
    )
    crowded_here = here >= limits.connections_per_address_max
    crowded = len(strangers) >= min(limits.unauthenticated_max, limits.connections_max - settled)
    if not newcomer.address_proven and (crowded or crowded_here or len(strangers) >= limits.retry_above):
        return Admission.PROVE_ADDRESS
    if crowded_here:
        return Refusal.ADDRESS
    return _make_room(newcomer, strangers) if crowded else Admission.ACCEPT


def _make_room(newcomer: Newcomer, strangers: Sequence[Occupant]) -> Evict | Refusal:
    held = Counter(one.network for one in strangers)
    most = max(held.values(), default=0)
    if most > held[newcomer.network] + 1:
        return Evict(next(one.who for one in strangers if held[one.network] == most))
    if strangers and strangers[0].age_s >= PRESSED_S:
        return Evict(strangers[0].who)
    return Refusal.UNAUTHENTICATED
