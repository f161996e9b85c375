"""A member on the previous release: it joins, both write, both hold the same; then it is updated, and holds it still.

The previous release is the source at the newest tag behind this commit, or at the commit that CIS_PREVIOUS names; where
there is neither, at the last commit. Commands are run as users run them, each node with its own source.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.report import Fault, Report, Task, main
from tests.e2e.conftest import ROOT, Home, Outcome
from tests.net.nat.programs import wait_until

PATIENCE_S = 90.0


@dataclass(frozen=True)
class Aged(Home):
    """A node that runs from a source of its own."""

    source: Path = ROOT / "src"

    def run(self, *words: str, given: bytes = b"", **variables: str) -> Outcome:
        """Run a command of that source."""
        return super().run(*words, given=given, **{"PYTHONPATH": str(self.source), **variables})

    def keys(self) -> list[str]:
        """Return the keys of all public memories."""
        return sorted(one["key"] for one in self.json("memory", "list", "--limit", "1000")["memories"])

    def states(self) -> dict[str, Any]:
        """Return the hash of the state of the public space."""
        spaces = self.json("memory", "stats")["spaces"]
        return {one["name"]: one["state_hash"] for one in spaces if one["name"] == "public"}


def previous() -> str:
    """Return the commit of the previous release; empty where none is known."""
    named = os.environ.get("CIS_PREVIOUS", "")
    return named or _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^") or _git("rev-parse", "HEAD")


def _git(*words: str) -> str:
    ended = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else ""


def _source_of(commit: str, folder: Path) -> Path:
    packed = folder / "source.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", "-o", str(packed), commit, "src"], check=True)
    subprocess.run(["tar", "-xf", str(packed), "-C", str(folder)], check=True)
    return folder / "src"


def run(task: Task, report: Report) -> None:
    """Have both write that many memories."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        new, old = Aged(place / "new"), Aged(place / "old", _source_of(previous(), place))
        try:
            _live(new, old, task, report)
        finally:
            new.kill()
            old.kill()


def _live(new: Aged, old: Aged, task: Task, report: Report) -> None:
    new.cis("init", "--name", "new")
    old.cis("init", "--name", "old")
    new.up()
    old.cis("join", new.json("invite")["ticket"], "--yes")
    old.up()
    keys = []
    for number in range(task.count):
        for node in (new, old):
            keys.append(f"{node.path.name}/{number:04}")
            node.cis("memory", "set", keys[-1], f"value {number}")
    _same(new, old, keys, report, "memories that both releases hold")
    old.cis("down")
    updated = Aged(old.path)
    updated.up()
    _same(new, updated, keys, report, "memories that both hold after the update")


def _same(one: Aged, two: Aged, keys: list[str], report: Report, what: str) -> None:
    try:
        wait_until(lambda: one.keys() == two.keys() == sorted(keys), PATIENCE_S, what)
        wait_until(lambda: one.states() == two.states(), PATIENCE_S, f"the same state: {what}")
        report.counts[what] += len(keys)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        report.broken.append(f"{what}: {error!r}; {one.keys()} and {two.keys()}")


def unfit() -> str:
    """Say why there is no previous release here; empty where there is."""
    return "" if previous() else "no previous release is known: this is no git checkout"


FAULT = Fault("the previous release", 10, "memories that each writes", run, unfit)

if __name__ == "__main__":
    main(FAULT)
