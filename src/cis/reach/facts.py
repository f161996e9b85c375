"""What a node has found out about its own reachability, for people to read; never written to a log."""

from __future__ import annotations

from dataclasses import dataclass

from cis.reach.names import Address


@dataclass(frozen=True, slots=True)
class ServerFact:
    """What became of asking one server; both None while it has not answered."""

    name: str
    """host:port as in the settings, and the transport of a TURN server"""
    kind: str
    """stun or turn"""
    latency_s: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """How this node appears from outside."""

    servers: tuple[ServerFact, ...]
    reflexive: tuple[Address, ...]
    """as STUN servers saw the endpoint's socket, first seen first"""
    mapping: str | None
    """of the NAT, in the words of RFC 5780 §3: ``none``, ``endpoint-independent`` or ``address-dependent``"""
    mapped: tuple[Address, ...]
    """addresses a router keeps open for us"""
    relay: str | None
    """how the relay is reached and the family of its address; not the address"""
