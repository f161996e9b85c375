"""Percentiles, ratios, rounding, and the stopwatch's exclusive times."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cis.bench.figures import figures_of, median, percentile, ratio
from cis.bench.stopwatch import Stopwatch, watch_node
from cis.errors import UsageError


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_figures_of_nothing_are_zero() -> None:
    assert (median([]), percentile([], 99), ratio(1.0, 0.0)) == (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Result:
    memories: int
    rate: float
    shares: dict[str, float]
    in_step: bool


def test_results_become_json_with_four_significant_digits() -> None:
    result = _Result(123_456, 98_765.4321, {"net": 0.000123456, "none": 0.0}, in_step=True)
    assert figures_of(result) == {
        "memories": 123_456,
        "rate": 98_770.0,
        "shares": {"net": 0.0001235, "none": 0.0},
        "in_step": True,
    }


class _Work:
    def outer(self) -> int:
        return self.inner() + self.inner()

    def inner(self) -> int:
        return sum(range(20_000))


def test_time_in_an_inner_stage_does_not_count_for_the_outer_one() -> None:
    class Work(_Work):
        pass

    stopwatch = Stopwatch()
    stopwatch.watch(Work, "outer", "outer")
    stopwatch.watch(Work, "inner", "inner")
    Work().outer()
    taken = stopwatch.take()
    assert (taken["outer"]["calls"], taken["inner"]["calls"]) == (1, 2)
    assert taken["outer"]["cpu_s"] < taken["inner"]["cpu_s"]
    assert stopwatch.take() == {}


def test_a_stage_that_raises_is_counted_all_the_same() -> None:
    class Work:
        def fail(self) -> None:
            raise UsageError("no")

    stopwatch = Stopwatch()
    stopwatch.watch(Work, "fail", "fail")
    with pytest.raises(UsageError):
        Work().fail()
    assert stopwatch.take()["fail"]["calls"] == 1


def test_every_stage_of_the_node_still_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[object, str]] = []
    monkeypatch.setattr(Stopwatch, "watch", lambda _, owner, name, stage: watched.append((owner, name)))
    watch_node()
    assert len(watched) == 9
    assert all(callable(getattr(owner, name)) for owner, name in watched)
