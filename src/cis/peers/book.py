"""The peer book: what is known of each peer, and whom to dial when.

A pure machine: feed it what happens, ask it what is due.

All addresses of a peer are dialled at once, a round, the best (`cis.peers.score`) first; the first that leads to it
wins, and the others are given up. A moment later, where somebody can carry signals to the peer, ICE (RFC 8445) is tried
beside them, as one more way of the round: in the book it is an address without host or port. Rounds back off
(`cis.peers.backoff`); states are those of `cis.peers.states`; what is kept says `cis.peers.shelf`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from cis.model import NodeId
from cis.peers.backoff import BACKOFF_BASE_S, pause_s
from cis.peers.peer import BY_USER, DIALS_AT_ONCE, ICE, ICE_AFTER_S, Address, Peer, Target
from cis.peers.places import is_address
from cis.peers.score import by_score, score_of_way
from cis.peers.shelf import Shelf, add_address, place_of
from cis.peers.states import Happening, State

if TYPE_CHECKING:
    from random import Random

STIR_S = 0.5
"""Within what time all peers are tried again that a change of the network may have brought into reach."""


class PeerBook(Shelf):
    """Feed it what happens; ask it what is due. ``own`` is never dialled.

    ``negotiable`` tells whether ICE may be tried with a node: whether anybody there is may carry signals to it.
    """

    def __init__(self, own: NodeId, rng: Random, negotiable: Callable[[NodeId], bool] = lambda _: False) -> None:
        super().__init__()
        self._own = own
        self._rng = rng
        self._negotiable = negotiable

    # --- what is told --------------------------------------------------------------------------------------------

    def sighted(self, target: Target, now: float) -> None:
        """A provider, a ticket, a record or a setting says a node may be reached there; ``now`` is when it said so.

        An address not known before is good news: the pauses after failures begin anew.
        """
        if target.node == self._own:
            return
        peer = self.at(target, now)
        if peer is None:
            return
        known = peer.way(target)
        if known is None:
            found = Address(target.host, target.port, target.source, target.found_by or target.source, known_at=now)
            if add_address(peer, found, now):
                peer.due_at, peer.streak = min(peer.due_at, now), 0
            return
        known.known_at = max(known.known_at, now)
        if target.found_by == BY_USER:
            known.found_by, known.source = BY_USER, target.source

    def recall(self, remembered: Peer, now: float) -> None:
        """Take in what an earlier run wrote down of a peer that this one knows nothing of; else its addresses alone."""
        node = remembered.node
        assert node is not None, "what is written down has a name"
        if node == self._own:
            return
        if (known := self._peers.get(node)) is not None:
            for one in remembered.addresses:
                self.sighted(Target(node, one.host, one.port, one.source, one.found_by), one.known_at)
            known.due_at = min(known.due_at, now)
        elif self.has_room(now):
            remembered.due_at = now
            if remembered.successes:
                remembered.happened(Happening.RECALLED)
            self._peers[node] = remembered

    def heard(self, node: NodeId, now: float = 0.0) -> bool:
        """There is such a node; True where it can be dialled, though no address of it may be known."""
        if node not in self._peers and node != self._own and self._negotiable(node):
            self.at(Target(node, "", 0, ICE), now)
        peer = self._peers.get(node)
        return peer is not None and bool(peer.addresses or self._negotiable(node))

    # --- what is due ---------------------------------------------------------------------------------------------

    def due(self, now: float, settled: Collection[NodeId]) -> list[Target]:
        """Return the dials to make now, best first, and count them as under way; ``settled`` nodes are not dialled."""
        targets = []
        for peer in by_score([one for one in self._waiting(settled) if one.due_at <= now], now):
            if not any(one.dialling or one.failed for one in peer.ways):
                peer.round_at = now
            for way in _ready(peer, now, ice=self._may_try_ice(peer)):
                way.dialling = True
                targets.append(Target(peer.node, way.host, way.port, way.source, way.found_by))
        return targets

    def next_due(self, settled: Collection[NodeId], after: float = float("-inf")) -> float | None:
        """Return when the next dial falls due, of those later than ``after``; None if there is nobody to dial."""
        waiting = self._waiting(settled)
        moments = [peer.due_at for peer in waiting]
        moments += [peer.round_at + ICE_AFTER_S for peer in waiting if peer.due_at <= after and self._may_try_ice(peer)]
        return min((moment for moment in moments if moment > after), default=None)

    def hurry(self, node: NodeId, now: float) -> None:
        """Dial the node now rather than when its backoff ends."""
        if self.heard(node, now):
            self._peers[node].hurry(now)

    def stir(self, now: float) -> None:
        """Dial all that are not connected in the next moments: the network is another, or there are ways to more."""
        for peer in self._peers.values():
            if peer.state is not State.ACTIVE:
                peer.hurry(min(peer.due_at, now + self._rng.uniform(0, STIR_S)))

    def waits(self, peer: Peer) -> bool:
        """Tell whether anything is left to try in the round of a peer."""
        return any(_untried(one) for one in peer.addresses) or self._may_try_ice(peer)

    # --- what came of it -----------------------------------------------------------------------------------------

    def failed(self, target: Target, now: float, reason: str) -> None:
        """A dial came to nothing; after the last of a round the peer waits for the next."""
        peer = self._peers.get(place_of(target))
        if peer is None:
            return
        if peer.state is not State.ACTIVE:
            peer.last_error = reason
        way = peer.way(target)
        if way is not None:
            way.count_failure(now)
            way.dialling, way.failed, way.last_error = False, True, reason
        if all(one.failed for one in peer.addresses) and not peer.ice.dialling and not self._may_try_ice(peer):
            if peer.state is not State.ACTIVE:
                peer.count_failure(now)
            peer.happened(Happening.FAILED)
            peer.streak += 1
            peer.due_at = now + pause_s(peer.streak, self._rng)
            for one in peer.ways:
                one.failed = False

    def postpone(self, target: Target, until: float) -> None:
        """A dial that was due is not made: its peer is due again then."""
        peer = self._peers.get(place_of(target))
        if peer is not None:
            peer.due_at = max(peer.due_at, until)
            if (way := peer.way(target)) is not None:
                way.dialling = False

    def connected(self, node: NodeId, now: float, via: Target | None) -> bool:
        """A connection with the node is authenticated; ``via`` is what was dialled, None when it dialled us.

        True where other dials of the node are under way: they count as given up from now on.
        """
        if via is not None and via.node is None:
            self._peers.pop(place_of(via), None)
        if via is not None and is_address(via.host):
            self.sighted(Target(node, via.host, via.port, via.source, via.found_by), now)
        peer = self._peers.setdefault(node, Peer(node))
        peer.happened(Happening.CONNECTED)
        peer.streak = 0
        peer.count_success(now)
        peer.seen_at, peer.last_error = now, ""
        way = peer.way(via) if via is not None else None
        others = any(one.dialling for one in peer.ways if one is not way)
        for one in peer.ways:
            one.dialling = one.failed = False
        if way is not None:
            way.count_success(now)
            way.known_at, way.in_use, way.last_error = now, True, ""
        return others

    def measured(self, node: NodeId, now: float, kind: str, place: tuple[str, int], rtt_s: float | None) -> None:
        """The connection with a node stands: what it runs on, the peer's end of it, and its round trip if known."""
        peer = self._peers.get(node)
        if peer is None or peer.state is not State.ACTIVE:
            return
        peer.kind, peer.place, peer.seen_at = kind, place, now
        used = [one for one in peer.ways if one.in_use or (one.host, one.port) == place]
        for record in (peer, *used):
            record.stand(now)
            if rtt_s is not None:
                record.measure(rtt_s)
        for one in used:
            one.kind = kind

    def lost(self, node: NodeId, now: float, reason: str) -> None:
        """The last connection with the node ended."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.happened(Happening.LOST)
            peer.last_error, peer.seen_at = reason, now
            peer.due_at = now + self._rng.uniform(0, BACKOFF_BASE_S)
            for way in peer.ways:
                way.failed = False
                if way.in_use:
                    way.known_at, way.in_use = now, False

    # --- parts ---------------------------------------------------------------------------------------------------

    def _waiting(self, settled: Collection[NodeId]) -> list[Peer]:
        idle = [peer for peer in self._peers.values() if peer.node is None or peer.node not in settled]
        return [peer for peer in idle if self.waits(peer)]

    def _may_try_ice(self, peer: Peer) -> bool:
        idle = not peer.ice.dialling and not peer.ice.failed
        return idle and peer.node is not None and self._negotiable(peer.node)


def _ready(peer: Peer, now: float, *, ice: bool) -> list[Address]:
    """The ways to try now: the best addresses at once, as many as may be; ``ice``, where it may be tried, later."""
    dialling = sum(one.dialling for one in peer.addresses)
    untried = [one for one in peer.addresses if _untried(one)]
    untried.sort(key=lambda one: -score_of_way(one, now).total)
    ready = untried[: max(0, DIALS_AT_ONCE - dialling)]
    alone = not dialling and not ready
    if ice and (alone or now >= peer.round_at + ICE_AFTER_S):
        ready.append(peer.ice)
    return ready


def _untried(way: Address) -> bool:
    return not way.dialling and not way.failed
