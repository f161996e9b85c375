"""One seed of a chaos scenario: faults, then healing, then judgement. A run is its scenario, its size and its seed."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from cis.sim.judgement import in_step, settle, strayed
from cis.sim.oracle import Wrong
from cis.sim.scenarios import Chaos
from cis.sim.sealing import seeded_sealing
from cis.sim.storm import Storm
from cis.sim.world import World, scratch

if TYPE_CHECKING:
    from cis.sim.node import SimNode

STEP_S = 0.5
"""How often it is looked whether a healed cluster is in step."""


@dataclass(frozen=True)
class Outcome:
    """What one seed came to."""

    seed: int
    trace: str
    wrongs: tuple[Wrong, ...]
    counts: Counter[str]
    heal_s: float
    """virtual seconds from the end of the faults until all were in step"""


def run_chaos(scenario: Chaos, nodes: int, seed: int) -> Outcome:
    """Run one seed; it ends with the first rule that is broken."""
    sealing = seeded_sealing(Random(seed))
    with quiet(), sealing, scratch() as folder, World(scenario, nodes, seed, folder) as world:
        try:
            Storm(world)
            _go(world, scenario.duration_s)
            _settle(world)
        except Exception:  # noqa: BLE001 - whatever is wrong with a run is told with its seed
            world.oracle.found("defects", traceback.format_exc())
        heal_s = max(0.0, world.kernel.now - scenario.duration_s)
        counts = world.counts + world.network.counts
        return Outcome(seed, world.kernel.trace, tuple(world.oracle.wrongs), counts, heal_s)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Log nothing but errors: what is done to these nodes is meant."""
    log = logging.getLogger("cis")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _settle(world: World) -> None:
    """Heal the cluster, and judge what has come of it."""
    oracle = world.oracle
    if not oracle.wrongs:
        world.heal()
        _converge(world, world.kernel.now + world.scenario.heal_within_s)
    groups = oracle.membership.current(_present(world))
    world.counts["schisms"] += len(groups) > 1
    if len(groups) > 1:
        oracle.membership.check_schism(groups)
    for members in groups:
        if not oracle.wrongs:
            settle(oracle, members)
    for node in (node for members in groups for node in members):
        if not oracle.wrongs:
            node.store.rest()
            oracle.check_whole(node)


def _go(world: World, until: float) -> None:
    """Let everything up to a time happen, or up to the first wrong."""
    arrived: list[float] = []
    world.kernel.at(until, lambda: arrived.append(until))
    while not arrived and not world.oracle.wrongs:
        world.step()


def _converge(world: World, until: float) -> None:
    """Go on until all are in step, at most to that time."""
    while not world.oracle.wrongs and world.kernel.now < until:
        _go(world, world.kernel.now + STEP_S)
        for node in world.honest:
            if node.up:  # upkeep that brings no change tells nobody of its commit
                node.store.rest()
                world.oracle.check(node)
        if all(node.up for node in world.nodes) and _in_step(world):
            break


def _in_step(world: World) -> bool:
    return all(in_step(world.oracle, group) for group in world.oracle.membership.current(_present(world)))


def _present(world: World) -> list[SimNode]:
    return [node for node in world.honest if not strayed(world.oracle, node, world.honest)]
