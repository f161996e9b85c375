"""How well broadcasts did, in the papers' terms: reliability, last-delivery hop, relative message redundancy."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cis.sim.swarm_world import SwarmWorld


@dataclass(frozen=True)
class Quality:
    """How a series of broadcasts did."""

    broadcasts: int
    reliability: float
    missed: int
    """deliveries that never came"""
    ldh: int
    ldh_mean: float
    rmr: float
    latency_s: float
    """median, from a broadcast to its last delivery"""
    messages: dict[str, float]
    """sent for one broadcast, in the mean, by kind; those of the views among them"""
    bytes_per_node: float
    """sent by one node for one broadcast, in the mean, without what QUIC adds"""


class Broadcast:
    """One broadcast and whom it reached."""

    __slots__ = ("at", "body", "hops", "last_at", "prompt", "reached", "targets")

    def __init__(self, at: float, body: bytes, targets: int, source: int) -> None:
        self.at = self.last_at = at
        self.body = body
        self.targets = targets
        self.hops = 0
        self.prompt = 0
        self.reached = {source}

    def is_whole_by(self, when: float) -> bool:
        """Tell whether it had reached everybody by then."""
        return len(self.reached) == self.targets and self.last_at <= when


class Series:
    """Broadcasts made one after the other, and the traffic of their time."""

    def __init__(self, world: SwarmWorld) -> None:
        self.broadcasts: list[Broadcast] = []
        self._world = world
        self._messages = world.messages.copy()
        self._bytes = world.bytes
        self._spent: tuple[Counter[type], int] | None = None

    def close(self) -> None:
        """Stop counting traffic."""
        self._spent = (self._world.messages - self._messages, self._world.bytes - self._bytes)

    def prompt_by_second(self, since: float) -> tuple[float, ...]:
        """Return, for each second from a time on, the share of nodes its broadcasts reached promptly."""
        seconds: dict[int, list[float]] = {}
        for one in self.broadcasts:
            share = one.prompt / (one.targets - 1) if one.targets > 1 else 1.0
            seconds.setdefault(int(one.at - since), []).append(share)
        return tuple(round(statistics.fmean(shares), 5) for shares in seconds.values())

    def quality(self, broadcasts: Sequence[Broadcast], nodes: int) -> Quality:
        """Judge some of the broadcasts, with the mean traffic of all."""
        assert self._spent is not None
        count, total = len(broadcasts), max(1, len(self.broadcasts))
        messages, size = self._spent
        due = sum(one.targets - 1 for one in broadcasts)
        missed = sum(one.targets - len(one.reached) for one in broadcasts)
        redundancy = [
            self._world.payloads[one.body] / (len(one.reached) - 1) - 1 for one in broadcasts if len(one.reached) > 1
        ]
        return Quality(
            broadcasts=count,
            reliability=1 - missed / due if due else 1.0,
            missed=missed,
            ldh=max((one.hops for one in broadcasts), default=0),
            ldh_mean=statistics.fmean(one.hops for one in broadcasts) if broadcasts else 0.0,
            rmr=statistics.fmean(redundancy) if redundancy else 0.0,
            latency_s=statistics.median(one.last_at - one.at for one in broadcasts) if broadcasts else 0.0,
            messages={kind.__name__: messages[kind] / total for kind in sorted(messages, key=lambda k: k.__name__)},
            bytes_per_node=size / total / nodes,
        )
