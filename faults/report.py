"""What a fault is, what a run of it says in the end, and the command line all of them share."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN = 20


@dataclass
class Report:
    """Counts of what was done and met, and everything that was lost or broken."""

    fault: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def json(self) -> str:
        """Return it as one line."""
        found = {"fault": self.fault, "seed": self.seed, **self.counts, "broken": self.broken}
        return json.dumps({**found, "seconds": round(self.seconds, 1)})

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{self.fault}, seed {self.seed}, {self.seconds:,.0f} s"]
        lines += [f"  {count:>11,}  {what}" for what, count in self.counts.items()]
        lines += [f"  {len(self.broken):>11,}  broken or lost"]
        lines += [f"  broken: {one}" for one in self.broken[:_SHOWN]]
        if len(self.broken) > _SHOWN:
            lines.append(f"  and {len(self.broken) - _SHOWN} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class Task:
    """What a run is asked to do; ``keep`` is a folder for the files of what was found broken."""

    seed: int
    count: int
    keep: Path | None = None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Fault:
    """One kind: ``count`` is how often it is done in full, ``of`` what is counted, ``unfit`` why it cannot be here."""

    name: str
    count: int
    of: str
    run: Callable[[Task, Report], None]
    unfit: Callable[[], str] = lambda: ""

    def perform(self, task: Task) -> Report:
        """Do it; whatever is raised counts as broken."""
        report, began = Report(self.name, task.seed), time.monotonic()
        try:
            self.run(task, report)
        except Exception:  # noqa: BLE001 - a run of hours is not lost with what it found
            report.broken.append(f"the run ended early: {traceback.format_exc()}")
        report.seconds = time.monotonic() - began
        return report


def main(fault: Fault) -> None:
    """Read the arguments, do it, print; the exit code is 1 where anything was broken."""
    parser = argparse.ArgumentParser(description=f"{fault.name}: see docs/faults.md")
    parser.add_argument("--count", type=int, default=fault.count, help=f"{fault.of} (default {fault.count:,})")
    parser.add_argument("--keep", type=Path, help="a folder for the files of what is found broken")
    given = read(parser)
    if reason := fault.unfit():
        sys.exit(reason)
    report = fault.perform(Task(given.seed, given.count, given.keep, say))
    tell(report, as_json=given.json)
    sys.exit(1 if report.broken else 0)


def read(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read what every command takes, and what this one takes."""
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser.parse_args()


def tell(report: Report, *, as_json: bool) -> None:
    """Print a report."""
    print(report.json() if as_json else report.text(), flush=True)


def say(line: str) -> None:
    """Tell how far it has come."""
    print(line, file=sys.stderr, flush=True)
