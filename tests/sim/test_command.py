"""`cis sim`: prints what a run came to, the same every time but for the seconds, and fails as it should."""

from __future__ import annotations

import json

import pytest

from cis.apps.cli.main import run
from cis.sim import run as running
from cis.sim.chaos import Outcome, run_chaos
from cis.sim.oracle import Wrong
from cis.sim.scenarios import Chaos


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run(["sim", *words, "--json"]) == 0
    told: dict = json.loads(capsys.readouterr().out)
    return told


def test_many_seeds_at_once_come_to_what_they_come_to_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--scenario", "line", "--nodes", "3", "--seed", "1..4")
    at_once, one_by_one = said(capsys, *words, "--jobs", "2"), said(capsys, *words, "--jobs", "1")
    assert at_once.pop("seconds") >= 0 <= one_by_one.pop("seconds")
    assert at_once == one_by_one
    assert at_once["passed"]
    assert at_once["seeds"] == 4
    assert at_once["divergences"] == at_once["lost"] == at_once["resurrected"] == at_once["accepted"] == 0
    assert at_once["deliveries"] > 0


def test_what_is_printed_tells_scenarios_and_plants(capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "--list")
    assert "chaos" in {one["scenario"] for one in listed["scenarios"]}
    assert all(one["breaks"].endswith(".") for one in listed["plants"])


def test_a_failure_prints_seed_commit_and_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(scenario: Chaos, nodes: int, seed: int) -> Outcome:
        outcome = run_chaos(scenario, nodes, seed)
        return Outcome(seed, outcome.trace, (Wrong("lost", "m1 forgot"),), outcome.counts, outcome.heal_s)

    monkeypatch.setattr(running, "run_chaos", failing)
    assert run(["sim", "--scenario", "line", "--nodes", "2", "--seed", "7"]) == 1
    told = capsys.readouterr()
    assert f"seed 7 at {running.commit()}: lost: m1 forgot" in told.err
    assert "cis sim --scenario line --nodes 2 --seed 7" in told.out


def test_a_plant_that_is_found_is_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "--plant", "private-offered")["plants"]
    assert [one["found"] for one in found] == [True]
