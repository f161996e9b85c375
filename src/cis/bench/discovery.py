"""``cis bench discovery``: how soon a node that starts is connected with a member it knows no address of, by each way.

The nodes are real processes on loopback, with the driver and the providers that `cis up` runs with the settings in
question; the first has run until it can be found, and neither remembers the other. The clock runs from when the second
has *opened its socket* and begins to look, which is when `cis up` says that it is up, to its first authenticated
connection. ``process_s`` runs from when its process was asked to start, loading Python and opening the store included.

The hash tables are so many libtorrent nodes of one more process; with ``dead`` of them ended, without a word, after the
first node had left its record and right before the second starts. ``join_s`` is what a DHT node takes until a search of
its own reaches as many nodes as keep an item; lookups are of values of the size of a record, from a node that just
joined. Idle traffic is counted by `cis.bench.discovery_idle`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cis.bench.discovery_idle import idle_traffic, why_not_counted
from cis.bench.figures import BenchFailed, median, percentile, require_figures, say, waiting
from cis.bench.finding import Bed, Homes, Meeting, anchor_bed, dht_bed, mdns_bed, met, static_bed
from cis.discovery.dht.options import INSTALL, installed
from cis.errors import UsageError

WAYS = ("static", "mdns", "anchor", "dht")
LARGE_RUNS_MAX = 3
DEAD_SHARE = 0.25
VALUES = 60


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Medians over the runs, None for what was not measured: ``skipped`` says why. The tables are by way."""

    runs: int
    nodes: int
    """of the hash table, besides the two that look for each other"""
    dead: int
    large: int
    processors: int = 0
    load: float = 0.0
    """processes that waited for them before it began, on average over a minute"""
    mdns_s: float | None = None
    dht_s: float | None = None
    dht_dead_s: float | None = None
    dht_large_s: float | None = None
    anchor_s: float | None = None
    static_s: float | None = None
    process_s: dict[str, float] = field(default_factory=dict)
    worst_s: dict[str, float] = field(default_factory=dict)
    join_s: dict[str, float] = field(default_factory=dict)
    lookup_p50_ms: dict[str, float] = field(default_factory=dict)
    lookup_p99_ms: dict[str, float] = field(default_factory=dict)
    lookups_missed: dict[str, int] = field(default_factory=dict)
    idle_s: float = 0.0
    idle_bytes_per_s: dict[str, float] = field(default_factory=dict)
    """what a way costs a connected node that has nothing to do; ``connection`` is what the connection itself does"""
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class _Runs:
    """What the runs of one way measured."""

    meetings: list[Meeting] = field(default_factory=list)
    joins_s: list[float] = field(default_factory=list)
    lookups_ms: list[float] = field(default_factory=list)
    asked: int = 0


def bench_discovery(
    *, runs: int = 5, nodes: int = 20, large: int = 200, providers: Sequence[str] = WAYS, idle_s: float = 60.0
) -> DiscoveryResult:
    """Measure these providers; ``large`` 0 leaves out the large hash table, ``idle_s`` 0 the traffic."""
    if unknown := [one for one in providers if one not in WAYS]:
        raise UsageError(f"there is no provider {unknown[0]} to measure: {', '.join(WAYS)}")
    skipped = {}
    if "dht" in providers and not installed():
        skipped["dht"] = f"libtorrent is not installed: {INSTALL}"
        providers = [one for one in providers if one != "dht"]
    measured: dict[str, _Runs] = {}
    idle: dict[str, float] = {}
    load = waiting()
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        homes = Homes(Path(folder))
        for name, count, run in _plan(runs, nodes, large, providers):
            kept = measured[name] = _Runs()
            for number in range(count):
                try:
                    run(homes, kept)
                except BenchFailed as failed:
                    raise BenchFailed(f"{name}: {failed}") from failed
                say(f"{name}, {number + 1} of {count}: {_found_s(kept.meetings[-1]):.2f} s")
        if idle_s:
            if (why := why_not_counted()) is not None:
                skipped["idle_bytes_per_s"] = why
            else:
                say(f"watching idle nodes for {idle_s:g} s")
                idle = idle_traffic(homes, providers, nodes, idle_s)
    return DiscoveryResult(
        runs=runs,
        nodes=nodes,
        dead=_dead(nodes),
        large=large,
        processors=os.cpu_count() or 1,
        load=load,
        **_figures(measured),
        idle_s=idle_s if idle else 0.0,
        idle_bytes_per_s=idle,
        skipped=skipped,
    )


def write_discovery(result: DiscoveryResult, folder: Path) -> list[Path]:
    """Write the page and its plot into a folder and return the files; `UsageError` as `require_figures`."""
    require_figures()
    from cis.bench.discovery_page import page_of
    from cis.bench.discovery_plots import plot_discovery

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "discovery.png", folder / "discovery.md"]
    plot_discovery(result, written[0])
    written[1].write_text(page_of(result), encoding="utf-8")
    return written


_Run = Callable[[Homes, _Runs], None]


def _plan(runs: int, nodes: int, large: int, providers: Sequence[str]) -> Iterator[tuple[str, int, _Run]]:
    """Yield each way to measure: its name, how often, and one run of it."""
    simple = {"static": static_bed, "mdns": mdns_bed, "anchor": anchor_bed}
    for name in providers:
        if name in simple:
            yield name, runs, partial(_meet, simple[name])
    if "dht" in providers:
        tables = {"dht": (runs, nodes, 0), "dht_dead": (runs, nodes, _dead(nodes))}
        if large:
            tables["dht_large"] = (min(runs, LARGE_RUNS_MAX), large, 0)
        for name, (count, size, dead) in tables.items():
            yield name, count, partial(_meet_in_table, size, dead)


def _found_s(meeting: Meeting) -> float:
    return meeting.met_at - meeting.open_at


def _dead(nodes: int) -> int:
    return round(nodes * DEAD_SHARE)


def _meet(bed: Callable[[], contextlib.AbstractContextManager[Bed]], homes: Homes, kept: _Runs) -> None:
    with bed() as ready, met(ready, homes) as couple:
        kept.meetings.append(couple.meeting)


def _meet_in_table(nodes: int, dead: int, homes: Homes, kept: _Runs) -> None:
    with dht_bed(nodes, dead, VALUES) as (bed, network), met(bed, homes) as couple:
        kept.meetings.append(couple.meeting)
        found = network.ask("client")
        kept.joins_s.append(found["join_s"])
        kept.lookups_ms += found["lookups_ms"]
        kept.asked += VALUES


def _figures(measured: dict[str, _Runs]) -> dict[str, Any]:
    """Return what was measured as fields of the result."""
    tables = {name: kept for name, kept in measured.items() if kept.asked}
    return {
        **{f"{name}_s": median(list(map(_found_s, kept.meetings))) for name, kept in measured.items()},
        "process_s": {
            name: median([one.met_at - one.asked_at for one in kept.meetings]) for name, kept in measured.items()
        },
        "worst_s": {name: max(map(_found_s, kept.meetings)) for name, kept in measured.items()},
        "join_s": {name: median(kept.joins_s) for name, kept in tables.items()},
        "lookup_p50_ms": {name: percentile(kept.lookups_ms, 50) for name, kept in tables.items()},
        "lookup_p99_ms": {name: percentile(kept.lookups_ms, 99) for name, kept in tables.items()},
        "lookups_missed": {name: kept.asked - len(kept.lookups_ms) for name, kept in tables.items()},
    }
