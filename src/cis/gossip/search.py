"""Filling the active view: whom to ask, how many at once, when again.

While there is room, as many are asked as places are free; who does not answer within a moment holds nobody up, others
are asked beside it. After some refusals in a row the search rests, longer each time; after many, a node that lacks more
than one neighbour insists. With a full view only absent neighbours are tried, one at a time.
"""

from __future__ import annotations

from cis.gossip.config import TIMER_SLACK_S
from cis.gossip.language import Dial, SetTimer
from cis.gossip.neighbourhood import Ask, Neighbourhood, ViewTimer
from cis.model import NodeId
from cis.wire.gossip import Disconnect, Join, Neighbour


class Search:
    """The asking half of HyParView."""

    def __init__(self, around: Neighbourhood) -> None:
        self._around = around
        self._joined = False
        self._wakes_at: float | None = None
        self._size = 0
        self._refused = 0
        """refusals since the view last grew or shrank"""
        self._rests_until = 0.0

    def go_on(self, now: float) -> None:
        """Ask whom there is reason to ask, and plan when to look again."""
        around = self._around
        if self._wakes_at is not None and self._wakes_at <= now + TIMER_SLACK_S:
            self._wakes_at = None
        self._give_up(now)
        missing = around.config.active_max - len(around.active)
        if len(around.active) != self._size:
            self._size, self._refused, self._rests_until = len(around.active), 0, 0.0
        if missing <= 0 and not around.asks and not around.known.absent:
            return
        if missing > 0:
            self._fill(missing, now)
        elif not around.asks and (returning := around.known.returning(now)) is not None:
            self.ask(returning, now, forced=True)
        self._plan(now, full=missing <= 0)

    def ask(self, node: NodeId, now: float, *, forced: bool) -> None:
        """Ask a node to become a neighbour, over a link made for it where there is none."""
        around = self._around
        if node in around.asks or len(around.asks) >= around.config.asks_max:
            return
        around.asks[node] = Ask(now, forced=forced)
        if node in around.links:
            self.request(node, now)
        elif node not in around.answers:
            around.effects.append(Dial(node, around.known.record_of(node)))

    def request(self, node: NodeId, now: float) -> None:
        """Say on a link what it was made for: to join, or to become neighbours."""
        around, ask = self._around, self._around.asks[node]
        if not ask.forced and not around.has_place_for(node):
            del around.asks[node]
            around.linger(node)
            return
        ask.since, ask.sent = now, True
        if self._joined or around.active:
            around.send(node, Neighbour(around.own_contact(), urgent=ask.forced or self._insists()))
        else:
            self._joined = True
            around.send(node, Join(around.own_contact()))

    def _insists(self) -> bool:
        """Whether the other is to drop a neighbour for this node: the one dropped finds room here."""
        around, config = self._around, self._around.config
        lacks_two = len(around.active) <= config.active_max - 2
        return not around.active or (lacks_two and self._refused >= config.insist_after)

    def answered(self, node: NodeId, now: float, *, accepted: bool) -> None:
        """Take in or put off a node by its answer."""
        around = self._around
        ask = around.asks.pop(node, None)
        if node in around.active:
            if not accepted:
                around.drop(node, now)
        elif not accepted:
            if ask is not None:
                around.known.put_off(node, b"", now)
                self._rest(now)
            around.linger(node)
        elif around.has_place_for(node) or (ask is not None and ask.forced):
            around.admit(node, b"", now)
        else:
            around.send(node, Disconnect())
            around.linger(node)

    def _fill(self, missing: int, now: float) -> None:
        around = self._around
        if now < self._rests_until and around.active:
            return
        fresh = sum(ask.since + around.config.patience_s > now for ask in around.asks.values())
        while fresh < missing and len(around.asks) < around.config.asks_max:
            askable = around.known.askable(now, around.asks, around.links)
            if not askable:
                return
            node = around.taste.choose(askable, around.active, now)
            self.ask(node, now, forced=node in around.known.absent)
            fresh += 1

    def _rest(self, now: float) -> None:
        config = self._around.config
        self._refused += 1
        if (times := self._refused - config.rest_after) >= 0:
            pause_s = min(config.refused_max_s, config.retry_s * 2.0 ** min(times, 16))
            self._rests_until = now + pause_s * self._around.rng.uniform(1.0, 1.0 + config.jitter)

    def _give_up(self, now: float) -> None:
        around = self._around
        for node in [node for node, ask in around.asks.items() if self._ends_at(ask) <= now]:
            del around.asks[node]
            if node in around.links:
                around.known.put_off(node, b"", now)
                around.linger(node)
            else:
                around.known.lose(node, b"", now)

    def _plan(self, now: float, *, full: bool) -> None:
        around = self._around
        times = [self._ends_at(ask) for ask in around.asks.values()]
        if not full:
            times += [ask.since + around.config.patience_s for ask in around.asks.values()]
        if (due := around.known.next_due(around.asks, absent_only=full)) is not None:
            times.append(max(due, self._rests_until) if around.active and not full else due)
        soonest = min((time for time in times if time > now), default=None)
        if soonest is not None and (self._wakes_at is None or soonest < self._wakes_at):
            self._wakes_at = soonest
            around.effects.append(SetTimer(soonest - now, ViewTimer.SEEK))

    def _ends_at(self, ask: Ask) -> float:
        config = self._around.config
        return ask.since + (config.ask_s if ask.sent else config.dial_s)
