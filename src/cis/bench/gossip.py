"""Gossip against the size of the cluster, and against the share of it that dies at once.

Runs the simulator's scenario ``gossip`` (`cis.sim.swarm`): the rooms that run in a node, in virtual time. A seed is a
run, so the figures are the same on every machine; only how long they take is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cis.bench.figures import require_figures, say
from cis.sim.scenarios import load_scenario
from cis.sim.swarm import SwarmResult, SwarmScenario, run_swarm

SIZES = (10, 100, 1000)
LARGE = 10_000
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_VIEWS = ("Join", "ForwardJoin", "Neighbour", "NeighbourAnswer", "Disconnect", "Shuffle", "ShuffleAnswer")


@dataclass(frozen=True)
class SizeRow:
    """A cluster of so many nodes, before anything happened to it."""

    nodes: int
    reliability: float
    missed: int
    ldh: int
    ldh_mean: float
    rmr: float
    latency_s: float
    """median, to the last node"""
    control: float
    """messages that carry no body, per node and broadcast"""
    of_views: float
    """of these, those of membership"""
    bytes_per_node: float
    """sent by a node for a broadcast"""
    passed: bool
    """within the limits of the scenario, which kills half of the nodes afterwards"""


@dataclass(frozen=True)
class FailureRow:
    """A cluster of which such a share died at once."""

    killed_share: float
    survivors: int
    heal_s: float | None
    reliability_healing: float
    """of broadcasts made before it had healed, in the end"""
    reliability: float
    """of broadcasts made after it had healed"""
    ldh: int
    ldh_mean: float
    rmr: float
    control: float
    bytes_per_node: float
    prompt: tuple[float, ...]
    """for each second from the deaths on, the share of survivors reached promptly"""


@dataclass(frozen=True)
class GossipBench:
    """Both tables."""

    seed: int
    nodes: int
    """of the clusters that lose a share"""
    prompt_s: float
    sizes: tuple[SizeRow, ...]
    failures: tuple[FailureRow, ...]


def bench_gossip(
    *,
    nodes: int = 1000,
    seed: int = 7,
    large: bool = False,
    sizes: Sequence[int] = SIZES,
    shares: Sequence[float] = SHARES,
) -> GossipBench:
    """Run all sizes, and all shares at one size, on all cores; 1,000 nodes take about half a minute each."""
    scenario = load_scenario("gossip")
    assert isinstance(scenario, SwarmScenario)
    wanted = [(scenario, size) for size in (*sizes, LARGE)[: len(sizes) + large]]
    wanted += [(msgspec.structs.replace(scenario, killed_share=share), nodes) for share in shares]
    # The long ones first, so that no core waits for one at the end.
    order = sorted(range(len(wanted)), key=lambda place: -wanted[place][1])
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = {place: pool.submit(run_swarm, *wanted[place], seed) for place in order}
        results = []
        for place, (_, size) in enumerate(wanted):
            results.append(futures[place].result())
            say(f"{place + 1} of {len(wanted)}: {size} nodes, {results[-1].killed} killed")
    count = len(wanted) - len(shares)
    return GossipBench(
        seed=seed,
        nodes=nodes,
        prompt_s=scenario.prompt_s,
        sizes=tuple(map(_size_row, results[:count])),
        failures=tuple(map(_failure_row, shares, results[count:])),
    )


def write_figures(bench: GossipBench, folder: Path) -> list[Path]:
    """Write a page and its plots into a folder and return the files; `UsageError` as `require_figures`."""
    require_figures()
    from cis.bench.gossip_page import page_of
    from cis.bench.gossip_plots import plot_failures, plot_sizes

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "gossip-size.png", folder / "gossip-failures.png", folder / "gossip.md"]
    plot_sizes(bench, written[0])
    plot_failures(bench, written[1])
    written[2].write_text(page_of(bench), encoding="utf-8")
    return written


def _size_row(result: SwarmResult) -> SizeRow:
    before = result.before
    return SizeRow(
        nodes=result.nodes,
        reliability=before.reliability,
        missed=before.missed,
        ldh=before.ldh,
        ldh_mean=before.ldh_mean,
        rmr=before.rmr,
        latency_s=before.latency_s,
        control=_control(before.messages, result.nodes),
        of_views=sum(before.messages.get(kind, 0.0) for kind in _VIEWS) / result.nodes,
        bytes_per_node=before.bytes_per_node,
        passed=result.passed,
    )


def _failure_row(share: float, result: SwarmResult) -> FailureRow:
    after = result.after
    return FailureRow(
        killed_share=share,
        survivors=result.survivors,
        heal_s=result.heal_s,
        reliability_healing=result.healing.reliability,
        reliability=after.reliability,
        ldh=after.ldh,
        ldh_mean=after.ldh_mean,
        rmr=after.rmr,
        control=_control(after.messages, result.survivors),
        bytes_per_node=after.bytes_per_node,
        prompt=result.prompt,
    )


def _control(messages: dict[str, float], nodes: int) -> float:
    return sum(count for kind, count in messages.items() if kind != "Gossip") / nodes
