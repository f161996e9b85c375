"""Gossip as the core sees it: the machine of `cis.gossip` with its timers, and who its neighbours are."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable

from cis.gossip import Gossip, GossipConfig, GossipStatistics
from cis.gossip import language as gossip
from cis.model import NodeId

NEIGHBOURS_MAX = GossipConfig().views.active_max


class Overlay:
    """Keeps timers in a heap, so that the core has one moment to wait for; all else it passes on."""

    def __init__(self, machine: Gossip) -> None:
        self.neighbours: dict[NodeId, float] = {}
        """the active view, and since when each is in it"""
        self._machine = machine
        self._timers: list[tuple[float, int, Hashable]] = []
        self._numbers = itertools.count()

    @property
    def room(self) -> int:
        """How many more neighbours the active view takes."""
        return max(0, NEIGHBOURS_MAX - len(self.neighbours))

    def statistics(self) -> GossipStatistics:
        """Return what the machine counted since the start."""
        return self._machine.statistics()

    def handle(self, event: gossip.GossipEvent, now: float) -> list[gossip.GossipEffect]:
        """Give the machine an event; returns what it decides, but for timers, which are kept here."""
        return self._keep(self._machine.handle(event, now), now)

    def due(self, now: float) -> list[gossip.GossipEffect]:
        """Let the timers that are up expire."""
        decided: list[gossip.GossipEffect] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            decided += self.handle(gossip.TimerExpired(timer), now)
        return decided

    def next_timer(self) -> float | None:
        """Return when the next timer is up."""
        return self._timers[0][0] if self._timers else None

    def _keep(self, decided: Iterable[gossip.GossipEffect], now: float) -> list[gossip.GossipEffect]:
        left: list[gossip.GossipEffect] = []
        for effect in decided:
            match effect:
                case gossip.SetTimer(delay_s, timer):
                    heapq.heappush(self._timers, (now + delay_s, next(self._numbers), timer))
                case gossip.NeighbourUp(node):
                    self.neighbours[node] = now
                    left.append(effect)
                case gossip.NeighbourDown(node):
                    self.neighbours.pop(node, None)
                    left.append(effect)
                case _:
                    left.append(effect)
        return left
