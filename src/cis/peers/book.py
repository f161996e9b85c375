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

All addresses of a peer are dialled at once, a round; the first that leads to it wins, and the others are given up. A
moment later, where somebody can carry signals to the peer, ICE (RFC 8445) is tried beside them, as one more way of
the round: in the book it is an address without host or port. Rounds back off exponentially with full jitter (Brooker,
"Exponential Backoff And Jitter", 2015) up to a ceiling; a new address or a connection resets it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
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
ICE = "ice"
"""The source of the way to a peer that is no address."""
ICE_AFTER_S = 0.3
"""How long the addresses have to lead to a peer before ICE is tried too."""
STIR_S = 0.5
"""Within what time all peers are tried again that a change of the network may have brought into reach."""


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
    ice: Address = field(default_factory=lambda: Address("", 0, ICE))
    successes: int = 0
    failures: int = 0
    streak: int = 0
    """rounds of dials failed since the last success"""
    due_at: float = 0.0
    round_at: float = 0.0
    """when the round of dials under way began"""
    seen_at: float | None = None
    last_error: str = ""

    @property
    def ways(self) -> list[Address]:
        """The addresses, and ICE."""
        return [*self.addresses, self.ice]

    @property
    def under_way(self) -> bool:
        """Whether it is being dialled."""
        return any(one.dialling for one in self.ways)

    def untried(self) -> list[Address]:
        """The addresses to try in this round, those that worked most often first."""
        idle = [one for one in self.addresses if not one.dialling and not one.failed]
        return sorted(idle, key=lambda one: one.failures - one.successes)

    def ready(self, now: float, *, ice: bool) -> list[Address]:
        """The ways to try now: addresses at once, as many as may be; ``ice``, where it may be tried, a little later."""
        dialling = sum(one.dialling for one in self.addresses)
        ready = self.untried()[: max(0, DIALS_AT_ONCE - dialling)]
        alone = not dialling and not ready
        if ice and (alone or now >= self.round_at + ICE_AFTER_S):
            ready.append(self.ice)
        return ready

    def hurry(self, due_at: float) -> None:
        """Begin a new round then, whatever was tried before."""
        self.due_at, self.streak = due_at, 0
        for way in self.ways:
            way.failed = False

    def way(self, target: Target) -> Address | None:
        """Return what a target stands for."""
        if target.source == ICE:
            return self.ice
        return next((one for one in self.addresses if (one.host, one.port) == (target.host, target.port)), None)


@dataclass(frozen=True, slots=True)
class Target:
    """A dial to make; one with the source `ICE` has neither host nor port."""

    node: NodeId | None
    host: str
    port: int
    source: str


class PeerBook:
    """Feed it what happens; ask it what is due. ``own`` is never dialled.

    ``negotiable`` tells whether ICE may be tried with a node: whether anybody there is may carry signals to it.
    """

    def __init__(self, own: NodeId, rng: Random, negotiable: Callable[[NodeId], bool] = lambda _: False) -> None:
        self._own = own
        self._rng = rng
        self._negotiable = negotiable
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
        known = peer.way(target)
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

    def heard(self, node: NodeId) -> bool:
        """There is such a node; True where it can be dialled, though no address of it may be known."""
        if node not in self._peers and node != self._own and self._negotiable(node):
            self._at(Target(node, "", 0, ICE))
        peer = self._peers.get(node)
        return peer is not None and bool(peer.addresses or self._negotiable(node))

    def due(self, now: float, settled: Collection[NodeId]) -> list[Target]:
        """Return the dials to make now, and count them as under way; ``settled`` nodes are not dialled."""
        targets = []
        for peer in self._waiting(settled):
            if peer.due_at <= now:
                if not any(one.dialling or one.failed for one in peer.ways):
                    peer.round_at = now
                for way in peer.ready(now, ice=self._may_try_ice(peer)):
                    way.dialling = True
                    targets.append(Target(peer.node, way.host, way.port, way.source))
        return targets

    def next_due(self, settled: Collection[NodeId], after: float = float("-inf")) -> float | None:
        """Return when the next dial falls due, of those later than ``after``; None if there is nobody to dial."""
        waiting = self._waiting(settled)
        moments = [peer.due_at for peer in waiting]
        moments += [peer.round_at + ICE_AFTER_S for peer in waiting if peer.due_at <= after and self._may_try_ice(peer)]
        return min((moment for moment in moments if moment > after), default=None)

    def hurry(self, node: NodeId, now: float) -> None:
        """Dial the node now rather than when its backoff ends."""
        if self.heard(node):
            self._peers[node].hurry(now)

    def stir(self, now: float) -> None:
        """Dial all that are not connected in the next moments: the network is another, or there are ways to more."""
        for peer in self._peers.values():
            if peer.state is not State.ACTIVE:
                peer.hurry(min(peer.due_at, now + self._rng.uniform(0, STIR_S)))

    def waits(self, peer: Peer) -> bool:
        """Tell whether anything is left to try in the round of a peer."""
        return bool(peer.untried()) or self._may_try_ice(peer)

    def failed(self, target: Target, now: float, reason: str) -> None:
        """A dial came to nothing; after the last of a round the peer waits for the next."""
        peer = self._peers.get(_place(target))
        if peer is None:
            return
        peer.failures += 1
        if peer.state is not State.ACTIVE:
            peer.last_error = reason
        way = peer.way(target)
        if way is not None:
            way.failures, way.dialling, way.failed = way.failures + 1, False, True
        if all(one.failed for one in peer.addresses) and not peer.ice.dialling and not self._may_try_ice(peer):
            peer.streak += 1
            ceiling = min(BACKOFF_CEILING_S, BACKOFF_BASE_S * 2.0 ** min(peer.streak, 20))
            peer.due_at = now + max(BACKOFF_FLOOR_S, self._rng.uniform(0, ceiling))
            for one in peer.ways:
                one.failed = False

    def postpone(self, target: Target, until: float) -> None:
        """A dial that was due is not made: its peer is due again then."""
        peer = self._peers.get(_place(target))
        if peer is not None:
            peer.due_at = max(peer.due_at, until)
            if (way := peer.way(target)) is not None:
                way.dialling = False

    def connected(self, node: NodeId, now: float, via: Target | None) -> bool:
        """A connection with the node is authenticated; ``via`` is what was dialled, None when it dialled us.

        True where other dials of the node are under way: they count as given up from now on.
        """
        if via is not None and via.node is None:
            found = self._peers.pop(_place(via), None)
            if found is not None:
                self.sighted(Target(node, via.host, via.port, via.source), now)
        peer = self._peers.setdefault(node, Peer(node))
        peer.state, peer.streak = State.ACTIVE, 0
        peer.successes += 1
        peer.seen_at, peer.last_error = now, ""
        way = peer.way(via) if via is not None else None
        others = any(one.dialling for one in peer.ways if one is not way)
        for one in peer.ways:
            one.dialling = one.failed = False
        if way is not None:
            way.successes += 1
            way.known_at, way.in_use = now, True
        return others

    def lost(self, node: NodeId, now: float, reason: str) -> None:
        """The last connection with the node ended."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.state, peer.last_error, peer.seen_at = State.INACTIVE, reason, now
            peer.due_at = now + self._rng.uniform(0, BACKOFF_BASE_S)
            for way in peer.ways:
                way.failed = False
                if way.in_use:
                    way.known_at, way.in_use = now, False

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
            found = peer.way(target)
            peer.addresses = [one for one in peer.addresses if one is not found]
            if target.node is None:
                del self._peers[_place(target)]

    def _waiting(self, settled: Collection[NodeId]) -> list[Peer]:
        idle = [peer for peer in self._peers.values() if peer.node is None or peer.node not in settled]
        return [peer for peer in idle if self.waits(peer)]

    def _may_try_ice(self, peer: Peer) -> bool:
        idle = not peer.ice.dialling and not peer.ice.failed
        return idle and peer.node is not None and self._negotiable(peer.node)

    def _at(self, target: Target) -> Peer | None:
        place = _place(target)
        peer = self._peers.get(place)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                idle = [place for place, one in self._peers.items() if one.state is not State.ACTIVE]
                if not idle:
                    return None
                del self._peers[max(idle, key=lambda one: self._peers[one].failures - self._peers[one].successes)]
            peer = self._peers[place] = Peer(target.node)
        return peer


def _place(target: Target) -> NodeId | tuple[str, int]:
    return target.node if target.node is not None else (target.host, target.port)
