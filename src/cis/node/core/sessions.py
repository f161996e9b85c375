"""When to hold a session with whom: on connecting, on gaps, at intervals, and to pass on what was learned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.model import NodeId, SpaceId
from cis.node.core import events
from cis.node.core.events import LinkId
from cis.node.core.table import Link, LinkTable
from cis.sync import Report

if TYPE_CHECKING:
    from random import Random

RELAY_DELAY_S = 0.05
"""How long to gather what was learned before offering it on."""
RELAY_PAUSE_S = 0.5
"""Least time between two sessions with one peer that only pass things on, or look for what is missing."""
GAP_DELAY_S = 0.3
"""How long gossip may take to bring what was missing when a change arrived."""
RETRY_S = 2.0
RETRY_CEILING_S = 60.0
COMPARISONS_AT_ONCE = 2
"""Comparisons of whole states with one peer, one after the other, before the next session has to wait."""
JITTER = 0.1
"""By how much of it each interval is shortened or lengthened at random, so that nodes do not act in chorus."""


Sharing = Callable[[], Mapping[SpaceId, Collection[NodeId]]]
"""The spaces of this node that not all members share, and with whom it shares each."""


@dataclass(frozen=True)
class Around:
    """What sessions need to know: who the neighbours are, who shares what, and how a node is got at (False: not)."""

    neighbours: Collection[NodeId]
    sharing: Sharing
    dial: Callable[[NodeId, float], bool]


class Sessions:
    """Plans sessions over a table of links; ``interval_s`` is that of periodic ones."""

    def __init__(self, table: LinkTable, around: Around, rng: Random, interval_s: float) -> None:
        self._table = table
        self._around = around
        self._rng = rng
        self._interval_s = interval_s
        self._round_at: float | None = None
        self._learned_at = float("-inf")

    def every(self, interval_s: float, now: float) -> None:
        """Hold periodic sessions at another interval from now on."""
        self._interval_s = interval_s
        if self._round_at is not None:
            self._round_at = min(self._round_at, now + self._pause_s())

    def on_connected(self, link: Link, now: float) -> None:
        """A connection is there: who dialled begins."""
        if link.dialled:
            self.want(link, now)
        if self._round_at is None:
            self._round_at = now + self._pause_s()

    def on_gap(self, link: Link, now: float) -> None:
        """What came over a link shows that more is missing."""
        self.want(link, max(now + GAP_DELAY_S, link.synced_at + RELAY_PAUSE_S))

    def on_ended(self, link: Link, report: Report | None, error: str, now: float) -> None:
        """A session ended: with its report, or with an error (empty when it was merely superseded)."""
        link.syncing, link.synced_at = False, now
        status = link.status
        if report is None:
            if error:
                delay_s = min(RETRY_CEILING_S, RETRY_S * 2.0 ** min(status.failures, 10))
                status.failures += 1
                status.last_error = error
            else:  # it gave way to one of the peer's, which may show the store as it was before what this was to tell
                delay_s = min(RETRY_CEILING_S, RELAY_PAUSE_S * 2.0 ** min(status.gave_way, 10))
                status.gave_way += 1
            self.want(link, now + delay_s)
            return
        status.sessions += 1
        status.failures = status.gave_way = 0
        status.in_step_at, status.last_error = now, report.refused
        status.stated, status.stated_at = report.stated, now
        status.changes_received += report.changes_received
        status.bytes_received += report.bytes_received
        status.bytes_sent += report.bytes_sent
        link.compare_due = bool(report.to_compare) and link.dialled
        if not report.to_compare:
            status.comparisons = 0
        if report.changes_received or report.entries_received:
            self.offer_on(link.id, now)

    def on_compared(self, link: Link, error: str, now: float) -> None:
        """Whole states were compared: what could not be exchanged before can be now."""
        status = link.status
        status.comparisons += 1
        if error:
            status.last_error = error
        often = status.comparisons > COMPARISONS_AT_ONCE or error
        delay_s = min(RETRY_CEILING_S, RETRY_S * 2.0 ** min(status.comparisons, 10)) if often else 0.0
        self.want(link, now + delay_s)

    def on_neighbour(self, link: Link, now: float) -> None:
        """A peer became a neighbour: what was learned while it was none it was not offered."""
        if self._learned_at >= link.since:
            self._relay(link, now)

    def offer_on(self, source: LinkId | None, now: float) -> None:
        """Plan sessions with the neighbours, but for the one something came from; each passes it on in turn."""
        self._learned_at = now
        for link in self._reachable():
            if link.id != source:
                self._relay(link, now)

    def reach(self, space: SpaceId, now: float, *, everyone: bool = False) -> None:
        """Plan a session with a member that shares a space, or all that are connected; dial one where none is."""
        nodes = self._around.sharing().get(space, ())
        links = [link for link in self._table if link.node in nodes]
        for link in links if everyone or not links else [self._rng.choice(links)]:
            self._relay(link, now)
        if not links and nodes:
            ordered = sorted(nodes)
            for node in self._rng.sample(ordered, len(ordered)):
                if self._around.dial(node, now):
                    break

    def _relay(self, link: Link, now: float) -> None:
        """Plan a session that passes on what came, soon but not at once: more may be coming."""
        self.want(link, max(now + RELAY_DELAY_S, link.synced_at + RELAY_PAUSE_S))

    def want(self, link: Link, at: float) -> None:
        """Plan a session, unless an earlier one is planned."""
        link.sync_at = at if link.sync_at is None else min(link.sync_at, at)

    def due(self, now: float) -> Iterator[events.Effect]:
        """Yield the sessions to begin now."""
        if self._round_at is not None and self._round_at <= now:
            self._begin_round(now)
        for link in self._table:
            if link.compare_due:
                link.compare_due = False
                yield events.Compare(link.id)
            if link.sync_at is not None and link.sync_at <= now and not link.syncing:
                link.sync_at, link.syncing = None, True
                yield events.Synchronise(link.id)

    def next_due(self) -> float | None:
        """Return when the next session is to begin."""
        moments = [link.sync_at for link in self._table if link.sync_at is not None and not link.syncing]
        return min([*moments, *((self._round_at,) if self._round_at is not None else ())], default=None)

    def _begin_round(self, now: float) -> None:
        """Have a session with a random neighbour, and in each space it does not share with somebody who does."""
        reachable = self._reachable()
        self._round_at = now + self._pause_s() if reachable else None
        if reachable:
            met = self._rng.choice(reachable)
            self.want(met, now)
            for space, nodes in self._around.sharing().items():
                if met.node not in nodes:
                    self.reach(space, now)

    def _reachable(self) -> list[Link]:
        """The links with neighbours; all of them while gossip has none."""
        links = [link for link in self._table if link.node in self._around.neighbours]
        return links or list(self._table)

    def _pause_s(self) -> float:
        return self._interval_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
