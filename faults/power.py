"""The power fails: at any moment of a store's life, with whatever the disk had got to of what was not synced.

A life is a few rounds. In each, a real store works on a recording disk; moments of the trace are drawn, and at each the
files are put together as they might be found then (`faults.platter`), opened and judged. The next round begins with
one of these, so that what was mended after one failure meets the next.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from faults.disk import Disk, Noted, Step, lay, on
from faults.judgement import Found, judge
from faults.ledger import Ledger, settled
from faults.platter import Platter
from faults.report import Fault, Report, Task, main
from faults.work import MARKER, Foreign, Marked, Work, foreign, hear, small_files
from tests.stores import Author, Clock

ROUNDS = 4
STEPS = 30
POINTS = 50
"""Moments per round at which the power fails."""
_FOREIGN = 40
_LOST_MARKER = 0.2


@dataclass(frozen=True)
class Moment:
    """One failure: where in the trace, what is found on the disk, and what had been acknowledged."""

    at: int
    files: dict[str, bytes]
    ledger: Ledger


@dataclass
class Life:
    """One store from its making on."""

    folder: Path
    rng: Random
    report: Report
    keep: Path | None
    others: list[Foreign]
    files: dict[str, bytes] = field(default_factory=dict)
    found: Found = field(default_factory=Found)
    clock: Clock = field(default_factory=Clock)

    def round(self, points: int) -> None:
        """Work, fail at that many moments, and go on from one of them."""
        ledger = settled(self.found.values, self.found.totals)
        trace = self._work()
        self.report.counts["steps of the disk recorded"] += sum(not isinstance(step, Noted) for step in trace)
        ends = []
        for moment in _moments(trace, self.files, ledger, self.rng, points):
            found = self._judge(moment)
            if not found.wrong:
                ends.append((moment.files, found))
        if ends:
            self.files, self.found = self.rng.choice(ends)

    def _work(self) -> Sequence[Step]:
        disk = Disk(lay(self.folder / "work", self.files))
        held = self.found.values
        left = [one for one in self.others if held.get(one.key) is None]
        work = Work(disk, self._author(), self.rng, left)
        with on(disk):
            work.begin()
            for _ in range(STEPS):
                work.step()
            work.end()
        self.report.broken += work.wrong
        if work.refused:
            self.report.broken.append(f"{work.refused} answers were errors on a disk that works")
        return disk.trace

    def _judge(self, moment: Moment) -> Found:
        files = dict(moment.files)
        if self.rng.random() < _LOST_MARKER:
            files.pop(MARKER, None)
        disk = Disk(lay(self.folder / "found", files), records=False)
        with on(disk):
            found = judge(disk.folder, self._author(), moment.ledger)
        counts = self.report.counts
        counts["power failures"] += 1
        counts["acknowledged writes looked for"] += moment.ledger.acknowledged
        counts["writes under way"] += moment.ledger.uncertain()
        if found.wrong:
            place = self._kept(files)
            self.report.broken += [f"step {moment.at}{place}: {one}" for one in found.wrong]
        return found

    def _kept(self, files: Mapping[str, bytes]) -> str:
        if self.keep is None:
            return ""
        place = self.keep / str(len(self.report.broken))
        return f" ({lay(place, files)})"

    def _author(self) -> Author:
        return Author(1, self.clock, self.rng.randbytes)


def _moments(
    trace: Sequence[Step], files: Mapping[str, bytes], ledger: Ledger, rng: Random, count: int
) -> Iterator[Moment]:
    """Follow a trace, and fail at moments of it."""
    platter = Platter({name: data for name, data in files.items() if name != MARKER}, rng)
    marker = files.get(MARKER)
    chosen = sorted(rng.choices(range(1, len(trace) + 1), k=count))
    for at, step in enumerate(trace, 1):
        platter.take(step)
        hear(ledger, step)
        if isinstance(step, Noted) and isinstance(step.what, Marked):
            marker = step.what.token
        while chosen and chosen[0] == at:
            del chosen[0]
            beside = {MARKER: marker} if marker is not None else {}
            yield Moment(at, {**platter.failed(), **beside}, ledger)


def run(task: Task, report: Report) -> None:
    """Fail that many times."""
    lives = 0
    while (left := task.count - report.counts["power failures"]) > 0:
        lives += 1
        rng = Random(f"power {task.seed} {lives}")
        with tempfile.TemporaryDirectory() as folder, small_files():
            others = foreign(Path(folder, "other"), rng, _FOREIGN)
            life = Life(Path(folder), rng, report, task.keep, others)
            for _ in range(ROUNDS):
                life.round(min(POINTS, left))
                left = task.count - report.counts["power failures"]
                if not left:
                    break
        task.say(f"{report.counts['power failures']:,} of {task.count:,}; {len(report.broken)} broken")
    report.counts["lives"] = lives


FAULT = Fault("power failure", 10_000, "moments at which the power fails", run)

if __name__ == "__main__":
    main(FAULT)
