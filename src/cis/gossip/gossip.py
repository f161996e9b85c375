"""The room's facade: one node's views and tree, an event in, effects out.

::

    gossip = Gossip(own, own_record, rng, GossipConfig())
    for effect in gossip.handle(Heard(contact, record), now): …       # perform it, answer with events
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.gossip.config import GossipConfig
from cis.gossip.hyparview import HyParView
from cis.gossip.language import (
    BroadcastAsked,
    Examined,
    GossipEffect,
    GossipEvent,
    NeighbourDown,
    NeighbourUp,
    Received,
    Send,
    TimerExpired,
)
from cis.gossip.plumtree import Plumtree, TreeTimer
from cis.gossip.taste import Taste
from cis.model import NodeId
from cis.wire import gossip as wire

if TYPE_CHECKING:
    from random import Random

_OF_TREE = (wire.Gossip, wire.IHave, wire.Graft, wire.Prune)


@dataclass(frozen=True)
class GossipStatistics:
    """What one node's gossip did and holds."""

    sent: Mapping[str, int]
    """messages by kind"""
    received: Mapping[str, int]
    payloads: int
    """bodies received, new or not"""
    duplicates: int
    """of these, those seen before"""
    optimisations: int
    active: int
    passive: int
    lost: int
    trees: int
    seen: int
    crowded_out: int
    """ids forgotten before their time: a message may be taken for new again"""
    too_far: int
    """messages not passed on, having come from too far"""
    kept: int


class Gossip:
    """Membership and broadcast of one node; who starts it says `Heard` or `Linked` of whom it knows."""

    def __init__(
        self,
        own: NodeId,
        own_record: Callable[[], bytes],
        rng: Random,
        config: GossipConfig | None = None,
        taste: Taste | None = None,
    ) -> None:
        config = config or GossipConfig()
        self._views = HyParView(own, own_record, rng, config.views, taste)
        self._tree = Plumtree(own, rng, config.tree)
        self._sent: Counter[type] = Counter()
        self._received: Counter[type] = Counter()

    def handle(self, event: GossipEvent, now: float) -> list[GossipEffect]:
        """Return what to do about an event, in order."""
        if isinstance(event, Received):
            self._received[type(event.message)] += 1
            effects = self._on_received(event, now)
        elif isinstance(event, Examined):
            effects = self._tree.examined(event.id, sound=event.sound, now=now)
        elif isinstance(event, BroadcastAsked):
            effects = self._tree.broadcast(event.body, now)
        elif isinstance(event, TimerExpired) and isinstance(event.timer, TreeTimer):
            effects = self._tree.expired(event.timer, now)
        else:
            if isinstance(event, TimerExpired):
                self._tree.messages.sweep(now)
            effects = self._follow(self._views.handle(event, now), now)
        for effect in effects:
            if type(effect) is Send:
                self._sent[type(effect.message)] += 1
        return effects

    @property
    def active(self) -> tuple[NodeId, ...]:
        """The neighbours."""
        return tuple(self._views.active)

    @property
    def passive(self) -> tuple[NodeId, ...]:
        """Nodes believed alive that are no neighbours."""
        return tuple(self._views.known.passive)

    def statistics(self) -> GossipStatistics:
        """Return counters since the start, and sizes now."""
        views, tree = self._views, self._tree
        return GossipStatistics(
            sent={kind.__name__: count for kind, count in self._sent.items()},
            received={kind.__name__: count for kind, count in self._received.items()},
            payloads=tree.payloads,
            duplicates=tree.duplicates,
            optimisations=tree.optimisations,
            active=len(views.active),
            passive=len(views.known.passive),
            lost=len(views.known.lost),
            trees=tree.trees,
            seen=len(tree.messages),
            crowded_out=tree.messages.crowded_out,
            too_far=tree.too_far,
            kept=tree.messages.kept,
        )

    def _on_received(self, event: Received, now: float) -> list[GossipEffect]:
        if not isinstance(event.message, _OF_TREE):
            return self._follow(self._views.handle(event, now), now)
        if event.node in self._views.active:
            return self._tree.receive(event.node, event.message, now)
        effects = self._follow(self._views.meet_stranger(event.node, now), now)
        return effects + self._tree.receive(event.node, event.message, now)

    def _follow(self, effects: list[GossipEffect], now: float) -> list[GossipEffect]:
        """Let the tree follow the views."""
        further: list[GossipEffect] = []
        for effect in effects:
            if isinstance(effect, NeighbourUp):
                further += self._tree.neighbour_up(effect.node, now)
            elif isinstance(effect, NeighbourDown):
                self._tree.neighbour_down(effect.node)
        return effects + further
