"""How a message reaches all: Plumtree (Leitão, Pereira, Rodrigues, SRDS 2007) as a machine.

Bodies are pushed eagerly along the links of a spanning tree that forms where duplicates do not: who sends one is
pruned, and from then on offered ids only. An id that was offered and did not come is grafted, first after the time the
tree gets, then from each further offerer after a shorter one. Where an offer was much nearer to the source than the
push, the two change places.

Every author has a tree of its own, the paper's sender-based trees, begun by the author's first message, which goes
everywhere: in a full mesh everybody is one hop away from everybody, and what one author's messages do to its tree cuts
no branch another's are under way on. A message is passed on only after it was examined. A new neighbour is offered
what came lately, so that who was cut off a moment misses nothing.

::

    tree = Plumtree(own, rng, TreeConfig())
    tree.neighbour_up(node, now)
    effects = tree.receive(node, message, now)        # Deliver(id, …), or Send(node, Prune(…))
    effects = tree.examined(id, sound=True, now=now)  # Send(other, Gossip(…)) …, SetTimer
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import TYPE_CHECKING

from cis.gossip.config import TreeConfig
from cis.gossip.language import Deliver, GossipEffect, Send, SetTimer
from cis.gossip.messages import Seen, SeenMessages, message_id
from cis.gossip.wanted import Wanted
from cis.model import NodeId
from cis.wire.gossip import TREE_BYTES, WANTED_MAX, Gossip, GossipMessage, Graft, IHave, Prune

if TYPE_CHECKING:
    from random import Random

NOBODY = NodeId(b"")
"""the source of this node's own messages"""


class TreeTimer(enum.Enum):
    """Timers of the trees."""

    OFFER = "offer"
    GRAFT = "graft"


class Plumtree:
    """The trees as one node sees them."""

    def __init__(self, own: NodeId, rng: Random, config: TreeConfig) -> None:
        self.neighbours: dict[NodeId, None] = {}
        self.messages = SeenMessages(config)
        self.duplicates = 0
        self.payloads = 0
        self.optimisations = 0
        self.too_far = 0
        self._own_tree = own[:TREE_BYTES]
        self._config = config
        self._lazy: OrderedDict[bytes, dict[NodeId, None]] = OrderedDict()
        """of each tree, the neighbours that are offered its messages; to all others they are pushed"""
        self._wanted = Wanted(rng, config)
        self._offers: dict[NodeId, list[tuple[bytes, int]]] = {}
        self._effects: list[GossipEffect] = []

    @property
    def trees(self) -> int:
        """How many authors have a tree here."""
        return len(self._lazy)

    def neighbour_up(self, node: NodeId, now: float) -> list[GossipEffect]:
        """Push to a new neighbour, and offer it what came lately."""
        self.neighbours[node] = None
        recent = self.messages.recent(now)
        return [Send(node, IHave(recent))] if recent else []

    def neighbour_down(self, node: NodeId) -> None:
        """Forget a neighbour and what only it offered."""
        self.neighbours.pop(node, None)
        self._offers.pop(node, None)
        self._wanted.forget(node)
        for lazy in self._lazy.values():
            lazy.pop(node, None)

    def broadcast(self, body: bytes, now: float) -> list[GossipEffect]:
        """Send this node's own message to all."""
        id_ = message_id(body)
        if id_ not in self.messages:
            self._pass_on(id_, body, self.messages.add(id_, body, Seen(now, 0, NOBODY, self._own_tree)))
        return self._take_effects()

    def receive(self, node: NodeId, message: GossipMessage, now: float) -> list[GossipEffect]:
        """Take a message of a tree from a neighbour; a body from anybody."""
        if isinstance(message, Gossip):
            self._on_gossip(node, message, now)
        elif node not in self.neighbours:
            return []
        elif isinstance(message, IHave):
            self._on_offers(node, message, now)
        elif isinstance(message, Graft):
            self._on_graft(node, message)
        elif isinstance(message, Prune):
            self._demote(message.tree, node)
        return self._take_effects()

    def examined(self, id_: bytes, *, sound: bool, now: float) -> list[GossipEffect]:
        """Pass a delivered message on if it is sound; forget its body otherwise."""
        seen, body = self.messages.find(id_), self.messages.body(id_)
        if seen is None or seen.passed or body is None:
            return []
        if not sound:
            self.messages.forget_body(id_)
        elif now - seen.at < self._config.seen_s:
            self._pass_on(id_, body, seen)
        return self._take_effects()

    def expired(self, timer: TreeTimer, now: float) -> list[GossipEffect]:
        """Send the offers that waited, or ask for what was offered and did not come."""
        if timer is TreeTimer.OFFER:
            self._effects += [Send(node, IHave(offers)) for node, offers in self._offers.items()]
            self._offers.clear()
        else:
            self._graft(now)
        return self._take_effects()

    # -- receiving -----------------------------------------------------------------------------------------------

    def _on_gossip(self, node: NodeId, message: Gossip, now: float) -> None:
        self.payloads += 1
        id_ = message_id(message.body)
        seen = self.messages.find(id_)
        if seen is not None:
            self.duplicates += 1
            # One that came twice by the same way says nothing about the tree.
            if node != seen.source and node in self.neighbours:
                self._on_duplicate(node, message.hops, seen)
            return
        seen = self.messages.add(id_, message.body, Seen(now, max(1, message.hops), node, message.tree))
        self._promote(seen.tree, node)
        nearest = self._wanted.take(id_)
        if nearest is not None:
            self._optimise(nearest[0], nearest[1], seen)
        self._effects.append(Deliver(id_, message.body, node, seen.hops))

    def _on_duplicate(self, node: NodeId, hops: int, seen: Seen) -> None:
        """Prune the way by which a message came second, or first if that was a detour, as after a loss."""
        if seen.hops - hops >= self._config.detour_hops and seen.source in self.neighbours:
            node, seen.source, seen.hops = seen.source, node, hops
            self._promote(seen.tree, seen.source)
        self._prune(seen.tree, node)

    def _on_offers(self, node: NodeId, message: IHave, now: float) -> None:
        wakes_at = None
        for id_, hops in message.offers:
            seen = self.messages.find(id_)
            if seen is not None:
                self._optimise(node, hops, seen)
            elif hops < self._config.hops_max:
                wakes_at = self._wanted.offer(id_, node, hops, now) or wakes_at
        if wakes_at is not None:
            self._effects.append(SetTimer(wakes_at - now, TreeTimer.GRAFT))

    def _optimise(self, near: NodeId, near_hops: int, seen: Seen) -> None:
        """Let a neighbour that had a message much earlier take the place of the one it came from."""
        lazy = self._lazy.get(seen.tree, {})
        gain = seen.hops - (near_hops + 1)
        source = seen.source
        if gain < self._config.optimise_hops or near not in lazy or source in lazy or source not in self.neighbours:
            return
        self.optimisations += 1
        self._promote(seen.tree, near)
        self._effects.append(Send(near, Graft([], [seen.tree])))
        self._prune(seen.tree, source)

    def _on_graft(self, node: NodeId, message: Graft) -> None:
        for tree in message.trees:
            self._promote(tree, node)
        budget = self._config.graft_bytes_max
        for id_ in message.ids:
            seen, body = self.messages.find(id_), self.messages.body(id_)
            if seen is None or body is None or not seen.passed or seen.hops >= self._config.hops_max:
                continue
            self._promote(seen.tree, node)
            budget -= len(body)
            if budget < 0:
                return
            if seen.give(node) <= self._config.given_max:
                self._effects.append(Send(node, Gossip(seen.hops + 1, seen.tree, body)))

    def _graft(self, now: float) -> None:
        asked, wakes_at = self._wanted.due(now, self.neighbours)
        for node, ids in asked.items():
            self._effects += [Send(node, Graft(ids[at : at + WANTED_MAX])) for at in range(0, len(ids), WANTED_MAX)]
        if wakes_at is not None:
            self._effects.append(SetTimer(max(0.0, wakes_at - now), TreeTimer.GRAFT))

    # -- passing on ----------------------------------------------------------------------------------------------

    def _pass_on(self, id_: bytes, body: bytes, seen: Seen) -> None:
        seen.passed = True
        if seen.hops >= self._config.hops_max:
            self.too_far += 1
            return
        message, source, effects = Gossip(seen.hops + 1, seen.tree, body), seen.source, self._effects
        lazy = self._lazy.get(seen.tree)
        if lazy is None:
            effects += [Send(node, message) for node in self.neighbours if node != source]
            return
        self._lazy.move_to_end(seen.tree)
        for node in self.neighbours:
            if node == source:
                continue
            if node in lazy:
                self._offer(node, id_, seen.hops)
            else:
                effects.append(Send(node, message))

    def _offer(self, node: NodeId, id_: bytes, hops: int) -> None:
        if not self._offers:
            self._effects.append(SetTimer(self._config.offer_s, TreeTimer.OFFER))
        offers = self._offers.setdefault(node, [])
        offers.append((id_, hops))
        if len(offers) == WANTED_MAX:
            self._effects.append(Send(node, IHave(self._offers.pop(node))))

    def _promote(self, tree: bytes, node: NodeId) -> None:
        lazy = self._lazy.get(tree)
        if lazy is not None:
            lazy.pop(node, None)

    def _demote(self, tree: bytes, node: NodeId) -> None:
        lazy = self._lazy.get(tree)
        if lazy is None:
            if len(self._lazy) >= self._config.trees_max:
                self._lazy.popitem(last=False)
            lazy = self._lazy[tree] = {}
        lazy[node] = None

    def _prune(self, tree: bytes, node: NodeId) -> None:
        self._demote(tree, node)
        self._effects.append(Send(node, Prune(tree)))

    def _take_effects(self) -> list[GossipEffect]:
        effects, self._effects = self._effects, []
        return effects
