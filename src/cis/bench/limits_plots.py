"""The plot of `cis bench limits`; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

from pathlib import Path

from cis.bench.limits import LimitsResult

_INK, _ACCENT, _PALE = "#1b3a57", "#c8553d", "#8fb8d6"
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def plot_limits(result: LimitsResult, path: Path) -> None:
    """Plot the part of its bound that each operation reaches; what misses its target is marked."""
    from matplotlib.figure import Figure

    rows = result.rows[::-1]
    figure = Figure(figsize=(10, 1.4 + 0.34 * len(rows)), layout="constrained")
    figure.suptitle("The part of its bound that each operation reaches", fontsize=13, color=_INK)
    axes = figure.subplots()
    axes.grid(visible=True, axis="x", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    colours = {True: _INK, None: _PALE, False: _ACCENT}
    labels = {True: "target met", None: "no target", False: "target missed"}
    for met, colour in colours.items():
        places = [place for place, row in enumerate(rows) if row.met is met]
        if places:
            axes.barh(places, [rows[place].reached for place in places], color=colour, height=0.6, label=labels[met])
    axes.axvline(1, color="#555555", linewidth=1)
    axes.set_xscale("log")
    reached = [row.reached for row in rows]
    ticks = [tick for tick in _TICKS if min(reached) / 2 <= tick <= 2 * max(1.0, *reached)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(left=min(0.5, *reached) / 2)
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [f"{row.operation} / {row.bound}" for row in rows], fontsize=8)
    axes.set_xlabel("1: as fast as the bound")
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
