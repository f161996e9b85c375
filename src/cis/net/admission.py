"""Whether a stranger's first packet is worth a connection: pure arithmetic over what is already open.

Order of the questions: is there room at all, does this address hold too much of it, are too many strangers
waiting to prove themselves, and if many are, has this one shown that its address is real (RFC 9000 §8.1).
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.net.limits import NetLimits, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Admission(enum.Enum):
    """What to do with a newcomer that is not refused."""

    ACCEPT = enum.auto()
    PROVE_ADDRESS = enum.auto()


@dataclass(frozen=True, slots=True)
class Occupant:
    """What counts of a connection that is already there."""

    network: str
    accepted: bool
    authenticated: bool


def network_of(host: str) -> str:
    """Name what one party controls: an IPv4 address, or the /64 that an IPv6 address lies in (RFC 6177)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def admit(
    newcomer: str, occupants: Iterable[Occupant], limits: NetLimits, *, address_proven: bool
) -> Admission | Refusal:
    """Decide about a newcomer from network ``newcomer``."""
    total = here = strangers = 0
    for occupant in occupants:
        total += 1
        here += occupant.network == newcomer
        strangers += occupant.accepted and not occupant.authenticated
    if total >= limits.connections_max:
        return Refusal.CONNECTIONS
    if here >= limits.connections_per_address_max:
        return Refusal.ADDRESS
    if strangers >= limits.unauthenticated_max:
        return Refusal.UNAUTHENTICATED
    if strangers >= limits.retry_above and not address_proven:
        return Admission.PROVE_ADDRESS
    return Admission.ACCEPT
