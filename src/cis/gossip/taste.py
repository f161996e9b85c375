"""Whom this node would rather have as neighbours: said from outside, as gossip knows nothing of addresses and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from cis.model import NodeId

if TYPE_CHECKING:
    from random import Random


class Taste(Protocol):
    """Chooses, where HyParView would choose at random."""

    def choose(self, nodes: Sequence[NodeId], active: Collection[NodeId], now: float) -> NodeId:
        """Return whom of these to ask next, beside the neighbours there are."""
        ...

    def bridges(self, node: NodeId, active: Collection[NodeId]) -> bool:
        """Tell whether a node would be the only neighbour across a boundary, so that it is worth another's place."""
        ...


class Indifferent:
    """All nodes are alike."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def choose(self, nodes: Sequence[NodeId], _active: Collection[NodeId], _now: float) -> NodeId:
        """Return any of them."""
        return self._rng.choice(nodes)

    def bridges(self, _node: NodeId, _active: Collection[NodeId]) -> bool:
        """There are no boundaries."""
        return False
