"""The rows of `cis bench limits`: what a benchmark measured, beside its bound and the target it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cis.bench.figures import ratio

if TYPE_CHECKING:
    from cis.bench.connect import ConnectResult
    from cis.bench.gossip import SizeRow
    from cis.bench.idle import IdleResult
    from cis.bench.resync import ResyncResult
    from cis.bench.search import SearchResult
    from cis.bench.stream import StreamResult
    from cis.bench.sync import SyncResult
    from cis.bench.update import UpdateResult
    from cis.bench.verifying import VerifyResult
    from cis.bench.write import WriteResult

LOCAL = "the same written locally, full write path"
SQLITE_ROWS = "SQLite alone, rows of as many bytes"
QH3 = "bare qh3, as many bytes"
COMMIT = "a commit of as many pages by SQLite alone"
ROUND_TRIP = "a round trip over bare qh3"
ED25519 = "Ed25519 by libsodium alone"
BLAKE2B = "as many hashes by BLAKE2b alone"
READ = "reading the bytes of all vectors once"
PYTHON = "an interpreter with nothing to do"


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is held to: at least, or at most, so much; of our figure, or of the ratio."""

    text: str
    least: float | None = None
    most: float | None = None
    of_ratio: bool = False

    def met_by(self, ours: float, share: float) -> bool:
        """Tell whether it is met."""
        judged = share if self.of_ratio else ours
        return (self.least is None or judged >= self.least) and (self.most is None or judged <= self.most)


@dataclass(frozen=True, slots=True)
class LimitRow:
    """An operation beside its bound: ``ratio`` is ours to the bound; ``is_rate`` tells that more of it is better."""

    operation: str
    ours: float
    unit: str
    bound: str
    limit: float
    ratio: float
    is_rate: bool
    target: str = ""
    met: bool | None = None

    @property
    def reached(self) -> float:
        """The part of the bound that is reached: 1 where we are as fast."""
        return self.ratio if self.is_rate else ratio(1.0, self.ratio)


def rate(operation: str, ours: float, unit: str, bound: str, limit: float, target: Target | None = None) -> LimitRow:
    """Return the row of a rate."""
    return _row(operation, ours, unit, bound, limit, target, is_rate=True)


def cost(operation: str, ours: float, unit: str, bound: str, limit: float, target: Target | None = None) -> LimitRow:
    """Return the row of a time, or of whatever else there should be little of."""
    return _row(operation, ours, unit, bound, limit, target, is_rate=False)


def _row(
    operation: str, ours: float, unit: str, bound: str, limit: float, target: Target | None, *, is_rate: bool
) -> LimitRow:
    share = ratio(ours, limit)
    text, met = (target.text, target.met_by(ours, share)) if target is not None else ("", None)
    return LimitRow(operation, ours, unit, bound, limit, share, is_rate, text, met)


def of_sync(plain: SyncResult, single: SyncResult, vectors: SyncResult, insert_per_s: float) -> list[LimitRow]:
    """Return the rows of three pulls by an empty node; ``insert_per_s`` is of rows as large as those of the first."""
    unit, ours, local = "memories/s", plain.memories_per_s, plain.local_memories_per_s
    return [
        rate("bulk sync", ours, unit, LOCAL, local, Target("≥ 0.7", least=0.7, of_ratio=True)),
        rate("bulk sync", ours, unit, SQLITE_ROWS, insert_per_s, Target("≥ 60,000 memories/s", least=60_000)),
        rate("bulk sync", plain.mb_per_s, "MB/s", QH3, plain.bare_mb_per_s),
        rate("bulk write, local", local, unit, SQLITE_ROWS, insert_per_s),
        rate("filling the index", plain.indexed_per_s, unit, SQLITE_ROWS, insert_per_s),
        rate(
            "bulk sync, changesets of one change", single.memories_per_s, unit, LOCAL, single.local_memories_per_s,
            Target("≥ 50,000 memories/s", least=50_000),
        ),
        rate(
            f"bulk sync, {vectors.vector_dim}-d vectors", vectors.memories_per_s, unit, LOCAL,
            vectors.local_memories_per_s, Target("≥ 25,000 memories/s", least=25_000),
        ),
    ]  # fmt: skip


def of_write(result: WriteResult, sync_p50_ms: float) -> list[LimitRow]:
    """Return the rows of a durable write."""
    target = Target("p50 ≤ 2 ms", most=2.0)
    return [
        cost("durable write, one at a time", result.p50_ms, "ms", COMMIT, result.bare_p50_ms, target),
        cost("durable write, one at a time", result.p50_ms, "ms", "fdatasync of as many pages", sync_p50_ms),
    ]


def of_stream(result: StreamResult) -> list[LimitRow]:
    """Return the row of a stream."""
    target = Target("≥ 0.9", least=0.9, of_ratio=True)
    return [rate("stream", result.mb_per_s, "MB/s", QH3, result.bare_mb_per_s, target)]


def of_connect(result: ConnectResult) -> list[LimitRow]:
    """Return the row of a connection."""
    target = Target("≤ 2", most=2.0, of_ratio=True)
    return [cost("connect, authenticated", result.p50_ms, "ms", "a handshake of bare qh3", result.bare_p50_ms, target)]


def of_verify(result: VerifyResult) -> list[LimitRow]:
    """Return the rows of verifying."""
    unit = "changesets/s"
    return [
        rate("verify, each signed", result.live_per_s, unit, ED25519, result.bare_per_s),
        rate("verify, runs under one signature", result.run_per_s, unit, BLAKE2B, result.hashed_per_s),
    ]


def of_search(result: SearchResult) -> list[LimitRow]:
    """Return the rows of a search."""
    target = Target("p50 ≤ 20 ms", most=20.0)
    return [
        cost("compare with all vectors", result.scan_p50_ms, "ms", READ, result.bare_p50_ms),
        cost("search by words and meaning", result.p50_ms, "ms", READ, result.bare_p50_ms, target),
    ]


def of_update(result: UpdateResult, round_trips_ms: tuple[float, float], commit_p50_ms: float) -> list[LimitRow]:
    """Return the rows of a live update; of the round trips p50 and p99."""
    p50_ms, p99_ms = round_trips_ms
    least_ms = p50_ms / 2 + commit_p50_ms
    return [
        cost("live update", result.p50_ms, "ms", ROUND_TRIP, p50_ms, Target("p50 ≤ 3 ms", most=3.0)),
        cost("live update", result.p50_ms, "ms", "half of one, and a commit by SQLite alone", least_ms),
        cost("live update, p99", result.p99_ms, "ms", ROUND_TRIP + ", p99", p99_ms, Target("p99 ≤ 20 ms", most=20.0)),
    ]


def of_resync(result: ResyncResult, round_trip_p50_ms: float) -> list[LimitRow]:
    """Return the rows of a session with nothing to do."""
    trips = Target("≤ 1", most=1)
    least = "two digests of 32 bytes"
    return [
        cost("resync, nothing changed", result.p50_ms, "ms", ROUND_TRIP, round_trip_p50_ms),
        cost("resync, nothing changed", result.round_trips, "round trips", "one question", 1, trips),
        cost("resync, nothing changed", result.bytes, "bytes", least, 64, Target("≤ 1 KiB", most=1024)),
    ]


def of_gossip(row: SizeRow) -> list[LimitRow]:
    """Return the rows of a broadcast among so many."""
    among = f"broadcast, {row.nodes:,} nodes"
    copies = cost(among, 1 + row.rmr, "bodies a node", "one each", 1, Target("< 1.3, 0 missed", most=1.3))
    return [
        replace(copies, met=copies.met and row.missed == 0),
        cost(
            among, row.ldh, "hops, most", "a tree of as many neighbours", tree_hops(row.nodes), Target("< 12", most=11)
        ),
    ]


def of_idle(result: IdleResult, start_s: float, rss_mb: float) -> list[LimitRow]:
    """Return the rows of a node at rest; ``start_s`` and ``rss_mb`` are those of the interpreter alone."""
    return [
        cost("start to ready", result.start_s, "s", PYTHON, start_s, Target("< 1 s", most=1.0)),
        cost("a command beside a node", result.command_s, "s", PYTHON, start_s, Target("< 0.3 s", most=0.3)),
        cost("memory of a node at rest", result.rss_mb, "MB", PYTHON, rss_mb, Target("< 90 MB", most=90.0)),
    ]


def tree_hops(nodes: int, neighbours: int = 5) -> int:
    """Return the hops to the last node where each passes on to all its neighbours and nobody hears anything twice."""
    reached, ring, hops = 1, neighbours, 0
    while reached < nodes:
        reached, ring, hops = reached + ring, ring * (neighbours - 1), hops + 1
    return max(1, hops)


def failed(rows: Sequence[LimitRow]) -> list[LimitRow]:
    """Return the rows whose target is not met."""
    return [row for row in rows if row.met is False]
