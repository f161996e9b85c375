"""Every planted fault is found: an oracle that finds nothing proves nothing."""

from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.sim.chaos import run_chaos
from cis.sim.plants import PLANTS
from cis.sim.run import find_plants
from cis.sim.scenarios import Chaos, load_scenario

KINDS = {
    "withheld-leaf": "divergences",
    "reused-dot": "divergences",
    "lost-tombstone": "resurrected",
    "early-acknowledgement": "lost",
    "unauthorised-accepted": "accepted",
    "unsigned-accepted": "accepted",
    "private-offered": "leaked",
    "let-go-nameless": "lost",
    "order-broken": "disordered",
    "read-twice": "duplicates",
    "unnamed-log-kept": "accepted",
    "removed-not-parted-with": "accepted",
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str) -> None:
    (report,) = find_plants([name], lambda _: None)
    assert report.found, report
    assert report.said.startswith(KINDS.get(name, ""))


@pytest.mark.parametrize("name", ["reused-dot", "unsigned-accepted"])
def test_the_seed_that_finds_a_plant_passes_without_it(name: str) -> None:
    (report,) = find_plants([name], lambda _: None)
    scenario = load_scenario(report.scenario)
    assert isinstance(scenario, Chaos)
    assert report.seed is not None
    assert run_chaos(scenario, report.nodes, report.seed).wrongs == ()


def test_an_unknown_plant_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no plant 'weed'.*withheld-leaf"):
        find_plants(["weed"], lambda _: None)
