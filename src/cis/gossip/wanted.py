"""Messages that were offered and have not come: who offered them, and when to ask whom."""

from __future__ import annotations

import heapq
from collections.abc import Container
from typing import TYPE_CHECKING

from cis.gossip.config import TIMER_SLACK_S, TreeConfig
from cis.model import NodeId

if TYPE_CHECKING:
    from random import Random


class Wanted:
    """Offers of messages not seen, bounded for each neighbour that was first to offer one."""

    def __init__(self, rng: Random, config: TreeConfig) -> None:
        self._rng = rng
        self._config = config
        self._offers: dict[bytes, list[tuple[NodeId, int]]] = {}
        self._first: dict[bytes, NodeId] = {}
        self._claims: dict[NodeId, int] = {}
        self._due: list[tuple[float, bytes]] = []
        self._wakes_at: float | None = None

    def __len__(self) -> int:
        return len(self._offers)

    def offer(self, id_: bytes, node: NodeId, hops: int, now: float) -> float | None:
        """Note that a node has a message; return when to look for what is due, where that is news."""
        offers = self._offers.get(id_)
        if offers is not None:
            if len(offers) < self._config.offers_max and all(other != node for other, _ in offers):
                offers.append((node, hops))
            return None
        claims = self._claims.get(node, 0)
        if claims >= self._config.wanted_max:
            return None
        self._claims[node] = claims + 1
        self._first[id_] = node
        self._offers[id_] = [(node, hops)]
        # Spread, so that of a branch that was cut off one node asks first and has it for the others.
        delay_s = self._config.graft_first_s * self._rng.uniform(1.0, 2.0)
        heapq.heappush(self._due, (now + delay_s, id_))
        return self._wake(self._due[0][0])

    def take(self, id_: bytes) -> tuple[NodeId, int] | None:
        """Strike off a message that came; return who offered it with the fewest hops."""
        offers = self._offers.pop(id_, None)
        if offers is None:
            return None
        first = self._first.pop(id_)
        if (claims := self._claims.get(first, 0)) > 1:
            self._claims[first] = claims - 1
        else:
            self._claims.pop(first, None)
        return min(offers, key=_hops, default=None)

    def forget(self, node: NodeId) -> None:
        """Forget how much a neighbour that is gone has offered; its offers are passed over when they are due."""
        self._claims.pop(node, None)

    def due(self, now: float, present: Container[NodeId]) -> tuple[dict[NodeId, list[bytes]], float | None]:
        """Return what to ask of whom, and when to look again, where that is news.

        Offerers are asked one after the other, the nearest to the source first; when all of them were, the message is
        struck off until it is offered again.
        """
        if self._wakes_at is not None and self._wakes_at <= now + TIMER_SLACK_S:
            self._wakes_at = None
        asked: dict[NodeId, list[bytes]] = {}
        while self._due and self._due[0][0] <= now:
            _, id_ = heapq.heappop(self._due)
            offers = self._offers.get(id_)
            if offers is None:
                continue
            offers[:] = [offer for offer in offers if offer[0] in present]
            if not offers:
                self.take(id_)
                continue
            nearest = min(offers, key=_hops)
            offers.remove(nearest)
            asked.setdefault(nearest[0], []).append(id_)
            heapq.heappush(self._due, (now + self._config.graft_next_s, id_))
        return asked, self._wake(self._due[0][0]) if self._due else None

    def _wake(self, at: float) -> float | None:
        if self._wakes_at is not None and self._wakes_at <= at:
            return None
        self._wakes_at = at
        return at


def _hops(offer: tuple[NodeId, int]) -> int:
    return offer[1]
