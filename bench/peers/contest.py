"""One contestant's work: bring many entries to an empty peer, then one update after the other.

Both sides are processes. The source writes all entries before the clock starts; it runs from the target's asking for a
connection until the target can read the last entry, kept on disk where the contestant has one. Then both sides' entries
are compared by hash with what was to be replicated. An update's time runs from the source's asking its library
to write until the target reads the new value; the next is written when that was seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cis.bench.figures import BenchFailed, percentile
from cis.bench.pair import Child
from cis.bench.workload import Workload
from cis.model import SpaceId

VALUE_BYTES = 200
KEYS = 50
"""Updates overwrite so many keys in turn."""
WARM_UP = 10
FILL_LIMITS = 4
"""Filling is not what is measured: it may take so many times the limit."""
REASON_MAX = 200
UPDATE_S = 30.0
_OPEN_S = 120.0
_MARGIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Task:
    """What every contestant is asked to do; ``limit_s`` bounds the replication, and all updates together."""

    entries: int
    updates: int
    pause_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one contestant did; ``arrived`` is less than was asked for where the limit came first."""

    entries: int
    arrived: int
    elapsed_s: float
    fill_s: float
    seen_ms: list[float] = field(default_factory=list)
    """Of each update: from the asking to write until it is read on the other side."""
    written_ms: list[float] = field(default_factory=list)
    """Of each update: until the source's library calls it written."""
    peak_rss_mb: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    trouble: str = ""
    """Why no update was timed, though all entries arrived."""

    @property
    def complete(self) -> bool:
        """Whether everything arrived in time."""
        return self.arrived >= self.entries

    @property
    def entries_per_s(self) -> float:
        """How quickly entries arrived."""
        return self.arrived / self.elapsed_s if self.elapsed_s else 0.0

    def seen(self, percent: float) -> float:
        """Return a percentile of the milliseconds until an update was seen."""
        return percentile(self.seen_ms, percent)

    def written(self, percent: float) -> float:
        """Return a percentile of the milliseconds until an update was written."""
        return percentile(self.written_ms, percent)


def write_entries(path: Path, entries: int) -> str:
    """Write the entries, one ``[key, value]`` a line; returns the hash both sides must come to."""
    writes = Workload(entries, value_bytes=VALUE_BYTES).writes(SpaceId(bytes(16)))
    digest, found = hashlib.sha256(), [(write.content.key, write.content.value.decode()) for write in writes]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in found))
    for key, value in sorted(found):
        digest.update(f"{key}\0{value}\n".encode())
    return digest.hexdigest()


def compete(start: Callable[[], Child], task: Task, folder: Path) -> Outcome:
    """Have both sides do the task; `BenchFailed` where one fails, or what arrived is not what was sent."""
    file = folder / "entries.jsonl"
    expected = write_entries(file, task.entries)
    with start() as source, start() as target:
        contest = _Contest(source, target, task, folder)
        versions = contest.open()
        filled = source.ask("fill", FILL_LIMITS * task.limit_s + _MARGIN_S, file=str(file))
        pulled = target.ask(
            "pull", task.limit_s + _MARGIN_S, mark=filled["mark"], entries=task.entries, limit_s=task.limit_s
        )
        outcome = Outcome(
            entries=task.entries,
            arrived=pulled["entries"],
            elapsed_s=pulled["elapsed_s"],
            fill_s=filled["elapsed_s"],
            peak_rss_mb={side: peak_rss_mb(child.pid) for side, child in (("source", source), ("target", target))},
            versions=versions,
        )
        if outcome.complete:
            contest.compare(expected)
            try:
                contest.updates(outcome)
            except BenchFailed as failure:
                return replace(outcome, seen_ms=[], trouble=reason_of(failure))
        return outcome


class _Contest:
    def __init__(self, source: Child, target: Child, task: Task, folder: Path) -> None:
        self._source, self._target, self._task, self._folder = source, target, task, folder

    def open(self) -> dict[str, str]:
        """Start both and tell each of the other; returns the versions of what they are made of."""
        opened = {}
        for side, child in (("source", self._source), ("target", self._target)):
            (self._folder / side).mkdir()
            opened[side] = child.ask("open", _OPEN_S, folder=str(self._folder / side), side=side)
        self._source.ask("meet", _OPEN_S, card=opened["target"]["card"])
        self._target.ask("meet", _OPEN_S, card=opened["source"]["card"])
        versions: dict[str, str] = opened["source"]["versions"]
        return versions

    def compare(self, expected: str) -> None:
        for side, child in (("source", self._source), ("target", self._target)):
            held = child.ask("digest", self._task.limit_s + _MARGIN_S)
            if held != {"entries": self._task.entries, "sha256": expected}:
                raise BenchFailed(f"the {side} holds {held['entries']:,} entries, and not those that were written")

    def updates(self, outcome: Outcome) -> None:
        """Add the milliseconds until each update was seen, and until it was written."""
        deadline = time.monotonic() + self._task.limit_s
        for number in range(WARM_UP + self._task.updates if self._task.updates else 0):
            update = {"key": f"live/{number % KEYS:02d}", "value": f"update {number}"}
            self._target.send("expect", **update)
            time.sleep(self._task.pause_s)  # the target is waiting by then, and nothing is under way
            written = self._source.ask("put", UPDATE_S, **update)
            seen_at_s = self._target.answer(UPDATE_S)["seen_at_s"]
            if number >= WARM_UP:
                outcome.seen_ms.append((seen_at_s - written["began_at_s"]) * 1e3)
                outcome.written_ms.append((written["written_at_s"] - written["began_at_s"]) * 1e3)
            if time.monotonic() > deadline:
                break


def peak_rss_mb(pid: int) -> float:
    """Return the most memory a process and those it started held, each by itself, in MB of 10⁶ bytes; Linux tells."""
    kib = 0
    with contextlib.suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        kib = int(lines.get("VmHWM", "0").split()[0])
    started = (int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in _words(file))
    return kib * 1024 / 1e6 + sum(peak_rss_mb(child) for child in started)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def reason_of(failure: Exception) -> str:
    """Return what went wrong on one short line."""
    return next(iter(str(failure).splitlines()), type(failure).__name__)[:REASON_MAX]


def median_outcome(outcomes: list[Outcome]) -> Outcome:
    """Return the run whose rate is the median, the slower of two in the middle."""
    return sorted(outcomes, key=lambda one: (one.complete, one.entries_per_s))[(len(outcomes) - 1) // 2]
