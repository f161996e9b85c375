"""Which peers and which addresses are kept: bounded in number and in time.

The worst by `cis.peers.score` goes, but no peer that is connected, being dialled or wanted by the user, and no address
that is in use, being dialled or given by the user.
"""

from __future__ import annotations

from collections.abc import Iterator

from cis.model import NodeId
from cis.peers.peer import Address, Peer, Target
from cis.peers.score import score_of, score_of_way
from cis.peers.states import State

PEERS_MAX = 4096
ADDRESSES_MAX = 16
KEPT_S = 30 * 86_400.0
"""How long an address is kept after it last led to its peer, or was last told of."""

Place = NodeId | tuple[str, int]
"""What a peer is kept under: its id, or its address as long as nothing but that is known."""


class Shelf:
    """Peers by their ids."""

    def __init__(self) -> None:
        self.pinned: set[NodeId] = set()
        """nodes the user wants to be connected to"""
        self._peers: dict[Place, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, node: NodeId) -> Peer | None:
        """Return what is known of a node."""
        return self._peers.get(node)

    def remove(self, node: NodeId) -> None:
        """Forget a node and all its addresses."""
        self._peers.pop(node, None)

    def forget(self, target: Target) -> None:
        """The address leads to this very node: it is nobody else's."""
        peer = self._peers.get(place_of(target))
        if peer is not None:
            found = peer.way(target)
            peer.addresses = [one for one in peer.addresses if one is not found]
            if target.node is None:
                del self._peers[place_of(target)]

    def expire(self, now: float) -> None:
        """Forget the addresses that have led nowhere for long, and that nobody tells of any more."""
        for place, peer in list(self._peers.items()):
            peer.addresses = [one for one in peer.addresses if one.held or now - one.known_at <= KEPT_S]
            if peer.node is None and not peer.addresses:
                del self._peers[place]

    def at(self, target: Target, now: float) -> Peer | None:
        """Return the peer a target is of, a new one where there is room for it."""
        place = place_of(target)
        peer = self._peers.get(place)
        if peer is None and self.has_room(now):
            peer = self._peers[place] = Peer(target.node)
        return peer

    def has_room(self, now: float) -> bool:
        """Make room for one more peer, the worst going for it; False where none may go."""
        if len(self._peers) < PEERS_MAX:
            return True
        spare = [(place, peer) for place, peer in self._peers.items() if self._may_go(peer)]
        worst = min(spare, key=lambda one: score_of(one[1], now).total, default=None)
        if worst is not None:
            del self._peers[worst[0]]
        return worst is not None

    def _may_go(self, peer: Peer) -> bool:
        held = any(one.held for one in peer.ways) or peer.node in self.pinned
        return peer.state is not State.ACTIVE and not held


def add_address(peer: Peer, address: Address, now: float) -> bool:
    """Enter an address, the worst going for it where there are many; False where none may go."""
    if len(peer.addresses) >= ADDRESSES_MAX:
        spare = [one for one in peer.addresses if not one.held]
        if not spare:
            return False
        peer.addresses.remove(min(spare, key=lambda one: score_of_way(one, now).total))
    peer.addresses.append(address)
    return True


def place_of(target: Target) -> Place:
    """Return what the peer of a target is kept under."""
    return target.node if target.node is not None else (target.host, target.port)
