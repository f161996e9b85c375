"""How fast what peers send is verified, beside Ed25519 alone.

The store's own frames are verified, as they go to a peer: changesets of one change, each under a signature of its own,
as live ones come; then the same changesets in runs under one signature, as a session brings them. Beside them libsodium
checks one signature for each of the same changesets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nacl.bindings import crypto_sign_open

from cis.bench.figures import BenchFailed, median, ratio, say
from cis.bench.workload import Workload
from cis.bench.writing import changesets_of_one, write_all
from cis.model import ReplicaId, node_of
from cis.node.home import Home
from cis.node.local import LocalNode
from cis.store.log import LogReader
from cis.trust.signing import CHANGESET_LABEL, verify
from cis.wire.segment import Segment

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Changesets a second, medians of `ROUNDS`, all three taken in turn."""

    changesets: int
    live_per_s: float
    run_per_s: float
    bare_per_s: float
    """signatures by libsodium alone"""
    ratio_bare_live: float
    ratio_bare_run: float


def bench_verify(changesets: int = 2000) -> VerifyResult:
    """Measure; `BenchFailed` where a segment does not hold what was written."""
    say(f"verifying {changesets:,} changesets, each by itself and in runs")
    with (
        tempfile.TemporaryDirectory(prefix="cis-bench-") as folder,
        LocalNode.create(Home(Path(folder) / "home"), "author") as local,
    ):
        with changesets_of_one():
            write_all(local.store, list(Workload(changesets).writes(local.cluster.public)), single=True)
        with local.store.snapshot() as reader:
            runs = _segments(LogReader(reader.connection, local.cluster.public), local.store.replica, changesets)
            each = LogReader(reader.connection, local.cluster.public, changesets_per_frame=1)
            singles = _segments(each, local.store.replica, changesets)
    if len(singles) != changesets or len(runs) == len(singles):
        raise BenchFailed(f"{changesets:,} changesets came in {len(singles):,} segments, and in {len(runs):,} runs")
    signed = [one.signature + CHANGESET_LABEL + verify(one).links[-1] for one in singles]
    author = node_of(local.store.replica)
    ways: tuple[Callable[[], object], ...] = (
        lambda: [verify(one) for one in singles],
        lambda: [verify(one) for one in runs],
        lambda: [crypto_sign_open(one, author) for one in signed],
    )
    rates = [[changesets / _took_s(way) for way in ways] for _ in range(ROUNDS)]
    live, run, bare = (median(column) for column in zip(*rates, strict=True))
    return VerifyResult(changesets, live, run, bare, ratio(live, bare), ratio(run, bare))


def _segments(log: LogReader, replica: ReplicaId, changesets: int) -> Sequence[Segment]:
    found: list[Segment] = []
    first = 1
    while first <= changesets:
        segment = log.segment(replica, first, changesets)
        if segment is None:
            raise BenchFailed(f"there is no segment at {first:,} of {changesets:,}")
        found.append(segment)
        first += verify(segment).layout.changes
    return found


def _took_s(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
