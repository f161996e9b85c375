"""`cis bench growth`, small: exponents, what is too fast, and that each curve measures what it names."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cis.apps.cli.main import app
from cis.bench import growth, growth_curves, growth_memories, growth_replicas, growth_values
from cis.bench.figures import BenchFailed, figures_of
from cis.bench.growth import Curve, GrowthResult, Measure, Point, Shape, bench_growth, exponents, judged, run_curve
from cis.bench.growth_curves import CURVES, OVERLAY
from cis.bench.growth_page import head_of, notes_of, page_of, rows_of
from cis.bench.growth_plots import plot_growth
from cis.bench.sync import SyncResult
from cis.bench.workload import Workload
from cis.errors import UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from tests.unit.bench.made import SYNC, WRITE

SIZES = (10, 100, 1000)


def _points(costs: Sequence[float], sizes: Sequence[int] = SIZES) -> list[Point]:
    return [Point(size, {"cost": cost}) for size, cost in zip(sizes, costs, strict=True)]


@pytest.mark.parametrize(
    ("costs", "expected"),
    [((7, 7, 7), (0, 0)), ((5, 50, 500), (1, 1)), ((1, 100, 10_000), (2, 2)), ((10, 5, 10), (-0.301, 0.301))],
)
def test_an_exponent_is_that_of_the_power_between_two_sizes(costs: Sequence[float], expected: Sequence[float]) -> None:
    assert exponents(_points(costs), "cost") == pytest.approx(expected, abs=0.001)


def test_where_a_cost_is_nothing_there_is_no_exponent() -> None:
    assert exponents(_points((0, 5, 50)), "cost") == (None, pytest.approx(1))


def test_a_shape_has_the_exponent_of_its_growth() -> None:
    assert (Shape.FLAT.exponent(10, 1000), Shape.LINEAR.exponent(10, 1000)) == (0, 1)
    doubled = Shape.LOGARITHMIC.exponent(99, 9999)
    assert 99**doubled * (9999 / 99) ** doubled == pytest.approx(9999**doubled)
    assert (9999 / 99) ** doubled == pytest.approx(2, rel=0.01)  # log 10,000 is twice log 100


@pytest.mark.parametrize(
    ("shape", "costs", "steps"),
    [
        (Shape.LINEAR, (1, 10, 100), []),
        (Shape.LINEAR, (1, 10, 1000), ["from 100 to 1,000"]),
        (Shape.LINEAR, (1, 100, 10_000), ["from 10 to 100", "from 100 to 1,000"]),
        (Shape.LINEAR, (9, 5, 1), []),
        (Shape.FLAT, (1, 1.5, 2.2), []),
        (Shape.FLAT, (1, 10, 11), ["from 10 to 100"]),
        (Shape.LOGARITHMIC, (1, 2, 3), []),
        (Shape.LOGARITHMIC, (1, 10, 11), ["from 10 to 100"]),
    ],
)
def test_what_grows_faster_than_its_shape_is_told_with_where(
    shape: Shape, costs: Sequence[float], steps: list[str]
) -> None:
    found = judged(_points(costs), Measure("cost", "the cost", shape))
    assert len(found.too_fast) == len(steps)
    assert all(step in note and "the cost grew" in note for step, note in zip(steps, found.too_fast, strict=True))
    assert found.expected == shape.value


def test_below_the_size_it_is_judged_from_nothing_is_too_fast() -> None:
    found = judged(_points((1, 10, 100)), Measure("cost", "the cost", Shape.FLAT, since=100))
    assert found.allowed[0] is None
    assert found.allowed[1] == pytest.approx(growth.SLACK)
    assert len(found.too_fast) == 1


def _curve(costs: Sequence[float] = (1, 10, 1000)) -> Curve:
    by_size = dict(zip(SIZES, costs, strict=True))
    measures = (Measure("cost", "the cost", Shape.LINEAR), Measure("rate", "the rate"))
    return Curve("memories", "things", SIZES, 10, 1000, measures, lambda size: {"cost": by_size[size], "rate": 5.0})


def test_a_curve_is_measured_at_its_sizes_in_order_each_once() -> None:
    assert [point.size for point in run_curve(_curve()).points] == [10, 100, 1000]
    assert [point.size for point in run_curve(_curve(), (100, 10, 100)).points] == [10, 100]
    with pytest.raises(UsageError, match="5 things: that curve goes from 10 to 1,000"):
        run_curve(_curve(), (10, 5))


def test_names_and_sizes_are_checked_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match="no curve moods: there are memories, members"):
        bench_growth(["moods"])
    for names in ([], ["members", "values"]):
        with pytest.raises(UsageError, match="name it with --curve"):
            bench_growth(names, [10])


# --- the curves themselves ---------------------------------------------------------------------------------------


def _measured(name: str, size: int) -> dict[str, float]:
    """What a curve measures at that size, every measure it names and no other."""
    costs = dict(CURVES[name].measure(size))
    assert costs.keys() == {measure.name for measure in CURVES[name].measures}
    assert all(cost > 0 for measure, cost in costs.items() if measure != "missed")
    return costs


def test_members_are_simulated_and_none_is_missed() -> None:
    costs = _measured("members", OVERLAY)
    assert costs["missed"] == 0
    assert 0.9 < costs["messages"] < 100  # a body each but for the author's, and what keeps the overlay


@pytest.mark.timeout(240)
def test_memories_are_pulled_searched_recalled_and_rested_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth_memories, "TIMES", 6)
    monkeypatch.setattr(growth_memories, "LULL_S", 0.1)
    monkeypatch.setattr(growth_memories, "COMMANDS", 1)
    costs = _measured("memories", 500)
    assert costs["sync_per_s"] == pytest.approx(500 / costs["sync_s"])
    assert costs["index_s"] >= costs["write_s"]
    assert costs["disk_bytes_each"] > 200
    assert costs["rss_mb"] > 10


def test_values_are_measured_by_the_memory_in_bytes_of_the_disk_and_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(workload: Workload, *, keep: Path) -> SyncResult:
        (keep / "serving" / "deep").mkdir(parents=True)
        (keep / "serving" / "deep" / "memory.db").write_bytes(bytes(workload.memories * 2 * workload.value_bytes))
        return replace(SYNC, memories=workload.memories, elapsed_s=1.6, mb_per_s=20.0)

    monkeypatch.setattr(growth_values, "bench_sync", sync)
    monkeypatch.setattr(growth_values, "bench_write", lambda *_: WRITE)
    costs = _measured("values", 2000)
    assert (costs["memories"], costs["disk_bytes_each"], costs["put_ms"]) == (16_000, 4000, WRITE.p50_ms)
    assert costs["sync_ms_each"] == pytest.approx(0.1)
    monkeypatch.setattr(growth_values, "bench_sync", lambda *_, **__: replace(SYNC, in_step=False))
    with pytest.raises(BenchFailed, match="different states"):
        growth_values.measure_values(2000)


def test_more_memories_are_measured_of_smaller_values_within_bounds() -> None:
    assert [growth_values.memories_of(size) for size in (1, 3200, 262_144)] == [20_000, 10_000, 122]


def test_every_writer_of_a_key_is_recalled_and_one_who_saw_all_replaces_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth_replicas, "KEYS", 100)
    costs = _measured("replicas", 4)
    assert costs["wire_bytes_each"] > 4 * growth_replicas.VALUE_BYTES
    assert costs["disk_bytes_each"] > 4 * growth_replicas.VALUE_BYTES


def test_a_key_with_fewer_values_than_writers_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth_replicas, "KEYS", 2)
    LocalNode.create(Home(tmp_path / "home"), "one").close()
    growth_replicas.write_rivals(tmp_path / "home", 2)
    with pytest.raises(BenchFailed, match="has 2 values where 3 are expected"):
        growth_replicas._used(tmp_path / "home", 3)


# --- what is printed ---------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> GrowthResult:
    """One curve, whose cost grows too fast at its end."""
    monkeypatch.setitem(growth_curves.CURVES, "memories", _curve())
    return GrowthResult(2, 0.5, 60.0, (run_curve(_curve()),))


def test_a_table_has_a_row_of_figures_and_one_of_exponents_with_a_mark(made: GrowthResult) -> None:
    curve = made.curves[0]
    rows = rows_of(curve)
    assert all(len(row) == len(head_of(curve)) for row in rows)
    assert rows == [
        ("the cost", "with n", "1", "10", "1,000"),
        ("exponent", "", "", "1.00", "2.00 !"),
        ("the rate", "", "5", "5", "5"),
    ]
    assert len(notes_of(curve)) == 1


def test_the_page_and_its_plot_are_written_and_the_same_figures_write_the_same(
    made: GrowthResult, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = [growth.write_growth(made, "cis bench growth", tmp_path / name) for name in ("one", "two")]
    assert [path.name for path in files[0]] == ["growth.png", "growth.md"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
    page = files[0][1].read_text()
    assert "    cis bench growth\n" in page
    assert "- the cost grew by the exponent 2.00 from 100 to 1,000, where 1.20 is allowed" in page
    assert "Nothing grows faster" not in page


def test_a_curve_that_grows_as_it_should_says_so_and_one_cost_may_be_nothing(
    made: GrowthResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    fine = GrowthResult(2, 0.5, 60.0, (run_curve(_curve((0, 10, 100))),) * 3)
    assert "Nothing grows faster than it should." in page_of(fine, "cis bench growth")
    plot_growth(fine, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_command_hands_on_names_and_sizes_and_prints_json_or_tables(
    made: GrowthResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Any] = []

    def bench(*given: object) -> GrowthResult:
        handed.append(given)
        return made

    monkeypatch.setattr(growth, "bench_growth", bench)
    words = ["bench", "growth", "--curve", "memories", "--sizes", "1_000,10", "--json"]
    printed = json.loads(CliRunner().invoke(app, words).stdout)
    assert handed == [(["memories"], [1000, 10])]
    assert printed == json.loads(json.dumps(figures_of(made)))
    assert printed["curves"][0]["grown"][0]["exponents"] == pytest.approx([1, math.log(100) / math.log(10)])
    said = CliRunner().invoke(app, ["bench", "growth"]).stdout
    assert "faster than it should: the cost grew" in said
    wrong = CliRunner().invoke(app, ["bench", "growth", "--curve", "members", "--sizes", "many"])
    assert isinstance(wrong.exception, UsageError)
