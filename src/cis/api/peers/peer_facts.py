"""What the peer book knows, as it is told to users."""

from __future__ import annotations

from cis.api.peers.peer_schema import AddressInfo, BootstrapPeer, ScoreParts
from cis.discovery.address import join_endpoint
from cis.model import NodeId, did_of
from cis.peers import Address, Peer
from cis.peers.peer import ICE
from cis.peers.score import score_of, score_of_way


def bootstrap_peer(peer: Peer, node: NodeId, name: str, now: float) -> BootstrapPeer:
    """Return a member as it stands in the bootstrap list."""
    return BootstrapPeer(
        name=name,
        did=did_of(node),
        state=peer.state.value,
        score=round(score_of(peer, now).total, 4),
        why=score_parts(peer, now),
        path=peer.kind,
        rtt_ms=milliseconds(peer.rtt_s),
        successes=peer.successes,
        failures=peer.failures,
        seen_s=age(peer.seen_at, now),
        found_by=peer.found_by,
        addresses=addresses(peer, now),
    )


def score_parts(peer: Peer, now: float) -> ScoreParts:
    """Return what a peer's score is made of."""
    parts = score_of(peer, now)
    return ScoreParts(**{name: round(value, 4) for name, value in parts._asdict().items()})


def addresses(peer: Peer, now: float) -> tuple[AddressInfo, ...]:
    """Return the ways to a peer, best first; ICE where it was tried."""
    ways = sorted(peer.addresses, key=lambda one: (not one.in_use, -score_of_way(one, now).total))
    tried = peer.ice.successes or peer.ice.failures or peer.ice.dialling
    return tuple(_address(one, now) for one in (*ways, *([peer.ice] if tried else [])))


def _address(way: Address, now: float) -> AddressInfo:
    return AddressInfo(
        address=join_endpoint(way.host, way.port) if way.source != ICE else "ICE",
        found_by=way.found_by,
        source=way.source,
        path=way.kind,
        score=round(score_of_way(way, now).total, 4),
        successes=way.successes,
        failures=way.failures,
        last_success_s=age(now if way.in_use else way.succeeded_at, now),
        last_failure_s=age(way.failed_at, now),
        told_s=age(way.known_at, now) if way.source != ICE else None,
        rtt_ms=milliseconds(way.rtt_s),
        in_use=way.in_use,
        dialling=way.dialling,
        last_error=way.last_error,
    )


def age(moment: float | None, now: float) -> float | None:
    """Return how long ago that was, in seconds."""
    return round(max(0.0, now - moment), 3) if moment is not None else None


def milliseconds(seconds: float | None) -> float | None:
    """Return a time span as it is told."""
    return round(seconds * 1000, 3) if seconds is not None else None
