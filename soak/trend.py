"""How fast something grows: the median of the slopes between all pairs of points (Theil-Sen).

A few odd points, a peak while something large passes by or a page that is counted once, move it little.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

Point = tuple[float, float]


def slope(points: Sequence[Point]) -> float | None:
    """Return by how much the second grows for 1 of the first; None where fewer than two points differ in the first."""
    slopes = [
        (later[1] - point[1]) / (later[0] - point[0])
        for point, later in combinations(points, 2)
        if _apart(point, later)
    ]
    return median(slopes) if slopes else None


def intercept(points: Sequence[Point], rate: float) -> float:
    """Return where the line of that slope through the middle of the points begins."""
    return median(value - rate * at for at, value in points)


def _apart(point: Point, later: Point) -> bool:
    return later[0] != point[0]
