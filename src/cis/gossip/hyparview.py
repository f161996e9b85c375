"""Who this node's neighbours are: HyParView (Leitão, Pereira, Rodrigues, DSN 2007) as a machine.

The active view is small and symmetric: broadcasts travel on it. The passive view is larger and kept fresh by shuffles;
a lost neighbour is replaced from it at once, and a view with room goes on asking, so that a small cluster becomes a
full mesh by itself. Beyond the paper: a lost neighbour is tried again and, when it is back, let in at the cost of
another, which joins the halves of a healed partition; a circle that seems closed lets a stranger in; and what a node
can make this one do (drop a neighbour, dial, send walks) is bounded in number and in time.

::

    views = HyParView(own, own_record, rng, ViewConfig())
    effects = views.handle(Heard(contact, record), now)         # Dial(contact) …
    effects = views.handle(Linked(contact, dialled=True), now)  # Send(contact, Join) …
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cis.gossip.config import ViewConfig
from cis.gossip.language import (
    DialFailed,
    GossipEffect,
    Heard,
    LeavingAsked,
    Linked,
    Received,
    Removed,
    Sought,
    TimerExpired,
    Unlinked,
)
from cis.gossip.neighbourhood import Neighbourhood, ViewTimer
from cis.gossip.search import Search
from cis.gossip.shuffles import Shuffles
from cis.gossip.taste import Indifferent, Taste
from cis.model import NodeId
from cis.wire.gossip import (
    Contact,
    Disconnect,
    ForwardJoin,
    GossipMessage,
    Join,
    Neighbour,
    NeighbourAnswer,
    Shuffle,
    ShuffleAnswer,
)

if TYPE_CHECKING:
    from random import Random

ViewEvent = Heard | Sought | Linked | Unlinked | DialFailed | Removed | Received | LeavingAsked | TimerExpired


class HyParView:
    """The views of one node."""

    def __init__(
        self,
        own: NodeId,
        own_record: Callable[[], bytes],
        rng: Random,
        config: ViewConfig,
        taste: Taste | None = None,
    ) -> None:
        self._around = Neighbourhood(own, own_record, rng, config, taste or Indifferent(rng))
        self._search = Search(self._around)
        self._shuffles = Shuffles(self._around)
        self._shuffling = False
        self._leaving = False
        self.active = self._around.active
        """neighbours, each with its record; for reading"""
        self.known = self._around.known

    def handle(self, event: ViewEvent, now: float) -> list[GossipEffect]:
        """Return what to do about an event, in order."""
        match event:
            case Received(node, message):
                if node in self._around.links:
                    self._on_message(node, message, now)
            case Linked(node, dialled):
                self._on_linked(node, now, dialled=dialled)
            case Unlinked(node):
                self._on_unlinked(node, now)
            case DialFailed(node):
                self._on_dial_failed(node, now)
            case Removed(node):
                self._on_removed(node, now)
            case Heard(node, record):
                self._on_heard(node, record, now)
            case Sought(node):
                self._on_sought(node, now)
            case TimerExpired(timer):
                self._on_timer(timer, now)
            case LeavingAsked():
                self._leave()
        if not self._leaving:
            self._search.go_on(now)
        if self.active and not self._shuffling:
            self._shuffling = True
            self._shuffles.plan(self._around.config.shuffle_first_s)
        return self._take_effects()

    def meet_stranger(self, node: NodeId, now: float) -> list[GossipEffect]:
        """Answer a node that speaks as a neighbour and is none: it is told so, unless its acceptance is on its way."""
        self._meet_stranger(node, now)
        return self._take_effects()

    def _meet_stranger(self, node: NodeId, now: float) -> None:
        around = self._around
        ask = around.asks.get(node)
        if ask is not None and ask.sent and (ask.forced or around.has_place_for(node)):
            around.admit(node, b"", now)
        elif node in around.links:
            around.send(node, Disconnect())

    def _take_effects(self) -> list[GossipEffect]:
        effects, self._around.effects = self._around.effects, []
        return effects

    def _on_heard(self, node: NodeId, record: bytes, now: float) -> None:
        if node in self.active:
            self.active[node] = record or self.active[node]
        else:
            self.known.welcome(node, record, now)

    def _on_sought(self, node: NodeId, now: float) -> None:
        if node not in self.active and not self._leaving and self._around.has_place_for(node):
            self._search.ask(node, now, forced=False)

    def _on_linked(self, node: NodeId, now: float, *, dialled: bool) -> None:
        around = self._around
        if node in around.links or node == around.own:
            return
        around.links[node] = None
        self._shuffles.on_linked(node)
        if node in around.asks:
            self.known.welcome(node, b"", now)
            self._search.request(node, now)
        else:
            # Whoever dialled has the first word.
            self.known.welcome(node, b"", now if dialled else now + around.config.patience_s)

    def _on_unlinked(self, node: NodeId, now: float) -> None:
        around = self._around
        around.links.pop(node, None)
        asked = around.asks.pop(node, None) is not None
        if node in self.active:
            self.known.lose(node, around.take_out(node), now, was_neighbour=True)
        elif asked:
            self.known.lose(node, b"", now)

    def _on_dial_failed(self, node: NodeId, now: float) -> None:
        around = self._around
        if node in around.links:
            return
        answering = around.answers.pop(node, None) is not None
        if around.asks.pop(node, None) is not None or answering:
            self.known.lose(node, b"", now)

    def _on_removed(self, node: NodeId, now: float) -> None:
        self._on_unlinked(node, now)
        self._around.answers.pop(node, None)
        self.known.remove(node)

    def _on_message(self, node: NodeId, message: GossipMessage, now: float) -> None:
        match message:
            case Join(contact) if contact[0] == node:
                self._on_join(node, contact, now)
            case Neighbour(contact, urgent) if contact[0] == node:
                wanted = urgent or self._around.has_place_for(node)
                force = wanted and not self._is_welcome(node) and self._may_force(node, now)
                self._on_request(node, contact[1], now, force=force)
            case NeighbourAnswer(accepted):
                self._search.answered(node, now, accepted=accepted)
            case Disconnect(leaving):
                self._on_disconnect(node, now, leaving=leaving)
            case ShuffleAnswer():
                self._shuffles.on_answer(node, message)
            case ForwardJoin(contact, ttl) if node in self.active:
                self._on_forward_join(node, contact, min(ttl, self._around.config.join_walk), now)
            case Shuffle() if node in self.active:
                self._shuffles.on_shuffle(node, message)
            case ForwardJoin() | Shuffle():
                self._meet_stranger(node, now)
            case _:
                return

    def _on_join(self, node: NodeId, contact: Contact, now: float) -> None:
        """Take a newcomer in and tell the neighbours, for each node once in a while."""
        others = list(self.active)
        force = node not in self.active and self._may_force(node, now)
        self._on_request(node, contact[1], now, force=force)
        if force and node in self.active:
            for other in others:
                if other in self.active:
                    self._around.send(other, ForwardJoin(contact, self._around.config.join_walk))

    def _on_request(self, node: NodeId, record: bytes, now: float, *, force: bool) -> None:
        accepted = not self._leaving and (force or self._is_welcome(node))
        if accepted:
            self._around.admit(node, record, now)
        else:
            self.known.learn(node, record)
            self._around.linger(node)
        self._around.send(node, NeighbourAnswer(accepted))

    def _is_welcome(self, node: NodeId) -> bool:
        return node in self.active or node in self._around.asks or self._around.room

    def _on_disconnect(self, node: NodeId, now: float, *, leaving: bool) -> None:
        self._around.asks.pop(node, None)
        if node not in self.active:
            return
        record = self._around.take_out(node)
        if leaving:
            self.known.lose(node, record, now)
        else:
            self.known.put_off(node, record, now)
        self._around.linger(node)

    def _on_forward_join(self, node: NodeId, contact: Contact, ttl: int, now: float) -> None:
        newcomer, record = contact
        around = self._around
        if newcomer == around.own or newcomer in self.active:
            return
        onward = around.neighbour_but(node, newcomer) if ttl > 0 else None
        if onward is None or around.room or ttl == around.config.join_walk_passive:
            self.known.welcome(newcomer, record, now)
        if onward is None:
            self._search.ask(newcomer, now, forced=True)
        else:
            around.send(onward, ForwardJoin(contact, ttl - 1))

    def _may_force(self, node: NodeId, now: float) -> bool:
        """Whether a node may cost this one a neighbour, or have its coming told: once in a while each, few at once."""
        config, let_in = self._around.config, self._around.let_in
        for other in [other for other, at in let_in.items() if now - at >= config.forced_s]:
            del let_in[other]
        if node in let_in or len(let_in) >= config.forced_max:
            return False
        let_in[node] = now
        return True

    def _on_timer(self, timer: object, now: float) -> None:
        match timer:
            case ViewTimer.SHUFFLE if not self._leaving:
                self._shuffles.begin()
                if self._shuffles.seems_closed():
                    for stranger, _ in self.known.sample(1):
                        self._search.ask(stranger, now, forced=True)
            case (ViewTimer.RELEASE, bytes(node)):
                self._around.lingered(NodeId(node))
            case _:
                return

    def _leave(self) -> None:
        self._leaving = True
        for node in list(self.active):
            self._around.send(node, Disconnect(leaving=True))
