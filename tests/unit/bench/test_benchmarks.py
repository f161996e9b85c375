"""Each benchmark, small: the counts are right and the names of its figures are those we promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cis.bench import search_quality
from cis.bench.connect import bench_connect
from cis.bench.figures import figures_of
from cis.bench.idle import bench_idle
from cis.bench.resync import bench_resync
from cis.bench.search import bench_search
from cis.bench.stream import bench_stream
from cis.bench.sync import SyncResult, bench_sync
from cis.bench.update import bench_update
from cis.bench.workload import Workload
from cis.bench.write import bench_write
from cis.errors import UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode


def _check(result: SyncResult, memories: int) -> None:
    assert result.in_step
    assert len(set(result.state_hash.values())) == 1
    assert result.memories == memories
    assert min(result.memories_per_s, result.ratio_local_bulk, result.ratio_bare_quic) > 0
    assert 0 < result.indexed_per_s < result.local_memories_per_s  # nothing is indexed before it is written
    assert result.shares.keys() == {*("read", "encode", "seal", "net", "decode", "verify", "merge", "index", "fold")}
    assert min(result.shares[stage] for stage in ("read", "encode", "seal", "net", "verify", "merge")) > 0
    assert sum(result.cpu_shares.values()) == pytest.approx(1.0)
    assert min(result.peak_rss_mb.values()) > 10


def test_sync_brings_all_memories_vectors_included() -> None:
    _check(bench_sync(Workload(300, vector_dim=16)), 300)


def test_sync_of_changesets_of_one_change_onto_what_is_there_keeps_both_homes(tmp_path: Path) -> None:
    result = bench_sync(Workload(120, onto=100), single=True, runs=2, keep=tmp_path / "kept")
    _check(result, 120)
    for side, state in result.state_hash.items():
        with LocalNode.open(Home(tmp_path / "kept" / side)) as node, node.store.snapshot() as reader:
            assert reader.state_hash(node.cluster.public).hex() == state
            rows = reader.connection.execute("SELECT count(*) FROM changeset").get
            assert rows == 121  # one for the hundred that were there, one for each of the others


def test_sync_does_not_write_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        bench_sync(Workload(10), keep=tmp_path)


def test_write_measures_one_at_a_time_and_in_bulk() -> None:
    figures = figures_of(bench_write(Workload(200), one_by_one=20))
    assert figures.keys() == {
        "memories", "one_by_one", "p50_ms", "p99_ms", "bulk_memories_per_s", "embedder", "pages", "bare_p50_ms",
        "ratio_bare_commit",
    }  # fmt: skip
    assert (figures["one_by_one"], figures["memories"]) == (20, 200)
    assert figures["p50_ms"] <= figures["p99_ms"]
    assert 3 <= figures["pages"] < 100  # at least its changeset, its header and its body
    assert figures["ratio_bare_commit"] == pytest.approx(figures["p50_ms"] / figures["bare_p50_ms"], rel=0.01)


def test_search_measures_both_halves_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = search_quality.Quality(
        memories=9, queries=3, recall_at_5={"words": 0.5, "meaning": 0.6, "hybrid": 0.7}, by_kind={}
    )
    monkeypatch.setattr(search_quality, "measure_quality", lambda: labelled)
    figures = figures_of(bench_search(1000, queries=5))
    assert (figures["memories"], figures["queries"], figures["labelled_queries"]) == (1000, 5, 3)
    assert figures["recall_at_5"]["hybrid"] == 0.7
    for half in ("", "words_", "meaning_", "filtered_"):
        assert 0 < figures[f"{half}p50_ms"] <= figures[f"{half}p99_ms"], half
    assert figures["ratio_bare_read"] == pytest.approx(figures["scan_p50_ms"] / figures["bare_p50_ms"], rel=0.01)


def test_search_asks_no_labelled_queries_where_quality_is_not_wanted() -> None:
    result = bench_search(300, queries=2, quality=False)
    assert (result.labelled_queries, result.recall_at_5) == (0, {})


def test_update_sees_every_update_arrive_after_it_was_sent() -> None:
    result = bench_update(40, pause_s=0.005)
    assert result.updates == 40
    assert 0 < result.p50_ms <= result.p99_ms <= result.max_ms


def test_connect_takes_both_kinds_in_turn() -> None:
    figures = figures_of(bench_connect(5))
    assert figures["connections"] == 5
    assert figures["ratio_bare_quic"] == pytest.approx(figures["p50_ms"] / figures["bare_p50_ms"], rel=0.01)


def test_stream_moves_the_same_bytes_over_both() -> None:
    figures = figures_of(bench_stream(1_000_000, rounds=2))
    assert figures.keys() == {"mb", "rounds", "mb_per_s", "bare_mb_per_s", "ratio_bare_quic"}
    assert min(figures.values()) > 0


def test_idle_watches_a_real_daemon_with_a_neighbour() -> None:
    figures = figures_of(bench_idle(0.3, lull_s=0.1))
    assert figures.keys() == {
        "seconds", "rss_mb", "cpu_percent", "bytes_per_s", "start_s", "start_cpu_s", "command_s",
    }  # fmt: skip
    assert figures["rss_mb"] > 10


def test_resync_of_nodes_in_step_takes_one_round_trip() -> None:
    result = bench_resync(memories=50, sessions=3)
    assert (result.memories, result.sessions, result.round_trips) == (50, 3, 1)
    assert 0 < result.bytes <= 1024


def _cis(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "cis", "bench", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_prints_json_or_a_table() -> None:
    assert json.loads(_cis("stream", "--megabytes", "1", "--rounds", "1", "--json"))["rounds"] == 1
    assert "memories_per_s" in _cis("sync", "--memories", "50")
