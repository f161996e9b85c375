"""The plot of `cis bench growth`; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from cis.bench.growth import CurveResult, GrowthResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#1b3a57"
_LINES = ("#1b3a57", "#c8553d", "#5b8c5a", "#8e6c8a", "#d19c2f", "#3d7ea6", "#7a5c3e", "#b0413e", "#4f4f4f", "#6fae9b")


def plot_growth(result: GrowthResult, path: Path) -> None:
    """Plot each judged cost against that of the smallest size, a panel for each curve."""
    from matplotlib.figure import Figure

    count = len(result.curves)
    columns = min(2, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1 + 5.5 * columns, 0.6 + 4.2 * rows), layout="constrained")
    figure.suptitle("Each cost, against that of the smallest size", fontsize=13, color=_INK)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for curve, axes in zip(result.curves, panels, strict=False):
        _plot_curve(curve, axes)
    for axes in panels[count:]:
        axes.set_axis_off()
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _plot_curve(curve: CurveResult, axes: Axes) -> None:
    sizes = [point.size for point in curve.points]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, color="#e4e8ec", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(curve.axis)
    axes.set_title(f"times the cost at {sizes[0]:,}", fontsize=10)
    axes.plot(sizes, [size / sizes[0] for size in sizes], ":", color="#999999", label="with the size")
    axes.axhline(1, color="#999999", linewidth=1, linestyle="--")
    for grown, colour in zip(curve.grown, itertools.cycle(_LINES), strict=False):
        costs = [point.costs[grown.name] for point in curve.points]
        if costs[0] > 0:
            axes.plot(
                sizes, [cost / costs[0] for cost in costs], "o-", color=colour, markersize=4, label=_plain(grown.title)
            )
    axes.legend(frameon=False, fontsize=7)


def _plain(title: str) -> str:
    return title.replace("`", "")
