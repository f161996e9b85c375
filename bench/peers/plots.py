"""The plots of ``python -m bench.peers``; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.peers.catalogue import CONTESTANTS, Contestant
from bench.peers.report import Report
from bench.peers.transport import CARRIERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _ACCENT, _PALE = "#1b3a57", "#c8553d", "#8fb8d6"
_SIZES = (_PALE, _INK, "#5d7f9c", "#aab7c4")
_DPI = 110


def plot_peers(report: Report, path: Path) -> None:
    """Plot how quickly entries arrived, by size, and how long an update took."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - this one function plots

    shown = sorted((one for one in CONTESTANTS if report.rate(one.name)), key=lambda one: report.rate(one.name))
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(shown)), layout="constrained")
    rates, updates = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_rates(report, shown, rates)
    _plot_updates(report, shown, updates)
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def plot_carriers(report: Report, path: Path) -> None:
    """Plot the throughput of one stream and the time of a handshake."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    shown = [one for one in CARRIERS if one.name in report.carried][::-1]
    figure = Figure(figsize=(10, 1.2 + 0.42 * len(shown)), layout="constrained")
    speeds, times = figure.subplots(1, 2)
    places, titles = range(len(shown)), [one.title for one in shown]
    colours = [_ACCENT if one.name == "carrier" else _INK for one in shown]
    speeds.barh(places, [report.carried[one.name].mb_per_s for one in shown], color=colours, height=0.6)
    times.barh(places, [report.carried[one.name].handshake_p50_ms for one in shown], color=colours, height=0.6)
    speeds.set_yticks(places, titles)
    times.set_yticks(places, [""] * len(shown))
    for axes, label in ((speeds, "one stream, MB/s"), (times, "handshake, p50, ms")):
        _dress(axes, label, lines="x")
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _plot_rates(report: Report, shown: Sequence[Contestant], axes: Axes) -> None:
    for number, size in enumerate(report.sizes):
        outcomes = [(place, report.outcomes[one.name].get(size)) for place, one in enumerate(shown)]
        points = [(one.entries_per_s, place) for place, one in outcomes if one is not None and one.complete]
        colour = _SIZES[number % len(_SIZES)]
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=8, label=f"{size:,} entries")
    axes.set_yticks(range(len(shown)), [one.title for one in shown])
    for tick, one in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set_color(_ACCENT if one.name.startswith("cis") else _INK)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    _scale(axes)
    _dress(axes, "entries a second")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _plot_updates(report: Report, shown: Sequence[Contestant], axes: Axes) -> None:
    for place, one in enumerate(shown):
        outcome = report.live(one.name)
        if outcome is not None:
            colour = _ACCENT if one.name.startswith("cis") else _INK
            axes.plot([outcome.seen(50), outcome.seen(99)], [place, place], color=_PALE, linewidth=2)
            axes.plot(outcome.seen(99), place, "|", color=_PALE, markersize=9)
            axes.plot(outcome.seen(50), place, "o", color=colour, markersize=7)
    axes.set_yticks(range(len(shown)), [""] * len(shown))
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.tick_params(axis="y", length=0)
    _scale(axes)
    _dress(axes, "one update: p50, and p99, ms")


def _scale(axes: Axes) -> None:
    """Make the figures' axis logarithmic, its numbers written out."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")


def _dress(axes: Axes, label: str, *, lines: Literal["x", "both"] = "both") -> None:
    axes.set_xlabel(label)
    axes.grid(visible=True, axis=lines, color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
