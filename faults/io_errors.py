"""The disk fails or is full: each operation of a store's work in turn, once or for a while; then it is well again.

A life is worked through again and again, each time on a disk that fails from another operation on: an opening, a read,
a write, a truncation, a sync, a deletion. Meanwhile every answer must be right, or an error that says what to do; once
the disk is well the store must take writes, opened anew if need be; and what it then holds is judged as after any
fault, or what the power would leave of it if it failed right then.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw

from cis.errors import CisError
from faults.disk import Cut, Deleted, Disk, Opened, Read, Step, Synced, Wrote, allow, lay, on
from faults.judgement import judge
from faults.ledger import Ledger
from faults.platter import Platter
from faults.report import Fault, Report, Task, main
from faults.work import Foreign, Work, foreign, hear, small_files
from tests.stores import Author, Clock

STEPS = 20
_FOREIGN = 20
_ERRORS: dict[type, int] = {
    Opened: apsw.SQLITE_CANTOPEN,
    Read: apsw.SQLITE_IOERR_READ,
    Wrote: apsw.SQLITE_IOERR_WRITE,
    Cut: apsw.SQLITE_IOERR_TRUNCATE,
    Synced: apsw.SQLITE_IOERR_FSYNC,
    Deleted: apsw.SQLITE_IOERR_DELETE,
}
_LASTING = (1, 1, 5, 50)
"""How many operations fail in a row."""
LIVES_MAX = 50
"""Places at which one life is made to fail, before another is lived."""
_FULL, _POWER = 0.3, 0.4


@dataclass
class Failing:
    """A rule: from operation ``first`` on, counted from 1, that many fail; of a disk that is full, writes alone."""

    first: int
    lasting: int
    full: bool = False
    met: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def __call__(self, step: Step | Read) -> None:
        self.met += 1
        if not self.first <= self.met < self.first + self.lasting:
            return
        if self.full and isinstance(step, Wrote):
            self.failed["full"] += 1
            raise apsw.FullError("the disk is full")
        if not self.full:
            self.failed[type(step).__name__.lower()] += 1
            error = apsw.exception_for(_ERRORS[type(step)])
            error.args = ("disk I/O error",)
            raise error


@dataclass
class Life:
    """What is worked through: the same wishes each time, as far as the disk lets them be the same."""

    folder: Path
    seed: str
    others: list[Foreign]

    def work(self, rule: Failing, counts: Counter[str]) -> tuple[Disk, Work]:
        """Work on a disk that fails by a rule until it is well again; then the store must take writes."""
        disk = Disk(lay(self.folder / "work", {}), rule)
        rng = Random(self.seed)
        work = Work(disk, Author(1, Clock(), rng.randbytes), rng, list(self.others))
        with on(disk):
            for _ in range(STEPS):
                work.step()
            disk.rule = allow
            if not work.takes():
                counts["stores that had to be opened again"] += 1
                work.end()
                if not work.takes():
                    work.wrong.append("the store takes no writes on a disk that is well again")
            work.end()
        return disk, work

    def judge(self, disk: Disk, rng: Random, counts: Counter[str]) -> list[str]:
        """Say what is wrong with what is left: as it is, or as a power failure in the end leaves it."""
        ledger = Ledger()
        platter = Platter({}, rng)
        for step in disk.trace:
            hear(ledger, step)
            platter.take(step)
        if rng.random() < _POWER:
            counts["then a power failure"] += 1
            lay(disk.folder, platter.failed())
        disk.records = False
        with on(disk):
            found = judge(disk.folder, Author(1, Clock(), rng.randbytes), ledger)
        counts["acknowledged writes looked for"] += ledger.acknowledged
        return found.wrong


class _Defects(logging.Handler):
    """Gathers what is logged or ends a thread and is no `CisError`: that is a defect, whatever the disk does."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged with the traceback of a defect."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, CisError):
            self.found.append(f"{record.getMessage()}: {_where(error)}")

    def ended(self, hook: threading.ExceptHookArgs) -> None:
        """Keep what ended a thread."""
        self.found.append(f"a thread ended: {_where(hook.exc_value)}")


def _where(error: BaseException | None) -> str:
    """Return an error and the way to where it was raised, within cis."""
    frames = traceback.extract_tb(error.__traceback__ if error is not None else None)
    way = [f"{Path(one.filename).name}:{one.lineno}" for one in frames if "cis" in one.filename]
    return f"{error!r} at {' > '.join(way)}"


@contextmanager
def _defects() -> Iterator[list[str]]:
    handler, hook, log = _Defects(), threading.excepthook, logging.getLogger("cis")
    log.addHandler(handler)
    log.propagate, threading.excepthook = False, handler.ended
    try:
        yield handler.found
    finally:
        log.removeHandler(handler)
        log.propagate, threading.excepthook = True, hook


def _operations(life: Life) -> int:
    """Count the operations of a life on a disk that is well."""
    rule = Failing(0, 0)
    life.work(rule, Counter())
    return rule.met


def run(task: Task, report: Report) -> None:
    """Have that many operations fail."""
    lives, counts = 0, report.counts
    while (left := task.count - counts["lives on a disk that fails"]) > 0:
        lives += 1
        name = f"disk {task.seed} {lives}"
        rng = Random(name)
        with tempfile.TemporaryDirectory() as folder, small_files(), _defects() as defects:
            life = Life(Path(folder), name, foreign(Path(folder, "other"), rng, _FOREIGN))
            places = range(1, _operations(life) + 1)
            for first in rng.sample(places, min(left, len(places), LIVES_MAX)):
                rule = Failing(first, rng.choice(_LASTING), full=rng.random() < _FULL)
                disk, work = life.work(rule, counts)
                wrong = [*work.wrong, *life.judge(disk, rng, counts), *defects]
                defects.clear()
                for one in wrong:
                    report.broken.append(f"{name}, {rule}: {one}")
                    task.say(report.broken[-1])
                counts["lives on a disk that fails"] += 1
                counts["answers that were errors"] += work.refused
                counts.update({f"failed: {what}": times for what, times in rule.failed.items()})
        task.say(f"{counts['lives on a disk that fails']:,} of {task.count:,}; {len(report.broken)} broken")


FAULT = Fault("disk errors", 2_000, "lives, each on a disk that fails from another operation on", run)

if __name__ == "__main__":
    main(FAULT)
