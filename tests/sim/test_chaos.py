"""Whole clusters under faults: safe at every step, one state once healed, and the same seed the same run."""

from __future__ import annotations

from collections import Counter

import pytest

from cis.sim.byzantine import ATTEMPTS
from cis.sim.chaos import Outcome, run_chaos
from cis.sim.scenarios import Chaos, load_scenario


def run(name: str, seed: int, nodes: int | None = None) -> Outcome:
    scenario = load_scenario(name)
    assert isinstance(scenario, Chaos)
    return run_chaos(scenario, nodes or scenario.nodes, seed)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_cluster_is_safe_at_every_step_and_agrees_once_healed(seed: int) -> None:
    outcome = run("chaos", seed)
    assert outcome.wrongs == ()
    for what in ("deliveries", "drops", "crashes", "writes", "sessions_completed", "messages_read"):
        assert outcome.counts[what] > 0, what


@pytest.mark.parametrize("name", ["byzantine", "clocks", "crash", "line", "partial", "partition", "restore"])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_fault_by_itself_is_survived(name: str, seed: int) -> None:
    assert run(name, seed).wrongs == ()


@pytest.mark.parametrize("seed", [16, 120, 187, 195, 370])
def test_what_is_said_in_the_name_of_a_removed_member_is_survived(seed: int) -> None:
    """Under its dots, beyond gaps of its log, and by rights that are void: in these runs honest ones build on it."""
    assert run("byzantine", seed, nodes=5).wrongs == ()


def test_what_devices_leave_to_others_is_read_from_them() -> None:
    outcomes = [run("partial", seed) for seed in (7, 10)]
    assert [outcome.wrongs for outcome in outcomes] == [()] * len(outcomes)
    assert all(outcome.counts["reads_elsewhere"] > 0 for outcome in outcomes)


def test_the_byzantine_member_attempts_everything_and_nothing_is_accepted() -> None:
    outcomes = [run("byzantine", seed) for seed in (*range(1, 13), 30, 33)]  # in the last it withholds a removal
    assert [outcome.wrongs for outcome in outcomes] == [()] * len(outcomes)
    counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
    for what in ("revocations", "grants_again", "demotions", "rotations", "feuds"):
        assert counts[what] > 0, what
    assert [kind for kind in ATTEMPTS if not counts[f"attempt {kind}"]] == []


def test_a_cluster_larger_than_its_views_agrees() -> None:
    assert run("chaos", 1, nodes=12).wrongs == ()


def test_the_same_seed_is_the_same_run() -> None:
    first, second, other = run("chaos", 5), run("chaos", 5), run("chaos", 6)
    assert first == second
    assert first.trace != other.trace
