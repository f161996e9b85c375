"""How fast what peers send is verified, beside Ed25519 alone.

The store's own frames are verified, as they go to a peer: changesets of one change, each under a signature of its own,
as live ones come; then the same changesets in runs under one signature, as a session brings them. Beside the first,
libsodium checks the same signatures; beside the second, BLAKE2b makes as many hashes of as many bytes: of each body, of
each leaf, of each link of the chain.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from nacl.bindings import crypto_sign_open

from cis.bench.figures import BenchFailed, median, ratio, say
from cis.bench.workload import Workload
from cis.bench.writing import changesets_of_one, write_all
from cis.model import ReplicaId, node_of
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.log import LogReader
from cis.trust.signing import CHANGESET_LABEL, verify
from cis.wire.segment import HASH_LENGTH, Segment

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Changesets a second, medians of `ROUNDS`, all four taken in turn."""

    changesets: int
    live_per_s: float
    run_per_s: float
    bare_per_s: float
    """signatures by libsodium alone"""
    hashed_per_s: float
    """the hashes of each by BLAKE2b alone"""
    ratio_bare_live: float
    ratio_hashed_run: float


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
    hashed = [message for one in singles for message in _hashed(one)]
    ways: tuple[Callable[[], object], ...] = (
        lambda: [verify(one) for one in singles],
        lambda: [verify(one) for one in runs],
        lambda: [crypto_sign_open(one, author) for one in signed],
        lambda: [blake2b(one, digest_size=HASH_LENGTH).digest() for one in hashed],
    )
    rates = [[changesets / _took_s(way) for way in ways] for _ in range(ROUNDS)]
    live, run, bare, hashes = (median(column) for column in zip(*rates, strict=True))
    return VerifyResult(changesets, live, run, bare, hashes, ratio(live, bare), ratio(run, hashes))


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


def _hashed(segment: Segment) -> tuple[bytes, bytes, bytes]:
    """Return as many bytes as are hashed of a changeset of one change: its body, its leaf, its link."""
    digest = bytes(HASH_LENGTH)
    place = segment.space + segment.replica
    return segment.bodies, segment.records + digest, segment.previous + place + segment.headers + digest


def _took_s(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
