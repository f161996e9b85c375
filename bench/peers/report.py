"""What a run of everything came to, and the running: contestants by size, each in fresh processes and folders."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.catalogue import Contestant
from bench.peers.contest import Outcome, Task, compete, median_outcome, reason_of
from bench.peers.installing import command_of
from bench.peers.transport import Carried
from cis.bench.figures import BenchFailed, say
from cis.bench.pair import Child
from cis.errors import CisError

PATIENCE = 1.5
"""Who would take so many times the limit, at the rate of fewer entries, is not asked."""


@dataclass(slots=True)
class Report:
    """Figures by contestant and number of entries; where there are none, why."""

    sizes: tuple[int, ...]
    runs: int
    limit_s: float
    updates: int
    """Of the smallest size alone."""
    pause_s: float
    command: str
    """What makes it again."""
    machine: str
    outcomes: dict[str, dict[int, Outcome]] = field(default_factory=dict)
    failures: dict[str, dict[int, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    carried: dict[str, Carried] = field(default_factory=dict)
    carried_not: dict[str, str] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """How quickly a contestant's entries arrived at the smallest size, for sorting."""
        outcome = self.outcomes.get(name, {}).get(self.sizes[0])
        return outcome.entries_per_s if outcome is not None else 0.0

    def live(self, name: str) -> Outcome | None:
        """The outcome whose updates are shown: that of the smallest size, if all arrived."""
        outcome = self.outcomes.get(name, {}).get(self.sizes[0])
        return outcome if outcome is not None and outcome.seen_ms else None


def machine() -> str:
    """Describe the machine in a few words."""
    load = f"load {os.getloadavg()[0]:.1f} at the beginning"
    return f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, {load}"


def run_all(report: Report, contestants: Sequence[Contestant], scratch: Path) -> None:
    """Have everybody bring over each number of entries, and update the fewest; what keeps one from it is noted."""
    commands = {}
    for one in contestants:
        try:
            commands[one.name] = command_of(one, scratch)
        except CisError as reason:
            report.left_out[one.name] = str(reason)
            say(f"{one.title}: {reason}")
    for size in report.sizes:
        say(f"{size:,} entries")
        for one in contestants:
            if one.name in commands:
                updates = report.updates if size == report.sizes[0] else 0
                _run(report, one, commands[one.name], Task(size, updates, report.pause_s, report.limit_s))


def _run(report: Report, one: Contestant, command: list[str], task: Task) -> None:
    failures = report.failures.setdefault(one.name, {})
    if failures:
        failures[task.entries] = "not tried"
        return
    for size, outcome in report.outcomes.get(one.name, {}).items():
        expected_s = outcome.elapsed_s * task.entries / max(1, outcome.arrived)
        if not outcome.complete or expected_s > PATIENCE * report.limit_s:
            failures[task.entries] = f"not tried: {expected_s:,.0f} s at the rate of {size:,}"
            return
    outcomes = []
    for _ in range(report.runs):
        with tempfile.TemporaryDirectory(prefix="cis-peers-") as folder:
            try:
                outcome = compete(lambda: Child(one.title, command), task, Path(folder))
            except BenchFailed as failure:
                failures[task.entries] = reason_of(failure)
                say(f"  {one.title}: {failure}")
                return
        outcomes.append(outcome)
        update = f", an update {outcome.seen(50):.1f} ms" if outcome.seen_ms else ""
        say(f"  {one.title}: {outcome.entries_per_s:,.0f}/s{update}")
    report.outcomes.setdefault(one.name, {})[task.entries] = median_outcome(outcomes)
