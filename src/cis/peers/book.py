"""The peer book: states, addresses, successes and failures of each peer, and whom to dial when.

======== ===================== ========
state    event                 becomes
======== ===================== ========
unknown  connected             active
unknown  dial failed           unknown
active   lost                  inactive
inactive connected             active
inactive dial failed           inactive
======== ===================== ========

All addresses of a peer are dialled at once, a round; the first that leads to it wins. Rounds back
off exponentially with full jitter (Brooker, "Exponential Backoff And Jitter", 2015) up to a ceiling; a new address
or a connection resets it.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cis.model import NodeId

if TYPE_CHECKING:
    from random import Random

BACKOFF_BASE_S = 0.5
BACKOFF_CEILING_S = 60.0
BACKOFF_FLOOR_S = 0.1
PEERS_MAX = 4096
ADDRESSES_MAX = 16
KEPT_S = 30 * 86_400.0
"""How long an address is kept after it last led to its peer, or was last told of."""
DIALS_AT_ONCE = 4
"""Dials of one peer begun together; a peer with more addresses has them tried as these fail."""


class State(enum.StrEnum):
    """Where a peer stands; see the table above."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(slots=True)
class Address:
    """One way to a peer, and how it has fared."""

    host: str
    port: int
    source: str
    successes: int = 0
    failures: int = 0
    dialling: bool = False
    failed: bool = False
    """tried in vain in the round of dials under way"""
    known_at: float = 0.0
    """when it last led to the peer, or was last told of"""
    in_use: bool = False
    """the connection there is was dialled to it"""


@dataclass(slots=True)
class Peer:
    """What is known of one node, or of an address whose node is not known yet (``node`` None)."""

    node: NodeId | None
    state: State = State.UNKNOWN
    addresses: list[Address] = field(default_factory=list)
    successes: int = 0
    failures: int = 0
    streak: int = 0
    """rounds of dials failed since the last success"""
    due_at: float = 0.0
    seen_at: float | None = None
    last_error: str = ""

    def untried(self) -> list[Address]:
        """The addresses to try in this round, those that worked most often first."""
        idle = [one for one in self.addresses if not one.dialling and not one.failed]
        return sorted(idle, key=lambda one: one.failures - one.successes)


@dataclass(frozen=True, slots=True)
class Target:
    """A dial to make."""

    node: NodeId | None
    host: str
    port: int
    source: str


class PeerBook:
    """Feed it what happens; ask it what is due. ``own`` is never dialled."""

    def __init__(self, own: NodeId, rng: Random) -> None:
        self._own = own
        self._rng = rng
        self._peers: dict[NodeId | tuple[str, int], Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, node: NodeId) -> Peer | None:
        """Return what is known of a node."""
        return self._peers.get(node)

    def sighted(self, target: Target, now: float) -> None:
        """A provider, a ticket, a record or a setting says a node may be reached there; ``now`` is when it said so."""
        if target.node == self._own:
            return
        peer = self._at(target)
        if peer is None:
            return
        known = next((a for a in peer.addresses if (a.host, a.port) == (target.host, target.port)), None)
        if known is None:
            if len(peer.addresses) >= ADDRESSES_MAX:
                idle = [one for one in peer.addresses if not one.dialling]
                if not idle:
                    return
                peer.addresses.remove(max(idle, key=lambda one: one.failures - one.successes))
            peer.addresses.append(Address(target.host, target.port, target.source, known_at=now))
            peer.due_at = min(peer.due_at, now)
        else:
            known.known_at = max(known.known_at, now)

    def due(self, now: float, settled: Collection[NodeId]) -> list[Target]:
        """Return the dials to make now, and count them as under way; ``settled`` nodes are not dialled."""
        targets = []
        for peer in self._waiting(settled):
            if peer.due_at <= now:
                room = DIALS_AT_ONCE - sum(one.dialling for one in peer.addresses)
                for address in peer.untried()[: max(0, room)]:
                    address.dialling = True
                    targets.append(Target(peer.node, address.host, address.port, address.source))
        return targets

    def next_due(self, settled: Collection[NodeId]) -> float | None:
        """Return when the next dial falls due, None if there is nobody to dial."""
        return min((peer.due_at for peer in self._waiting(settled)), default=None)

    def hurry(self, node: NodeId, now: float) -> None:
        """Dial the node now rather than when its backoff ends."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.due_at, peer.streak = now, 0
            for address in peer.addresses:
                address.failed = False

    def failed(self, target: Target, now: float, reason: str) -> None:
        """A dial came to nothing; after the last of a round the peer waits for the next."""
        peer = self._peers.get(_place(target))
        if peer is None:
            return
        peer.failures += 1
        if peer.state is not State.ACTIVE:
            peer.last_error = reason
        for address in peer.addresses:
            if (address.host, address.port) == (target.host, target.port):
                address.failures, address.dialling, address.failed = address.failures + 1, False, True
        if all(address.failed for address in peer.addresses):
            peer.streak += 1
            ceiling = min(BACKOFF_CEILING_S, BACKOFF_BASE_S * 2.0 ** min(peer.streak, 20))
            peer.due_at = now + max(BACKOFF_FLOOR_S, self._rng.uniform(0, ceiling))
            for address in peer.addresses:
                address.failed = False

    def postpone(self, target: Target, until: float) -> None:
        """A dial that was due is not made: its peer is due again then."""
        peer = self._peers.get(_place(target))
        if peer is not None:
            peer.due_at = max(peer.due_at, until)
            for address in peer.addresses:
                if (address.host, address.port) == (target.host, target.port):
                    address.dialling = False

    def worked(self, target: Target) -> bool:
        """Tell whether the target's address ever led to its peer."""
        peer = self._peers.get(_place(target))
        found = peer.addresses if peer is not None else []
        return any(one.successes for one in found if (one.host, one.port) == (target.host, target.port))

    def connected(self, node: NodeId, now: float, via: Target | None) -> None:
        """A connection with the node is authenticated; ``via`` is what was dialled, None when it dialled us."""
        if via is not None and via.node is None:
            found = self._peers.pop(_place(via), None)
            if found is not None:
                self.sighted(Target(node, via.host, via.port, via.source), now)
        peer = self._peers.setdefault(node, Peer(node))
        peer.state, peer.streak = State.ACTIVE, 0
        peer.successes += 1
        peer.seen_at, peer.last_error = now, ""
        for address in peer.addresses:
            address.failed = False
            if via is not None and (address.host, address.port) == (via.host, via.port):
                address.successes, address.dialling, address.failed = address.successes + 1, False, False
                address.known_at, address.in_use = now, True

    def lost(self, node: NodeId, now: float, reason: str) -> None:
        """The last connection with the node ended."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.state, peer.last_error, peer.seen_at = State.INACTIVE, reason, now
            peer.due_at = now + self._rng.uniform(0, BACKOFF_BASE_S)
            for address in peer.addresses:
                if address.in_use:
                    address.known_at, address.in_use = now, False

    def expire(self, now: float) -> None:
        """Forget the addresses that have led nowhere for long, and that nobody tells of any more."""
        for place, peer in list(self._peers.items()):
            peer.addresses = [
                one for one in peer.addresses if one.in_use or one.dialling or now - one.known_at <= KEPT_S
            ]
            if peer.node is None and not peer.addresses:
                del self._peers[place]

    def remove(self, node: NodeId) -> None:
        """Forget a node and all its addresses."""
        self._peers.pop(node, None)

    def forget(self, target: Target) -> None:
        """The address leads to this very node: it is nobody else's."""
        peer = self._peers.get(_place(target))
        if peer is not None:
            peer.addresses = [one for one in peer.addresses if (one.host, one.port) != (target.host, target.port)]
            if target.node is None:
                del self._peers[_place(target)]

    def _waiting(self, settled: Collection[NodeId]) -> list[Peer]:
        return [
            peer for peer in self._peers.values() if (peer.node is None or peer.node not in settled) and peer.untried()
        ]

    def _at(self, target: Target) -> Peer | None:
        place = _place(target)
        peer = self._peers.get(place)
        if peer is None:
            if len(self._peers) >= PEERS_MAX and not self._evict():
                return None
            peer = self._peers[place] = Peer(target.node)
        return peer

    def _evict(self) -> bool:
        """Make room by forgetting the least useful peer that is not active."""
        idle = [place for place, peer in self._peers.items() if peer.state is not State.ACTIVE]
        if not idle:
            return False
        del self._peers[max(idle, key=lambda place: self._peers[place].failures - self._peers[place].successes)]
        return True


def _place(target: Target) -> NodeId | tuple[str, int]:
    return target.node if target.node is not None else (target.host, target.port)
