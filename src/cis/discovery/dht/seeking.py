"""Whom to look for in the DHT now: members there is no connection with, soon at first, then ever more rarely. Pure.

The wait doubles from `FIRST_S` to `LONGEST_S`, with jitter, so that a cluster that starts at once does not ask at once.
Who has been connected is looked for afresh when the connection is gone. How many are looked for at a time and in a
second is bounded, whatever the size of the cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random

from cis.model import NodeId
from cis.rate import Bucket

FIRST_S, LONGEST_S = 1.0, 600.0
PER_S, BURST = 2.0, 16
AT_ONCE = 8


@dataclass
class _Sought:
    due_at: float
    wait_s: float = FIRST_S


class Seeking:
    """Who is looked for, and when next."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._sought: dict[NodeId, _Sought] = {}
        self._under_way: dict[NodeId, None] = {}
        self._rate = Bucket(per_s=PER_S, burst=BURST)

    def due(self, members: Iterable[NodeId], connected: Collection[NodeId], now: float) -> list[NodeId]:
        """Return whom to look for now; each is under way until `ended`."""
        absent = [node for node in members if node not in connected]
        self._sought = {node: self._sought.get(node) or _Sought(now) for node in absent}
        waiting = sorted(absent, key=lambda node: self._sought[node].due_at)
        found: list[NodeId] = []
        for node in waiting:
            one = self._sought[node]
            if node in self._under_way:
                continue
            if one.due_at > now or len(self._under_way) >= AT_ONCE or not self._rate.take(1, now):
                break
            one.due_at = now + one.wait_s * self._rng.uniform(0.5, 1.0)
            one.wait_s = min(2 * one.wait_s, LONGEST_S)
            self._under_way[node] = None
            found.append(node)
        return found

    def ended(self, node: NodeId) -> None:
        """Note that a search is over."""
        self._under_way.pop(node, None)

    def hurry(self, now: float) -> None:
        """Look for everybody soon again: the network is another."""
        for one in self._sought.values():
            one.due_at, one.wait_s = now, FIRST_S
