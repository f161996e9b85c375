"""Percentiles by the nearest rank: each is a figure that was measured."""

from __future__ import annotations

import pytest

from cis.api.telemetry.latency import percentiles


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ([], (None, None, None)),
        ([7.0], (7.0, 7.0, 7.0)),
        ([1.0, 2.0], (1.0, 2.0, 2.0)),
        ([float(number) for number in range(1, 101)], (50.0, 90.0, 99.0)),
    ],
)
def test_percentiles_are_those_of_the_nearest_rank(figures: list[float], told: tuple[float | None, ...]) -> None:
    assert tuple(percentiles(figures).values()) == told
