"""``cis bench limits``: each of our operations beside what bounds it on this machine, measured in the same run.

What bounds an operation is a library without us (bare qh3, libsodium, SQLite), the disk, the memory, or another of our
own paths that does part of the same work. The ratio is ours to the bound: of rates the part of it that is reached, of
times how often it fits. Targets are those of DESIGN § 11, which names their sizes; other sizes are held to them too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cis.bench import interpreter, limit_rows
from cis.bench.bare_disk import insert_s, sync_ms
from cis.bench.bare_pair import Yardstick
from cis.bench.connect import bench_connect
from cis.bench.figures import BenchFailed, median, percentile, require_figures, say, waiting
from cis.bench.gossip import bench_gossip
from cis.bench.idle import bench_idle
from cis.bench.limit_rows import LimitRow
from cis.bench.resync import bench_resync
from cis.bench.search import bench_search
from cis.bench.stream import bench_stream
from cis.bench.sync import SyncResult, bench_sync
from cis.bench.update import bench_update
from cis.bench.verifying import bench_verify
from cis.bench.workload import Workload
from cis.bench.write import WriteResult, bench_write
from cis.errors import UsageError

VECTOR_DIM = 384
UPDATE_BYTES = 512
"""About the frame of a live change."""
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class LimitSizes:
    """How much of each is measured."""

    memories: int = 100_000
    """of each sync, and of what is searched"""
    runs: int = 1
    """of each sync; the medians count"""
    one_by_one: int = 500
    """durable writes, and commits beside them"""
    changesets: int = 2000
    megabytes: int = 64
    connections: int = 100
    queries: int = 100
    updates: int = 300
    sessions: int = 20
    nodes: int = 1000
    seconds: float = 5.0
    """of watching a node at rest"""


@dataclass(frozen=True, slots=True)
class LimitsResult:
    """All rows, and what they were measured on."""

    processors: int
    load: float
    """processes that waited for them before it began, on average over a minute"""
    elapsed_s: float
    sizes: LimitSizes
    rows: tuple[LimitRow, ...] = field(default_factory=tuple)


class _Run:
    """One run; what several operations need is measured once."""

    def __init__(self, sizes: LimitSizes, folder: Path) -> None:
        self._sizes = sizes
        self._folder = folder

    def sync(self) -> list[LimitRow]:
        """Pull by an empty node: as it is, in changesets of one change, and with vectors."""
        sizes = self._sizes
        plain = self._pulled(Workload(sizes.memories))
        row_bytes = plain.segment_bytes // sizes.memories
        say(f"inserting {sizes.memories:,} rows of {row_bytes} bytes into SQLite alone")
        per_s = []
        for number in range(sizes.runs):
            folder = self._folder / f"insert-{number}"
            folder.mkdir()
            per_s.append(sizes.memories / insert_s(folder, sizes.memories, row_bytes))
        single = self._pulled(Workload(sizes.memories), single=True)
        vectors = self._pulled(Workload(sizes.memories, vector_dim=VECTOR_DIM))
        return limit_rows.of_sync(plain, single, vectors, median(per_s))

    def write(self) -> list[LimitRow]:
        """Durable writes one at a time."""
        synced = sync_ms(self._folder, self._written.pages, self._sizes.one_by_one)
        return limit_rows.of_write(self._written, percentile(synced, 50))

    def stream(self) -> list[LimitRow]:
        """One stream."""
        return limit_rows.of_stream(bench_stream(self._sizes.megabytes * 1_000_000))

    def connect(self) -> list[LimitRow]:
        """Connections."""
        return limit_rows.of_connect(bench_connect(self._sizes.connections))

    def verify(self) -> list[LimitRow]:
        """Hashes, chains and signatures of what peers send."""
        return limit_rows.of_verify(bench_verify(self._sizes.changesets))

    def search(self) -> list[LimitRow]:
        """Searches, the embedding of the query aside."""
        return limit_rows.of_search(bench_search(self._sizes.memories, self._sizes.queries, quality=False))

    def update(self) -> list[LimitRow]:
        """Live updates."""
        result, commit_p50_ms = bench_update(self._sizes.updates, _PAUSE_S), self._written.bare_p50_ms
        return limit_rows.of_update(result, self._round_trips, commit_p50_ms)

    def resync(self) -> list[LimitRow]:
        """Sessions of nodes that are in step."""
        return limit_rows.of_resync(bench_resync(sessions=self._sizes.sessions), self._round_trips[0])

    def gossip(self) -> list[LimitRow]:
        """Broadcasts, simulated."""
        nodes = self._sizes.nodes
        return limit_rows.of_gossip(bench_gossip(nodes=nodes, sizes=(nodes,), shares=()).sizes[0])

    def idle(self) -> list[LimitRow]:
        """A node at rest, its start, and a command beside it."""
        return limit_rows.of_idle(bench_idle(self._sizes.seconds), interpreter.start_s(), interpreter.rss_mb())

    @cached_property
    def _written(self) -> WriteResult:
        sizes = self._sizes
        return bench_write(Workload(sizes.memories), sizes.one_by_one)

    @cached_property
    def _round_trips(self) -> tuple[float, float]:
        with Yardstick("bare") as bare:
            taken_ms = bare.round_trips(self._sizes.updates, UPDATE_BYTES)
        return percentile(taken_ms, 50), percentile(taken_ms, 99)

    def _pulled(self, workload: Workload, *, single: bool = False) -> SyncResult:
        result = bench_sync(workload, single=single, runs=self._sizes.runs)
        if not result.in_step:
            raise BenchFailed("the two nodes hold different states after a sync: this is a defect, please report it")
        return result


OPERATIONS: dict[str, Callable[[_Run], list[LimitRow]]] = {
    "sync": _Run.sync,
    "write": _Run.write,
    "stream": _Run.stream,
    "connect": _Run.connect,
    "verify": _Run.verify,
    "search": _Run.search,
    "update": _Run.update,
    "resync": _Run.resync,
    "gossip": _Run.gossip,
    "idle": _Run.idle,
}
"""By name, in the order they are measured and shown."""


def bench_limits(sizes: LimitSizes, only: Sequence[str] = ()) -> LimitsResult:
    """Measure these operations, all where none is named; `UsageError` for a name there is none of."""
    unknown = [name for name in only if name not in OPERATIONS]
    if unknown:
        raise UsageError(f"no operation {unknown[0]}: there are {', '.join(OPERATIONS)}")
    load, began = waiting(), time.monotonic()
    rows: list[LimitRow] = []
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        run = _Run(sizes, Path(folder))
        for name, measure in OPERATIONS.items():
            if not only or name in only:
                say(f"-- {name}")
                rows += measure(run)
    return LimitsResult(os.cpu_count() or 1, load, time.monotonic() - began, sizes, tuple(rows))


def write_limits(result: LimitsResult, command: str, folder: Path) -> list[Path]:
    """Write the page and its plot into a folder and return the files; `UsageError` as `require_figures`."""
    require_figures()
    from cis.bench.limits_page import page_of
    from cis.bench.limits_plots import plot_limits

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "limits.png", folder / "limits.md"]
    plot_limits(result, written[0])
    written[1].write_text(page_of(result, command), encoding="utf-8")
    return written
