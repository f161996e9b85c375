"""The active view and the links beneath it: who is a neighbour, who was asked, which link may go.

What the parts of HyParView decide is collected here, in order, until the machine hands it out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

from cis.gossip.acquaintances import Acquaintances
from cis.gossip.config import ViewConfig
from cis.gossip.language import GossipEffect, NeighbourDown, NeighbourUp, Release, Send, SetTimer
from cis.gossip.taste import Taste
from cis.model import NodeId
from cis.wire.gossip import Contact, Disconnect, GossipMessage

if TYPE_CHECKING:
    from random import Random


class ViewTimer(enum.Enum):
    """Timers of the views; the release of a link is timed as ``(RELEASE, node)``."""

    SHUFFLE = "shuffle"
    SEEK = "seek"
    RELEASE = "release"


class Ask:
    """A node being asked to become a neighbour; ``forced`` when one of ours goes for it."""

    __slots__ = ("forced", "sent", "since")

    def __init__(self, since: float, *, forced: bool) -> None:
        self.since = since
        self.forced = forced
        self.sent = False


class Neighbourhood:
    """The state the parts of HyParView share."""

    def __init__(
        self, own: NodeId, own_record: Callable[[], bytes], rng: Random, config: ViewConfig, taste: Taste
    ) -> None:
        self.own = own
        self.rng = rng
        self.config = config
        self.taste = taste
        self.known = Acquaintances(own, rng, config)
        self.active: dict[NodeId, bytes] = {}
        self.links: dict[NodeId, None] = {}
        self.asks: dict[NodeId, Ask] = {}
        self.answers: dict[NodeId, list[Contact]] = {}
        """answers to shuffles that wait for a link"""
        self.let_in: dict[NodeId, float] = {}
        """who lately was let in, or could have been, at the cost of another"""
        self.effects: list[GossipEffect] = []
        self._own_record = own_record
        self._lingering: dict[NodeId, None] = {}

    @property
    def room(self) -> bool:
        """Whether the active view has a place free."""
        return len(self.active) < self.config.active_max

    def has_place_for(self, node: NodeId) -> bool:
        """Whether there is room, or a node is worth the place of another: it would be the only one of its kind."""
        return self.room or self.taste.bridges(node, self.active)

    def own_contact(self) -> Contact:
        """Return what others are told of this node."""
        return (self.own, self._own_record())

    def send(self, node: NodeId, message: GossipMessage) -> None:
        """Send to a linked node."""
        self.effects.append(Send(node, message))

    def neighbour_but(self, *others: NodeId) -> NodeId | None:
        """Return a random neighbour that is none of these."""
        nodes = [node for node in self.active if node not in others]
        return self.rng.choice(nodes) if nodes else None

    def admit(self, node: NodeId, record: bytes, now: float) -> None:
        """Make a linked node a neighbour; where there is no room, a random one goes that did not just come.

        One that is the only one of its kind stays, if another can go.
        """
        self.asks.pop(node, None)
        if node in self.active:
            self.active[node] = record or self.active[node]
            return
        if not self.room:
            settled = [other for other in self.active if other not in self.let_in]
            many = [other for other in settled if not self._is_only_one(other)]
            self.drop(self.rng.choice(many or settled or list(self.active)), now)
        known = self.known.remove(node)
        self.active[node] = record or known
        self.effects.append(NeighbourUp(node))

    def _is_only_one(self, node: NodeId) -> bool:
        return self.taste.bridges(node, [other for other in self.active if other != node])

    def drop(self, node: NodeId, now: float) -> None:
        """Make a neighbour an acquaintance and tell it."""
        record = self.take_out(node)
        self.send(node, Disconnect())
        self.known.put_off(node, record, now)
        self.linger(node)

    def take_out(self, node: NodeId) -> bytes:
        """Take a node out of the active view and return its record."""
        record = self.active.pop(node)
        self.effects.append(NeighbourDown(node))
        return record

    def linger(self, node: NodeId) -> None:
        """Release a link after a while, unless it is in use by then: what was sent on it still arrives."""
        if node in self.links and node not in self._lingering:
            self._lingering[node] = None
            self.effects.append(SetTimer(self.config.linger_s, (ViewTimer.RELEASE, node)))

    def lingered(self, node: NodeId) -> None:
        """Release a link whose time is up."""
        self._lingering.pop(node, None)
        used = node in self.active or node in self.asks or node in self.answers
        if node in self.links and not used:
            self.effects.append(Release(node))
