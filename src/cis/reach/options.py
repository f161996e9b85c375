"""Which servers a node asks about itself, and how long it waits for them; NODE and the settings fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TurnTransport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A TURN server (RFC 8656) and our account there; its repr shows neither credentials nor address."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    transport: TurnTransport
    username: str = field(repr=False)
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReachOptions:
    """How this node finds out at which addresses others may reach it."""

    stun_servers: tuple[tuple[str, int], ...] = ()
    turn_servers: tuple[TurnServer, ...] = ()
    upnp: bool = True
    """Ask the router for a port mapping: PCP, NAT-PMP or UPnP."""
    relay_hold_s: float = 1.0
    """How long pairs that use a relay wait for a direct one."""
    gather_s: float = 1.5
    """How long to wait for the first answers of servers before going on without them."""

    def __post_init__(self) -> None:
        """Refuse waits that never end."""
        assert self.relay_hold_s >= 0
        assert self.gather_s > 0
