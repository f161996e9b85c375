"""Whom a node knows beside its neighbours: HyParView's passive view, and those it lost.

The passive view holds nodes believed alive: only these are told to others, so the dead fade from all views.
Nodes that could not be reached are kept apart and tried again after growing pauses: after a partition they are the
way back to the other side, which no node with a full active view would look for.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import TYPE_CHECKING

from cis.gossip.config import ViewConfig
from cis.model import NodeId
from cis.wire.gossip import Contact

if TYPE_CHECKING:
    from random import Random


class Entry:
    """What is known of one node; it is not asked again before ``due``."""

    __slots__ = ("due", "record", "tries")

    def __init__(self, record: bytes, due: float = 0.0) -> None:
        self.record = record
        self.due = due
        self.tries = 0


class Acquaintances:
    """The passive view and the lost; no node is in both, and this node in neither.

    ``absent`` are those of either that were neighbours when they were lost, and have not refused since.
    """

    def __init__(self, own: NodeId, rng: Random, config: ViewConfig) -> None:
        self.passive: dict[NodeId, Entry] = {}
        self.lost: dict[NodeId, Entry] = {}
        self.absent: dict[NodeId, Entry] = {}
        self._own = own
        self._rng = rng
        self._config = config

    def learn(self, node: NodeId, record: bytes, instead: Collection[NodeId] = ()) -> None:
        """Take in what others say, of records the newest there is; who is new takes the place of one of ``instead``.

        Where the view is full and none of these is in it, somebody makes room at random.
        """
        if node == self._own or node in self.lost:
            return
        if (entry := self.passive.get(node)) is not None:
            entry.record = record or entry.record
            return
        if len(self.passive) >= self._config.passive_max:
            sent = [other for other in instead if other in self.passive]
            self.remove(self._rng.choice(sent or list(self.passive)))
        self.passive[node] = Entry(record)

    def welcome(self, node: NodeId, record: bytes, due: float) -> None:
        """Take in first-hand news: the node is there, and may be asked from ``due`` on, or later if it refused us."""
        if node == self._own:
            return
        entry = self.lost.pop(node, None)
        self.learn(node, entry.record if entry is not None else b"")
        known = self.passive[node]
        known.record = record or known.record
        known.due = max(known.due, due)
        if node in self.absent:
            self.absent[node] = known

    def put_off(self, node: NodeId, record: bytes, now: float) -> None:
        """Keep in the passive view a node that does not want us now; it is asked again after a while."""
        self.learn(node, record)
        self.absent.pop(node, None)
        if (entry := self.passive.get(node)) is not None:
            self._pause(entry, now, self._config.refused_max_s)

    def lose(self, node: NodeId, record: bytes, now: float, *, was_neighbour: bool = False) -> None:
        """Keep a node that cannot be reached for another try; the one tried most often makes room."""
        entry = self.lost.pop(node, None)
        if entry is None:
            known = self.passive.pop(node, None)
            entry = Entry(record or (known.record if known is not None else b""))
        self._pause(entry, now, self._config.lost_max_s)
        if len(self.lost) >= self._config.lost_max:
            self.remove(max(self.lost, key=lambda other: (other not in self.absent, self.lost[other].tries)))
        self.lost[node] = entry
        if was_neighbour or node in self.absent:
            self.absent[node] = entry

    def remove(self, node: NodeId) -> bytes:
        """Forget a node and return its record."""
        self.absent.pop(node, None)
        entry = self.passive.pop(node, None) or self.lost.pop(node, None)
        return entry.record if entry is not None else b""

    def record_of(self, node: NodeId) -> bytes:
        """Return the record of a node, empty where there is none."""
        entry = self.passive.get(node) or self.lost.get(node)
        return entry.record if entry is not None else b""

    def sample(self, count: int, besides: Container[NodeId] = ()) -> list[Contact]:
        """Return up to so many of the passive view, at random."""
        nodes = [node for node in self.passive if node not in besides]
        return [(node, self.passive[node].record) for node in self._rng.sample(nodes, min(count, len(nodes)))]

    def askable(self, now: float, taken: Container[NodeId], linked: Container[NodeId]) -> list[NodeId]:
        """Return whom to ask next, any of these: linked ones before others, these before lost ones."""
        ready = [node for node, entry in self.passive.items() if entry.due <= now and node not in taken]
        if not ready:
            ready = [node for node, entry in self.lost.items() if entry.due <= now and node not in taken]
        near = [node for node in ready if node in linked]
        return near or ready

    def returning(self, now: float) -> NodeId | None:
        """Return an absent neighbour whose turn it is to be tried."""
        return next((node for node, entry in self.absent.items() if entry.due <= now), None)

    def next_due(self, taken: Container[NodeId], *, absent_only: bool) -> float | None:
        """Return when the next one may be asked; a full view is interested in absent neighbours alone."""
        if absent_only:
            return min((entry.due for node, entry in self.absent.items() if node not in taken), default=None)
        return min(
            (entry.due for view in (self.passive, self.lost) for node, entry in view.items() if node not in taken),
            default=None,
        )

    def _pause(self, entry: Entry, now: float, longest_s: float) -> None:
        pause_s = min(longest_s, self._config.retry_s * 2.0 ** min(entry.tries, 16))
        entry.tries += 1
        entry.due = now + pause_s * self._rng.uniform(1.0, 1.0 + self._config.jitter)
