"""Figures: medians, percentiles, and how results become JSON."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from cis.errors import CisError, UsageError


class BenchFailed(CisError):
    """What was measured is wrong: counts or state differ, or a process of the benchmark failed."""


def median(values: Sequence[float]) -> float:
    """Return the median; of nothing, zero."""
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many percent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def ratio(measured: float, reference: float) -> float:
    """Return measured over reference, zero where there is no reference."""
    return measured / reference if reference else 0.0


def figures_of(result: object) -> dict[str, Any]:
    """Return the fields of a result, numbers rounded to four significant digits."""
    assert dataclasses.is_dataclass(result)
    assert not isinstance(result, type)
    fields: dict[str, Any] = _rounded(dataclasses.asdict(result))
    return fields


def waiting() -> float:
    """Return how many processes waited for a processor, on average over the last minute; 0 where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def require_figures() -> None:
    """Raise `UsageError`, saying what to install, where plots cannot be made."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("figures need matplotlib: install it with  pip install 'cis-node[figures]'")


def say(text: str) -> None:
    """Report progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _rounded(value: Any) -> Any:  # noqa: ANN401 - whatever a result holds
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float) and value:
        return round(value, 3 - math.floor(math.log10(abs(value))))
    return value
