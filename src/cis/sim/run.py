"""`cis sim`: seeds of a scenario over all cores, added up; planted faults, each looked for until it is found."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from cis import __version__
from cis.errors import UsageError
from cis.sim.byzantine import ATTEMPTS
from cis.sim.chaos import Outcome, run_chaos
from cis.sim.oracle import WRONGS
from cis.sim.plants import PLANTS
from cis.sim.scenarios import Chaos, load_scenario, scenario_names
from cis.sim.swarm import SwarmScenario, run_swarm

PLANT_SEEDS = 40
"""Seeds tried before a plant counts as not found."""
HAPPENED = (
    "deliveries", "drops", "duplicated", "reordered", "partitions", "crashes", "restores", "churn", "clock_jumps",
    "cuts", "connections", "sessions", "sessions_completed", "writes", "private_writes", "commits", "broadcasts",
    "messages_read", "audits", "collections", "adoptions", "revocations", "grants_again", "demotions", "rotations",
    "feuds", "schisms", "reads_elsewhere", "turned_away", "byzantine_deeds",
)  # fmt: skip
"""What is counted to prove that something happened."""
Progress = Callable[[int], None]
_Run = TypeVar("_Run")


@dataclass(frozen=True)
class Request:
    """What to run; ``nodes`` None is what the scenario says, ``jobs`` how many seeds at once."""

    scenario: str
    seeds: Sequence[int]
    nodes: int | None = None
    jobs: int = 1


@dataclass(frozen=True)
class Failure:
    """A seed that broke a rule, and how to see it again."""

    seed: int
    commit: str
    replay: str
    wrongs: tuple[str, ...]


@dataclass(frozen=True)
class ChaosReport:
    """What the seeds of a scenario came to."""

    scenario: str
    nodes: int
    first_seed: int
    last_seed: int
    seeds: int
    passed: bool
    wrongs: dict[str, int]
    happened: dict[str, int]
    attempts: dict[str, int]
    """of the Byzantine member, by kind"""
    heal_s_max: float
    trace: str
    failures: tuple[Failure, ...]
    seconds: float

    def figures(self) -> dict[str, Any]:
        """Everything by name, the counts beside the rest."""
        whole = asdict(self)
        wrongs, happened = whole.pop("wrongs"), whole.pop("happened")
        return {**whole, **wrongs, **happened}


@dataclass(frozen=True)
class PlantReport:
    """Whether one planted fault was found, with which seed, and what the oracle said."""

    plant: str
    breaks: str
    scenario: str
    nodes: int
    found: bool
    seed: int | None
    said: str


def parse_seeds(text: str) -> range:
    """Return the seeds in ``7`` or ``1..200``; `UsageError` for anything else."""
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        raise UsageError(f"{text!r} is no seed: write 7, or 1..200 for all of them")
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise UsageError(f"{text!r} holds no seed: the first must not be above the last")
    return seeds


def list_scenarios() -> list[dict[str, str]]:
    """Return the names and meanings of all scenarios."""
    found = ((name, load_scenario(name)) for name in scenario_names())
    return [{"scenario": name, "nodes": str(one.nodes), "meaning": one.meaning} for name, one in found]


def simulate(request: Request, progress: Progress) -> tuple[dict[str, Any], bool]:
    """Run all seeds; returns the figures, and whether every one passed."""
    scenario = load_scenario(request.scenario)
    if isinstance(scenario, Chaos):
        report = simulate_chaos(request, scenario, progress)
        return report.figures(), report.passed
    return _simulate_swarm(request, scenario, progress)


def simulate_chaos(request: Request, scenario: Chaos, progress: Progress) -> ChaosReport:
    """Run the seeds of a chaos scenario, several at once; what is returned depends on the seeds alone."""
    began, nodes = time.perf_counter(), request.nodes or scenario.nodes
    outcomes = list(_counted(_each(partial(run_chaos, scenario, nodes), request), progress))
    counts, traces = Counter[str](), blake2b(digest_size=16)
    for outcome in outcomes:
        counts.update(outcome.counts)
        traces.update(outcome.trace.encode())
    counts["duplicated"] = counts["duplicates"]
    wrongs = Counter(wrong.kind for outcome in outcomes for wrong in outcome.wrongs)
    return ChaosReport(
        scenario=scenario.name,
        nodes=nodes,
        first_seed=request.seeds[0],
        last_seed=request.seeds[-1],
        seeds=len(outcomes),
        passed=not wrongs,
        wrongs={kind: wrongs[kind] for kind in WRONGS},
        happened={what: counts[what] for what in HAPPENED},
        attempts={what: counts[f"attempt {what}"] for what in ATTEMPTS} if scenario.byzantine else {},
        heal_s_max=round(max(outcome.heal_s for outcome in outcomes), 1),
        trace=outcomes[0].trace if len(outcomes) == 1 else traces.hexdigest(),
        failures=tuple(_failure(scenario.name, nodes, outcome) for outcome in outcomes if outcome.wrongs),
        seconds=round(time.perf_counter() - began, 1),
    )


def find_plants(names: Sequence[str], progress: Progress) -> list[PlantReport]:
    """Plant faults one after the other, each until a seed finds it."""
    unknown = sorted(set(names) - set(PLANTS))
    if unknown:
        raise UsageError(f"there is no plant {unknown[0]!r}: there are {', '.join(PLANTS)}")
    reports = []
    for number, name in enumerate(names):
        reports.append(_find_plant(name))
        progress(number + 1)
    return reports


def _find_plant(name: str) -> PlantReport:
    planted = PLANTS[name]
    scenario = load_scenario(planted.scenario)
    assert isinstance(scenario, Chaos), planted.scenario
    for seed in range(planted.seed, planted.seed + PLANT_SEEDS):
        with planted.plant():
            wrongs = run_chaos(scenario, planted.nodes, seed).wrongs
        if wrongs:
            return PlantReport(
                name, planted.breaks, scenario.name, planted.nodes, found=True, seed=seed, said=str(wrongs[0])
            )
    return PlantReport(name, planted.breaks, scenario.name, planted.nodes, found=False, seed=None, said="nothing")


def _each(run: Callable[[int], _Run], request: Request) -> Iterator[_Run]:
    """Run all seeds, several at once, and yield what comes of each in order."""
    if request.jobs == 1 or len(request.seeds) == 1:
        yield from map(run, request.seeds)
        return
    with ProcessPoolExecutor(request.jobs) as pool:
        yield from pool.map(run, request.seeds)


def _counted(runs: Iterable[_Run], progress: Progress) -> Iterator[_Run]:
    for done, run in enumerate(runs, start=1):
        progress(done)
        yield run


def _simulate_swarm(request: Request, scenario: SwarmScenario, progress: Progress) -> tuple[dict[str, Any], bool]:
    one = partial(_swarm_once, scenario, request.nodes)
    runs = list(_counted(_each(one, request), progress))
    passed = all(run["passed"] for run in runs)
    return (runs[0] if len(runs) == 1 else {"scenario": scenario.name, "passed": passed, "runs": runs}), passed


def _swarm_once(scenario: SwarmScenario, nodes: int | None, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    result = asdict(run_swarm(scenario, nodes, seed))
    return {**result, "seconds": round(time.perf_counter() - began, 1)}


def _failure(scenario: str, nodes: int, outcome: Outcome) -> Failure:
    replay = f"cis sim --scenario {scenario} --nodes {nodes} --seed {outcome.seed}"
    return Failure(outcome.seed, commit(), replay, tuple(map(str, outcome.wrongs)))


def commit() -> str:
    """Return the commit this code was checked out at, or its version where it was installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return __version__
    words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - our words
    except (OSError, subprocess.CalledProcessError):
        return __version__


def default_jobs() -> int:
    """Return how many seeds this machine runs at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
