"""Gossip alone among many nodes: the limits hold, a seed is a run, and a broken tree is found."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from cis.gossip import GossipConfig, TreeConfig, ViewConfig
from cis.gossip.plumtree import Plumtree
from cis.sim.scenarios import load_scenario
from cis.sim.swarm import SwarmResult, SwarmScenario, run_swarm


@pytest.fixture(scope="module")
def scenario() -> SwarmScenario:
    """The one that ships, shortened."""
    found = load_scenario("gossip")
    assert isinstance(found, SwarmScenario)
    return msgspec.structs.replace(found, sources=4, warm_several=20, measured=20, healing_s=10.0)


@pytest.fixture(scope="module")
def result(scenario: SwarmScenario) -> SwarmResult:
    return run_swarm(scenario, nodes=150, seed=7)


def test_every_broadcast_reaches_every_node_in_few_hops_and_hardly_twice(result: SwarmResult) -> None:
    assert (result.missed, result.reliability, result.twice) == (0, 1.0, 0)
    assert 3 <= result.ldh <= 11
    assert 0 <= result.rmr < 0.3
    assert result.before.messages["Gossip"] >= 149


def test_after_half_of_the_nodes_die_all_survivors_are_reached_again_soon(result: SwarmResult) -> None:
    assert (result.killed, result.survivors) == (75, 75)
    assert result.heal_s is not None
    assert 0 < result.heal_s <= 10
    assert result.after.broadcasts > 0
    assert result.after.reliability == 1.0
    assert result.healing.messages["Graft"] > 0


def test_views_are_full(result: SwarmResult) -> None:
    assert result.active_mean > 4.8
    assert result.passive_mean > 25


def test_a_seed_is_a_run(scenario: SwarmScenario) -> None:
    one, again, other = (run_swarm(scenario, nodes=30, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one.trace != other.trace


def test_a_tree_that_does_not_graft_is_found_to_miss_messages(
    scenario: SwarmScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = run_swarm(scenario, nodes=100, seed=1)
    monkeypatch.setattr(Plumtree, "_graft", lambda self, now: None)
    broken = run_swarm(scenario, nodes=100, seed=1)
    assert (intact.passed, intact.missed, intact.healing.missed) == (True, 0, 0)
    assert not broken.passed
    assert broken.missed > 0
    assert broken.healing.missed > 100


def test_a_tree_that_does_not_prune_is_found_to_repeat_itself(
    scenario: SwarmScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plumtree, "_prune", lambda self, tree, node: None)
    broken = run_swarm(scenario, nodes=100, seed=7)
    assert not broken.passed
    assert broken.rmr > 1


def test_views_that_replace_nobody_are_found_not_to_heal(scenario: SwarmScenario) -> None:
    config = GossipConfig(views=replace(ViewConfig(), passive_max=1, lost_max=1, shuffle_s=1e6, shuffle_first_s=1e6))
    broken = run_swarm(scenario, nodes=100, seed=7, config=config)
    assert not broken.passed


def test_a_run_on_slow_and_lossy_links_still_reaches_all(scenario: SwarmScenario) -> None:
    link = msgspec.structs.replace(scenario.link, latency_s=0.1, jitter_s=0.1, loss=0.05)
    lossy = msgspec.structs.replace(scenario, link=link)
    result = run_swarm(lossy, nodes=60, seed=7, config=GossipConfig(tree=TreeConfig(graft_first_s=1.0)))
    assert result.missed == 0
