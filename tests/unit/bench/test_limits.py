"""`cis bench limits`, small: bounds are measured for real, ratios are of both figures, and all rows come of one run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from typer.testing import CliRunner

from cis.apps.cli import bench
from cis.apps.cli.main import app
from cis.bench import bare_disk, interpreter, limit_rows, limits
from cis.bench.bare_pair import Yardstick
from cis.bench.connect import ConnectResult
from cis.bench.figures import BenchFailed, figures_of
from cis.bench.gossip import GossipBench, SizeRow
from cis.bench.idle import IdleResult
from cis.bench.limit_rows import LimitRow, Target, cost, rate, tree_hops
from cis.bench.limits import OPERATIONS, LimitSizes, LimitsResult, bench_limits, write_limits
from cis.bench.limits_page import HEAD, page_of, rows_of
from cis.bench.resync import ResyncResult
from cis.bench.search import SearchResult
from cis.bench.stream import StreamResult
from cis.bench.update import UpdateResult
from cis.bench.verifying import VerifyResult, bench_verify
from cis.errors import UsageError
from tests.unit.bench.made import SYNC, WRITE

SMALL = LimitSizes(memories=300, one_by_one=10, changesets=30, megabytes=1, connections=2, queries=2, updates=10)
SEARCH = SearchResult(300, 384, 2, 12.0, 20.0, 5.0, 9.0, 6.0, 9.0, 7.0, 9.0, 90.0, 4.0, 2.0, 2.0, 0, {})
BROADCAST = SizeRow(1000, 1.0, 0, 8, 7.0, 0.01, 0.4, 3.0, 1.0, 420.0, passed=True)


def test_plain_sqlite_inserts_every_row_in_more_than_one_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare_disk, "ROWS_AT_ONCE", 64)
    assert bare_disk.insert_s(tmp_path, rows=150, row_bytes=40) > 0
    connection = apsw.Connection(str(tmp_path / "insert.db"))
    rows = connection.execute("SELECT count(*), min(length(value)), max(length(value)) FROM line").fetchall()
    connection.close()
    assert rows == [(150, 40, 40)]


def test_a_bare_commit_writes_as_many_pages_as_were_asked_for(tmp_path: Path) -> None:
    assert len(bare_disk.commit_ms(tmp_path, pages=7, commits=5)) == 5
    assert len(bare_disk.sync_ms(tmp_path, pages=7, times=5)) == 5
    assert (tmp_path / "appended").stat().st_size == 5 * 7 * (8192 + 24)


def test_a_bare_commit_of_other_pages_is_no_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare_disk, "_ROW_BYTES", 100)  # eighty to a page
    with pytest.raises(BenchFailed, match="pages were committed where 35"):
        bare_disk.commit_ms(tmp_path, pages=7, commits=5)


def test_bare_round_trips_bring_every_byte_there_and_are_counted_one_by_one() -> None:
    with Yardstick("bare") as bare:
        taken_ms = bare.round_trips(150, 3000)  # more streams than are open at once
    assert len(taken_ms) == 150
    assert min(taken_ms) > 0


def test_an_interpreter_with_nothing_to_do_takes_less_than_a_node() -> None:
    assert 0 < interpreter.start_s() < 10
    assert 3 < interpreter.rss_mb() < 60


def test_verifying_is_measured_over_real_changesets_beside_bare_signatures_and_hashes() -> None:
    result = bench_verify(60)
    assert result.changesets == 60
    assert min(result.live_per_s, result.run_per_s, result.bare_per_s, result.hashed_per_s) > 0
    assert result.ratio_bare_live == pytest.approx(result.live_per_s / result.bare_per_s)
    assert result.ratio_hashed_run == pytest.approx(result.run_per_s / result.hashed_per_s)


@pytest.mark.parametrize(
    ("target", "ours", "limit", "met"),
    [
        (Target("", least=60_000), 60_001.0, 1.0, True),
        (Target("", least=60_000), 59_999.0, 1.0, False),
        (Target("", most=2.0), 1.9, 0.1, True),
        (Target("", most=2.0), 2.1, 9.0, False),
        (Target("", least=0.9, of_ratio=True), 95.0, 100.0, True),
        (Target("", least=0.9, of_ratio=True), 85.0, 100.0, False),
        (Target("", most=2.0, of_ratio=True), 3.0, 1.6, True),
        (Target("", most=2.0, of_ratio=True), 3.0, 1.4, False),
    ],
)
def test_a_target_is_held_to_ours_or_to_the_ratio(target: Target, ours: float, limit: float, *, met: bool) -> None:
    row = rate("", ours, "", "", limit, target)
    assert (row.met, row.ratio) == (met, pytest.approx(ours / limit))


def test_the_part_of_the_bound_that_is_reached_is_the_ratio_of_rates_and_its_inverse_of_costs() -> None:
    assert rate("", 50.0, "", "", 100.0).reached == 0.5
    assert cost("", 50.0, "", "", 100.0).reached == 2.0
    assert rate("", 50.0, "", "", 100.0).met is None


def test_a_broadcast_that_missed_somebody_misses_its_target() -> None:
    assert [row.met for row in limit_rows.of_gossip(BROADCAST)] == [True, True]
    assert [row.met for row in limit_rows.of_gossip(replace(BROADCAST, missed=1))] == [False, True]
    assert [row.met for row in limit_rows.of_gossip(replace(BROADCAST, ldh=12))] == [True, False]


@pytest.mark.parametrize(("nodes", "hops"), [(1, 1), (2, 1), (6, 1), (7, 2), (26, 2), (27, 3), (1000, 5)])
def test_a_tree_reaches_five_then_four_times_as_many_a_hop(nodes: int, hops: int) -> None:
    assert tree_hops(nodes) == hops


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every benchmark that `limits` asks, answered at once; returns the names of those that were asked."""
    asked: list[str] = []

    def answer(name: str, result: object) -> None:
        def bench(*_: object, **__: object) -> object:
            asked.append(name)
            return result

        monkeypatch.setattr(limits, name, bench)

    answer("bench_sync", SYNC)
    answer("bench_write", WRITE)
    answer("bench_stream", StreamResult(1.0, 7, 95.0, 100.0, 0.95))
    answer("bench_connect", ConnectResult(2, 3.0, 4.0, 2.0, 1.5))
    answer("bench_verify", VerifyResult(30, 4000.0, 90_000.0, 8000.0, 300_000.0, 0.5, 0.3))
    answer("bench_search", SEARCH)
    answer("bench_update", UpdateResult(10, 20.0, 2.4, 9.0, 10.0))
    answer("bench_resync", ResyncResult(1000, 3, 400, 1, 3.0))
    answer("bench_gossip", GossipBench(7, 1000, 2.0, (BROADCAST,), ()))
    answer("bench_idle", IdleResult(1.0, 86.0, 0.1, 40.0, 0.85, 0.8, 0.17))
    return asked


@pytest.fixture
def result(made: list[str], monkeypatch: pytest.MonkeyPatch) -> LimitsResult:
    monkeypatch.setattr(limits._Run, "_round_trips", (0.3, 0.9))
    return bench_limits(SMALL)


def test_every_operation_has_rows_and_what_two_need_is_measured_once(made: list[str]) -> None:
    result = bench_limits(SMALL)
    assert len(result.rows) == 26
    assert made.count("bench_write") == 1  # for writes, and for the commit a live update waits for
    assert made.count("bench_sync") == 3
    assert set(made) == {f"bench_{name}" for name in OPERATIONS}
    assert all(row.limit > 0 and row.ratio == pytest.approx(row.ours / row.limit) for row in result.rows)
    rows = {(row.operation, row.bound): row for row in result.rows}
    assert rows["bulk sync", limit_rows.LOCAL].ratio == pytest.approx(0.9)
    assert rows["durable write, one at a time", limit_rows.COMMIT].ratio == pytest.approx(2.0)
    assert rows["connect, authenticated", "a handshake of bare qh3"].met
    assert all(row.met for row in result.rows if row.target)


def test_a_sync_after_which_the_nodes_differ_has_no_rows(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "bench_sync", lambda *_, **__: replace(SYNC, in_step=False))
    with pytest.raises(BenchFailed, match="different states"):
        bench_limits(SMALL, ["sync"])


def test_only_what_is_named_is_measured_and_another_name_is_refused_before_anything_begins(made: list[str]) -> None:
    assert {row.operation for row in bench_limits(SMALL, ["stream", "connect"]).rows} == {
        "stream", "connect, authenticated",
    }  # fmt: skip
    assert made == ["bench_stream", "bench_connect"]
    with pytest.raises(UsageError, match="no operation dance: there are sync, write"):
        bench_limits(SMALL, ["stream", "dance"])
    assert len(made) == 2


def test_the_page_and_its_plot_are_written_and_the_same_figures_write_the_same(
    result: LimitsResult, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = [write_limits(result, "cis bench limits", tmp_path / name) for name in ("one", "two")]
    assert [path.name for path in files[0]] == ["limits.png", "limits.md"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
    page = files[0][1].read_text()
    assert "    cis bench limits\n" in page
    assert f"| stream | 95 MB/s | {limit_rows.QH3} | 100 MB/s | 0.95 | ≥ 0.9 | yes |" in page


def test_what_misses_its_target_is_told(result: LimitsResult) -> None:
    row = limit_rows.of_stream(StreamResult(1.0, 7, 50.0, 100.0, 0.5))[0]
    missing = replace(result, rows=(row,))
    assert rows_of(missing)[0][-2:] == ("≥ 0.9", "no")
    assert len(rows_of(missing)[0]) == len(HEAD)
    assert "| no |" in page_of(missing, "cis bench limits")


def test_the_command_hands_on_its_sizes_and_prints_json_or_a_table(
    result: LimitsResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Any] = []

    def bench(*given: object) -> LimitsResult:
        handed.append(given)
        return result

    monkeypatch.setattr(limits, "bench_limits", bench)
    words = ["bench", "limits", "--memories", "300", "--updates", "10", "--only", "stream, connect", "--json"]
    printed = json.loads(CliRunner().invoke(app, words).stdout)
    assert (handed[0][0].memories, handed[0][0].updates, handed[0][1]) == (300, 10, ["stream", "connect"])
    assert printed == json.loads(json.dumps(figures_of(result)))
    assert {"operation", "ours", "unit", "bound", "limit", "ratio", "target", "met"} <= printed["rows"][0].keys()
    said = CliRunner().invoke(app, ["bench", "limits"]).stdout
    assert "connect, authenticated" in said
    assert "yes" in said


def test_rows_are_told_apart_by_whether_more_is_better(result: LimitsResult) -> None:
    units = {row.unit for row in result.rows if row.is_rate}
    assert units == {"memories/s", "MB/s", "changesets/s"}
    assert isinstance(result.rows[0], LimitRow)


def test_a_page_names_the_command_that_made_it_whatever_it_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cis", "bench", "limits", "--json", "--figures", "my figures"])
    assert bench._typed() == "cis bench limits --figures 'my figures'"
