"""What of a node's reach is worth telling without being asked: what limits it, and what to type."""

from __future__ import annotations

from typing import NamedTuple

from cis.api.peers.reach_schema import ReachStatus

_DEPENDENT = frozenset({"address-dependent", "address-and-port-dependent", "destination-dependent"})


class Note(NamedTuple):
    """What was found about one thing (paths, STUN or relay), and what to type."""

    about: str
    found: str
    fix: str


def notes_of(reach: ReachStatus) -> tuple[Note, ...]:
    """Return what limits the reach of a node; empty where nothing is known to."""
    return tuple(note for note in (_paths(reach), _stun(reach), _relay(reach)) if note is not None)


def _paths(reach: ReachStatus) -> Note | None:
    if not reach.relayed:
        return None
    names = ", ".join(reach.relayed)
    return Note("paths", f"reached over a relay alone: {names}", "cis p2p connections --verbose")


def _stun(reach: ReachStatus) -> Note | None:
    if not reach.stun_servers:
        found = "no STUN server is configured: beyond this network only what has a public address is reached directly"
        return Note("STUN", found, "cis config set p2p.ice.use_public_stun true, or set p2p.ice.stun_servers")
    if reach.stun_failing == reach.stun_servers:
        return Note("STUN", f"none of {reach.stun_servers} STUN servers answers", "cis p2p netcheck")
    return None


def _relay(reach: ReachStatus) -> Note | None:
    if reach.turn_servers and reach.turn_failing == reach.turn_servers:
        return Note("relay", f"none of {reach.turn_servers} TURN servers gives this node a relay", "cis p2p netcheck")
    if reach.turn_servers or reach.forwarded or reach.mapping not in _DEPENDENT:
        return None
    found = (
        "the NAT here is symmetric and no TURN server is configured: peers behind another strict NAT stay out of reach"
    )
    return Note("relay", found, "set p2p.ice.turn_servers, or cis config set p2p.nat.enable_upnp true")
