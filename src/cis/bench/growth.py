"""``cis bench growth``: how cost grows with the number of memories and members, the size of values, and with writers.

A curve is measured at sizes that multiply. Between two neighbouring sizes the growth exponent is log(cost ratio) /
log(size ratio): 0 where the cost stays, 1 where it grows with the size, 2 where it grows with its square. A curve says
for each cost how it should grow; where one grows faster by more than `SLACK`, that is told.
"""

from __future__ import annotations

import enum
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cis.bench.figures import require_figures, say, waiting
from cis.errors import UsageError

SLACK = 0.2
"""What an exponent may exceed the expected one by: over ten times the size 58 % of cost, which noise may add."""


class Shape(enum.Enum):
    """How a cost may grow with the size n."""

    FLAT = "not at all"
    LOGARITHMIC = "with log n"
    LINEAR = "with n"

    def exponent(self, one: float, other: float) -> float:
        """Return the exponent of this shape between two sizes, the first at least 1 and less than the second."""
        if self is Shape.LOGARITHMIC:
            return math.log(math.log2(other + 1) / math.log2(one + 1)) / math.log(other / one)
        return 0.0 if self is Shape.FLAT else 1.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A cost that a curve measures under this name; no shape: shown, not judged; below the size ``since`` neither."""

    name: str
    title: str
    shape: Shape | None = None
    since: int = 0


@dataclass(frozen=True)
class Curve:
    """What is measured at each size of one kind, by ``measure``; sizes lie between ``least`` and ``most``."""

    name: str
    axis: str
    sizes: tuple[int, ...]
    least: int
    most: int
    measures: tuple[Measure, ...]
    measure: Callable[[int], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one size."""

    size: int
    costs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Grown:
    """How one cost grew: an exponent for each two neighbouring sizes, None where a cost is 0."""

    name: str
    title: str
    expected: str
    exponents: tuple[float | None, ...]
    allowed: tuple[float | None, ...]
    """the most each may be, None where it is not judged"""
    too_fast: tuple[str, ...]
    """where it grew faster than it should, in words"""


@dataclass(frozen=True, slots=True)
class CurveResult:
    """The points of a curve, and how each judged cost grew over them."""

    curve: str
    axis: str
    points: tuple[Point, ...]
    grown: tuple[Grown, ...]


@dataclass(frozen=True, slots=True)
class GrowthResult:
    """All curves, and what they were measured on."""

    processors: int
    load: float
    """processes that waited for them before it began, on average over a minute"""
    elapsed_s: float
    curves: tuple[CurveResult, ...]


def exponents(points: Sequence[Point], name: str) -> tuple[float | None, ...]:
    """Return the growth exponent of a cost between each two neighbouring points."""
    return tuple(
        math.log(other.costs[name] / one.costs[name]) / math.log(other.size / one.size)
        if one.costs[name] > 0 and other.costs[name] > 0
        else None
        for one, other in itertools.pairwise(points)
    )


def judged(points: Sequence[Point], measure: Measure) -> Grown:
    """Return how a cost grew, and where it should not have."""
    assert measure.shape is not None
    found = exponents(points, measure.name)
    pairs = list(itertools.pairwise(point.size for point in points))
    allowed = tuple(measure.shape.exponent(*pair) + SLACK if pair[0] >= measure.since else None for pair in pairs)
    too_fast = tuple(
        f"{measure.title} grew by the exponent {exponent:.2f} from {one:,} to {other:,}, where {most:.2f} is allowed"
        for (one, other), exponent, most in zip(pairs, found, allowed, strict=True)
        if exponent is not None and most is not None and exponent > most
    )
    return Grown(measure.name, measure.title, measure.shape.value, found, allowed, too_fast)


def run_curve(curve: Curve, sizes: Sequence[int] = ()) -> CurveResult:
    """Measure a curve at these sizes, its own where there are none; `UsageError` for sizes it cannot have."""
    wanted = sorted(set(sizes or curve.sizes))
    for size in wanted:
        if not curve.least <= size <= curve.most:
            raise UsageError(f"{size:,} {curve.axis}: that curve goes from {curve.least:,} to {curve.most:,}")
    points = []
    for size in wanted:
        say(f"-- {curve.name}: {size:,}")
        points.append(Point(size, dict(curve.measure(size))))
    grown = tuple(judged(points, measure) for measure in curve.measures if measure.shape is not None)
    return CurveResult(curve.name, curve.axis, tuple(points), grown)


def bench_growth(names: Sequence[str] = (), sizes: Sequence[int] = ()) -> GrowthResult:
    """Measure these curves, all where none is named; ``sizes`` are those of the one that is."""
    from cis.bench.growth_curves import CURVES

    unknown = [name for name in names if name not in CURVES]
    if unknown:
        raise UsageError(f"no curve {unknown[0]}: there are {', '.join(CURVES)}")
    if sizes and len(names) != 1:
        raise UsageError("sizes are those of one curve: name it with --curve")
    load, began = waiting(), time.monotonic()
    results = tuple(run_curve(curve, sizes) for name, curve in CURVES.items() if not names or name in names)
    return GrowthResult(os.cpu_count() or 1, load, time.monotonic() - began, results)


def write_growth(result: GrowthResult, command: str, folder: Path) -> list[Path]:
    """Write the page and its plot into a folder and return the files; `UsageError` as `require_figures`."""
    require_figures()
    from cis.bench.growth_page import page_of
    from cis.bench.growth_plots import plot_growth

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "growth.png", folder / "growth.md"]
    plot_growth(result, written[0])
    written[1].write_text(page_of(result, command), encoding="utf-8")
    return written
