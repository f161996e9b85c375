"""The plot of a run; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from soak.report import Report
from soak.trend import intercept

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _ACCENT, _PALE = "#1b3a57", "#c8553d", "#8fb8d6"
_STAYING = (_INK, "#3f7cac", "#7a9e7e", "#95714f", "#5d5f9c", "#4a6c6f")
_PANELS = (("rss", "RSS, MiB"), ("descriptors", "descriptors"), ("tasks", "asyncio tasks"), ("threads", "threads"))
_DPI = 110


def plot_soak(report: Report, path: Path) -> None:
    """Plot what each node took; of those that stayed up also the slope of memory after the warm-up."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - this one function plots

    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(len(_PANELS), 1, sharex=True, height_ratios=(3, 1, 1, 1))
    for axes, (what, label) in zip(panels, _PANELS, strict=True):
        _plot(report, what, axes)
        axes.set_ylabel(label)
        axes.axvspan(0, report.warm_up_s / 60, color="#f3f5f7", zorder=0)
        axes.grid(visible=True, color="#e4e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    _plot_slopes(report, panels[0])
    panels[0].legend(frameon=False, fontsize=8, loc="lower right", ncols=3)
    panels[-1].set_xlabel("minutes; the warm-up is shaded")
    panels[-1].set_xlim(left=0)
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _plot(report: Report, what: str, axes: Axes) -> None:
    """Draw a line for each life of each node."""
    staying = report.setting.staying
    for node, life in sorted({(one.node, one.life) for one in report.samples}):
        points = [(one.at_s / 60, getattr(one, what)) for one in report.samples if (one.node, one.life) == (node, life)]
        colour = _STAYING[staying.index(node) % len(_STAYING)] if node in staying else _PALE
        label = None
        if life == 1:
            label = node if node in staying else f"{node}, restarted"
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1, marker=".", markersize=1.5, label=label)


def _plot_slopes(report: Report, axes: Axes) -> None:
    for one in report.growth:
        warm = [
            (sample.at_s, sample.rss)
            for sample in report.samples
            if sample.node == one.node and sample.at_s >= report.warm_up_s
        ]
        rate = one.per_hour["rss"] / 3600
        base, ends = intercept(warm, rate), (warm[0][0], warm[-1][0])
        label = f"{one.node}: {one.per_hour['rss']:+.2f} MiB/h"
        axes.plot([at / 60 for at in ends], [base + rate * at for at in ends], "--", color=_ACCENT, label=label)
