"""Whom this node would rather have as neighbours, by its peer book: the taste of its gossip, and its bridges.

Gossip asks whom it knows in the order of `cis.peers.choice`. A node whose neighbours are all on its own network, or all
beyond it, looks for one on the other side, with growing pauses, as long as it knows somebody there who may be reached.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from cis.model import NodeId
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.peers import Peer, PeerBook
from cis.peers.choice import drawn, one_sided

if TYPE_CHECKING:
    from random import Random

BRIDGE_FIRST_S = 5.0
BRIDGE_CEILING_S = 600.0


class Choice:
    """Chooses neighbours for gossip (`cis.gossip.taste`)."""

    def __init__(self, book: PeerBook, rng: Random) -> None:
        self._book = book
        self._rng = rng

    def choose(self, nodes: Sequence[NodeId], active: Collection[NodeId], now: float) -> NodeId:
        """Return whom of these to ask next, beside the neighbours there are."""
        peers = [self._book.get(node) or Peer(node) for node in nodes]
        (chosen,) = drawn(peers, 1, now, self._rng, sides_of(self._book, active))
        assert chosen.node is not None, "those chosen among have names"
        return chosen.node

    def bridges(self, node: NodeId, active: Collection[NodeId]) -> bool:
        """Tell whether a node would be the only neighbour on its side of the LAN's boundary."""
        (side,) = sides_of(self._book, [node])
        return side is not None and one_sided(sides_of(self._book, active)) is side


class Bridging:
    """Says when to look for a neighbour across the boundary, and whom to ask."""

    def __init__(self, book: PeerBook, rng: Random) -> None:
        self.due_at: float | None = None
        """when to look next; None while there is no reason to"""
        self._book = book
        self._rng = rng
        self._tries = 0

    def due(self, neighbours: Collection[NodeId], settled: Collection[NodeId], now: float) -> NodeId | None:
        """Return whom to ask now to become a neighbour; none of the ``settled``, who are connected or kept away."""
        missing = one_sided(sides_of(self._book, neighbours)) if len(neighbours) >= NEIGHBOURS_MAX else None
        if missing is None:
            self.due_at, self._tries = None, 0
            return None
        if self.due_at is None:
            self.due_at = now + BRIDGE_FIRST_S * self._rng.uniform(0.5, 1.0)
        if now < self.due_at:
            return None
        self._tries += 1
        ceiling_s = min(BRIDGE_CEILING_S, BRIDGE_FIRST_S * 2.0 ** min(self._tries, 16))
        self.due_at = now + ceiling_s * self._rng.uniform(0.5, 1.0)
        across = [
            peer for peer in self._book if peer.node is not None and peer.near is missing and peer.node not in settled
        ]
        ready = [peer for peer in across if peer.due_at <= now and self._book.waits(peer)]
        chosen = drawn(ready, 1, now, self._rng)
        return chosen[0].node if chosen else None


def sides_of(book: PeerBook, nodes: Collection[NodeId]) -> list[bool | None]:
    """Return on which side of the LAN's boundary nodes are, as far as the book shows it."""
    found = (book.get(node) for node in nodes)
    return [peer.near if peer is not None else None for peer in found]
