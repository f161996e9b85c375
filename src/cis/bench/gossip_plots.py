"""The plots of `cis bench gossip`; matplotlib is loaded by the modules of plots alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cis.bench.gossip import GossipBench

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _ACCENT, _PALE = "#1b3a57", "#c8553d", "#8fb8d6"
_CURVES = (0.1, 0.3, 0.5, 0.7, 0.9)


def plot_sizes(bench: GossipBench, path: Path) -> None:
    """Plot what grows, or does not, with the cluster."""
    figure, ((reach, hops), (copies, traffic)) = _panels(f"Gossip against the size of the cluster (seed {bench.seed})")
    nodes = [row.nodes for row in bench.sizes]
    for axes in (reach, hops, copies, traffic):
        axes.set_xscale("log")
        axes.set_xlabel("nodes")
        axes.set_xticks(nodes, [f"{count:,}" for count in nodes])
        axes.minorticks_off()
    _line(reach, nodes, [100 * row.reliability for row in bench.sizes], "nodes reached by a broadcast", "%")
    reach.set_ylim(98, 100.3)
    _line(hops, nodes, [row.ldh for row in bench.sizes], "last-delivery hop (LDH)", "hops", label="most")
    hops.plot(nodes, [row.ldh_mean for row in bench.sizes], "o--", color=_PALE, label="mean of the broadcasts")
    hops.axhline(12, color=_ACCENT, linewidth=1, label="limit at 1,000 nodes: below 12")
    hops.set_ylim(0, 14)
    hops.legend(frameon=False, fontsize=8)
    _line(copies, nodes, [row.rmr for row in bench.sizes], "relative message redundancy (RMR)", "m/(n-1) - 1")
    copies.axhline(0.3, color=_ACCENT, linewidth=1, label="limit at 1,000 nodes: below 0.3")
    copies.set_ylim(-0.01, 0.35)
    copies.legend(frameon=False, fontsize=8)
    _line(traffic, nodes, [row.bytes_per_node for row in bench.sizes], "sent by a node for one broadcast", "bytes")
    traffic.set_ylim(0, 1.25 * max(row.bytes_per_node for row in bench.sizes))
    _save(figure, path)


def plot_failures(bench: GossipBench, path: Path) -> None:
    """Plot what the death of a share of the nodes does, and for how long."""
    title = f"{bench.nodes:,} nodes, of which a share dies at once (seed {bench.seed})"
    figure, ((time, heal), (hops, copies)) = _panels(title)
    curves = [row for row in bench.failures if row.killed_share in _CURVES] or list(bench.failures)
    for place, row in enumerate(curves):
        shade = place / max(1, len(curves) - 1)
        time.plot(
            [second + 0.5 for second in range(len(row.prompt))],
            [100 * share for share in row.prompt],
            color=(0.1 + 0.68 * shade, 0.3, 0.55 - 0.35 * shade),
            label=f"{row.killed_share:.0%} died",
        )
    time.set_title(f"survivors reached within {bench.prompt_s:g} s of a broadcast", fontsize=10)
    time.set_xlabel("seconds from the deaths to the broadcast")
    time.set_ylabel("%")
    time.set_ylim(0, 103)
    time.legend(frameon=False, fontsize=8, loc="lower right")
    died = [100 * row.killed_share for row in bench.failures]
    for axes in (heal, hops, copies):
        axes.set_xlabel("nodes that died (%)")
        axes.set_xticks(died)
    healed = [row for row in bench.failures if row.heal_s is not None]
    heal_s = [row.heal_s or 0.0 for row in healed]
    _line(heal, [100 * row.killed_share for row in healed], heal_s, "until every survivor is reached promptly", "s")
    heal.axhline(10, color=_ACCENT, linewidth=1, label="limit at 50 %: 10 s")
    heal.set_ylim(bottom=0)
    heal.legend(frameon=False, fontsize=8)
    _line(hops, died, [row.ldh_mean for row in bench.failures], "mean last-delivery hop, once healed", "hops")
    hops.set_ylim(0, 1 + max(row.ldh_mean for row in bench.failures))
    _line(copies, died, [row.rmr for row in bench.failures], "mean RMR, once healed", "m/(n-1) - 1")
    copies.set_ylim(bottom=0)
    _save(figure, path)


def _panels(title: str) -> tuple[Figure, tuple[tuple[Axes, Axes], tuple[Axes, Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title, fontsize=13, color=_INK)
    (one, two), (three, four) = figure.subplots(2, 2)
    for axes in (one, two, three, four):
        axes.grid(visible=True, color="#e4e8ec", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, ((one, two), (three, four))


def _line(axes: Axes, x: list[int] | list[float], y: list[float], title: str, unit: str, label: str = "") -> None:
    axes.plot(x, y, "o-", color=_INK, label=label or None)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(unit)


def _save(figure: Figure, path: Path) -> None:
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
