"""Where a connection's datagrams leave and arrive: a carrier, and the peer's address as that carrier writes it.

A carrier is the endpoint's UDP socket or a relayed allocation (TURN, RFC 8656). Who chooses among paths is above
(ICE, RFC 8445); here a path is what ``Connection.move`` puts under a live connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.net.qh3_core import RawAddress


class Carrier(Protocol):
    """Where datagrams leave."""

    @property
    def relayed(self) -> bool:
        """Whether what leaves here passes a server that forwards it."""

    @property
    def congested(self) -> bool:
        """Whether sending more now would only lengthen a queue."""

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        """Send, or keep for later; returns the error if they can never be sent."""

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once no longer congested."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way to a peer."""

    carrier: Carrier
    address: RawAddress
    """of the peer, as this carrier writes it"""
    local: str = "host"
    """kind of the local candidate: host, srflx, prflx, mapped or relay (RFC 8445 §5.1.1)"""
    remote: str = "host"
    """kind of the peer's"""
    proven: bool = False
    """whether an ICE check came from that very address: it needs no Retry and has no amplification limit"""

    @property
    def relayed(self) -> bool:
        """Whether either end is a relay's."""
        return self.carrier.relayed or self.remote == "relay"

    def leads_to(self, carrier: Carrier, address: RawAddress) -> bool:
        """Whether a datagram from there came on this path, however its address is written."""
        if carrier is not self.carrier:
            return False
        return address == self.address or unmapped(address) == unmapped(self.address)


def unmapped(address: RawAddress) -> tuple[str, int]:
    """Spell an address for people: plain host and port, IPv4 as IPv4."""
    host = address[0]
    return (host[7:] if host.startswith("::ffff:") and "." in host else host), address[1]
