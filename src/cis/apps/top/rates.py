"""Rates out of counters: what passed a second between two readings, by peer and by what it was for."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cis.api.telemetry.telemetry_schema import FlowInfo, Statistics

KEPT = 240
"""Readings whose rates are kept, for sparklines."""
BARS = " ▁▂▃▄▅▆▇█"
ALL = "all"
"""Stands among the purposes for all of them together."""


class Way(NamedTuple):
    """Bytes each way, or bytes a second each way."""

    come: float = 0.0
    go: float = 0.0

    @property
    def both(self) -> float:
        """Both ways together."""
        return self.come + self.go


@dataclass(frozen=True)
class _Counted:
    """What one process of a node counted until then."""

    run: int | None
    since_s: float
    peers: Mapping[str, Way]
    purposes: Mapping[str, Way]


class Rates:
    """What the last two readings differ by, and for each purpose how that was before."""

    def __init__(self) -> None:
        self.peers: Mapping[str, Way] = {}
        self.purposes: Mapping[str, Way] = {}
        self._past: dict[str, deque[float]] = {}
        self._before: _Counted | None = None

    def take(self, found: Statistics, run: int | None) -> None:
        """Take up what the node's process ``run`` counted; another process counted from nothing."""
        before, now = self._before, _counted(found, run)
        if before is None or before.run != run:
            self._before, self.peers, self.purposes = now, {}, {}
            return
        if (span_s := now.since_s - before.since_s) <= 0:
            return
        self._before = now
        self.peers, self.purposes = (
            {name: _rate(earlier.get(name, Way()), way, span_s) for name, way in later.items()}
            for earlier, later in ((before.peers, now.peers), (before.purposes, now.purposes))
        )
        for name in sorted(self.purposes.keys() | self._past.keys()):
            past = self._past.setdefault(name, deque(maxlen=KEPT))
            past.append(self.purposes.get(name, Way()).both)

    def past(self, purpose: str) -> Sequence[float]:
        """Return the bytes a second of the last readings, both ways together, the oldest first."""
        return tuple(self._past.get(purpose, ()))

    def busiest(self) -> list[str]:
        """Return the purposes for which something passed in the readings kept, those with the most first."""
        return sorted(
            (name for name in self._past if any(self._past[name])), key=lambda name: (-sum(self._past[name]), name)
        )


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last values as bars from nothing to the largest of them, the latest at the right end."""
    shown = values[-width:] if width > 0 else ()
    most = max(shown, default=0.0)
    bars = (BARS[math.ceil(one / most * (len(BARS) - 1))] if most else BARS[0] for one in shown)
    return "".join(bars).rjust(max(width, 0))


def _counted(found: Statistics, run: int | None) -> _Counted:
    purposes = {ALL: _way(found.total)}
    for one in found.peers:
        for name, flow in one.purposes.items():
            before, more = purposes.get(name, Way()), _way(flow)
            purposes[name] = Way(before.come + more.come, before.go + more.go)
    peers = {one.did: _way(one.total) for one in found.peers if one.did is not None}
    return _Counted(run, found.since_s, peers, purposes)


def _way(flow: FlowInfo) -> Way:
    return Way(flow.bytes_in, flow.bytes_out)


def _rate(before: Way, now: Way, span_s: float) -> Way:
    """What a removed member takes out of a sum is no traffic."""
    return Way(max(0.0, now.come - before.come) / span_s, max(0.0, now.go - before.go) / span_s)
