"""How many connections a node keeps, and which it closes first; pure.

Neighbours of gossip, peers the user wants, and whoever is being exchanged with keep theirs. Others are closed when they
have been of no use for a while and gossip has no room for their peers, and before that where the pool is full: first
those gossip released, then those that fell silent, then those unused for longest. A newcomer for which no connection
can be given up is turned away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from cis.errors import Fault
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.events import Effect
from cis.node.core.overlay import Overlay
from cis.node.core.table import Link, LinkTable

IDLE_S = 30.0
"""How long a link that gossip has no room for is kept after its last session, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the settings say."""

    links_max: int = 64
    idle_s: float = IDLE_S


@dataclass(slots=True)
class PoolCounts:
    """What happened since the start."""

    opened: int = 0
    idled: int = 0
    """closed as nobody needed them"""
    evicted: int = 0
    """closed for another that came when the pool was full"""
    turned_away: int = 0
    """newcomers for which none could be closed"""


class Pool:
    """Looks at the links of a table; ``pinned`` are the peers the user wants, ``overlay`` knows gossip's."""

    def __init__(self, table: LinkTable, overlay: Overlay, pinned: Collection[NodeId]) -> None:
        self.limits = PoolLimits()
        self.due_at: float | None = None
        self._table = table
        self._overlay = overlay
        self._pinned = pinned
        self._counts = PoolCounts()

    def counts(self) -> PoolCounts:
        """Return what happened since the start."""
        return replace(self._counts)

    def on_connected(self, newcomer: Link) -> list[Effect]:
        """Make room for a link that was just taken in, where there are too many."""
        self._counts.opened += 1
        kept = [link for link in self._table if not link.closing]
        if len(kept) <= self.limits.links_max:
            return []
        idle = [link for link in kept if link is not newcomer and self._spare(link) and not _busy(link)]
        if idle:
            self._counts.evicted += 1
            return [_closed(min(idle, key=_usefulness), Fault.NONE, "not needed now")]
        if not self._spare(newcomer):
            return []
        self._counts.turned_away += 1
        return [_closed(newcomer, Fault.BUSY, f"all {self.limits.links_max} connections of this node are in use")]

    def due(self, now: float) -> Iterable[Effect]:
        """Close the links nobody needs, and note when the next may be closed."""
        self.due_at = None
        for link in self._table:
            if link.closing or not self._spare(link) or _busy(link):
                continue
            if not link.released and self._overlay.room > 0:
                continue
            idle_at = now if link.released else link.used_at + self.limits.idle_s
            if idle_at <= now:
                self._counts.idled += 1
                yield _closed(link, Fault.NONE, "not needed now")
            elif self.due_at is None or idle_at < self.due_at:
                self.due_at = idle_at

    def _spare(self, link: Link) -> bool:
        return link.node not in self._overlay.neighbours and link.node not in self._pinned


def _busy(link: Link) -> bool:
    return bool(link.syncing or link.served or link.sync_at is not None)


def _usefulness(link: Link) -> tuple[bool, bool, float, int]:
    return not link.released, not link.suspect, link.used_at, link.id


def _closed(link: Link, fault: Fault, reason: str) -> Effect:
    link.closing = True
    return events.Close(link.id, fault, reason)
