"""The plot of `cis bench discovery`; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cis.bench.discovery import DiscoveryResult
from cis.bench.discovery_page import LIMITS_S, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _ACCENT, _PALE = "#1b3a57", "#c8553d", "#8fb8d6"
_TICKS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def plot_discovery(result: DiscoveryResult, path: Path) -> None:
    """Plot how soon each way led to a connection, beside its limit, and what it costs while idle."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle("From start to the first authenticated connection, by way of finding", fontsize=13, color=_INK)
    times, traffic = figure.subplots(1, 2, width_ratios=(3, 2))
    for axes in (times, traffic):
        axes.grid(visible=True, axis="x", color="#e4e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    _plot_times(result, times)
    _plot_traffic(result, traffic)
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _plot_times(result: DiscoveryResult, axes: Axes) -> None:
    names = list(result.worst_s)[::-1]
    for place, name in enumerate(names):
        median_s, worst_s = getattr(result, f"{name}_s"), result.worst_s[name]
        axes.plot([median_s, worst_s], [place, place], color=_PALE, linewidth=2)
        axes.plot(worst_s, place, "|", color=_PALE, markersize=10, label="slowest run" if place == 0 else None)
        axes.plot(median_s, place, "o", color=_INK, markersize=8, label="median" if place == 0 else None)
        if name in LIMITS_S:
            first = all(one not in LIMITS_S for one in names[:place])
            axes.plot(LIMITS_S[name], place, "D", color=_ACCENT, label="limit" if first else None)
    axes.set_yticks(range(len(names)), [told(name, result) for name in names])
    axes.set_xscale("log")
    axes.set_xticks(_TICKS_S, [f"{tick:g}" for tick in _TICKS_S])
    axes.minorticks_off()
    axes.set_xlabel("seconds from the open socket")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _plot_traffic(result: DiscoveryResult, axes: Axes) -> None:
    names = list(result.idle_bytes_per_s)[::-1]
    axes.barh(range(len(names)), [result.idle_bytes_per_s[name] for name in names], color=_INK, height=0.55)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("idle: bytes a second, both ways, of one node")
