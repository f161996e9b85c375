"""One target hunted: by atheris in a process of its own where it is installed, else blindly in this one.

libFuzzer ends its process with the hunt, and what it instruments it has to import first, so the child is
``python -m fuzz.hunting TARGET FOLDER FLAG…``, and what it found is read from what it says.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.corpus import CRASHES, ROOT, kept, name_of, working
from fuzz.mutating import Mutator, several
from fuzz.registry import find
from fuzz.target import SCRATCH, Target, in_memory

INPUT_S_MAX = 60
RSS_MB_MAX = 2048
BATCH = 100
LINES_MAX = 60
_STATUS = re.compile(rb"^#(\d+).*?cov: (\d+)", re.MULTILINE)
_UNITS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(rb"stat::peak_rss_mb:\s*(\d+)")
_WRITTEN = re.compile(rb"Test unit written to (\S+)")


@dataclass(frozen=True)
class Hunt:
    """What became of one: ``edges`` covered and ``peak_mb`` are 0 where nothing measured them.

    ``cpu_s`` is the processor's time, the start included, so that figures of a busy machine can be compared.
    """

    target: str
    inputs: int
    cpu_s: float
    edges: int = 0
    peak_mb: int = 0
    crash: Path | None = None
    said: str = ""

    @property
    def per_s(self) -> float:
        """Inputs a second of processor time."""
        return self.inputs / self.cpu_s if self.cpu_s else 0.0


def is_guided() -> bool:
    """Tell whether atheris is here."""
    return importlib.util.find_spec("atheris") is not None


def hunt(target: Target, *, runs: int | None, seconds: float | None, seed: int) -> Hunt:
    """Try inputs until so many were tried, so long was spent, or one was found that must not be."""
    return _guided(target, runs, seconds, seed) if is_guided() else _blind(target, runs, seconds, seed)


def _guided(target: Target, runs: int | None, seconds: float | None, seed: int) -> Hunt:
    CRASHES.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-artifact_prefix={CRASHES}/{target.name}-",
        f"-max_len={target.bytes_max}",
        f"-seed={seed}",
        f"-timeout={INPUT_S_MAX}",
        f"-rss_limit_mb={RSS_MB_MAX}",
        "-print_final_stats=1",
        *([f"-runs={runs}"] if runs is not None else []),
        *([f"-max_total_time={max(1, round(seconds))}"] if seconds is not None else []),
    ]
    folder = working(target)
    before = _cpu_of_children()
    command = [sys.executable, "-m", "fuzz.hunting", target.name, str(folder), *flags]
    with tempfile.TemporaryDirectory(prefix="cis-fuzz-", dir=in_memory()) as place:
        environment = {**os.environ, SCRATCH: place}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)  # noqa: S603 - ours
    spent = _cpu_of_children() - before
    written = _WRITTEN.search(done.stderr)
    statuses = _STATUS.findall(done.stderr)
    return Hunt(
        target.name,
        _number(_UNITS, done.stderr) or max((int(count) for count, _ in statuses), default=0),
        spent,
        max((int(edges) for _, edges in statuses), default=0),
        _number(_PEAK, done.stderr),
        Path(written[1].decode()) if written else None,
        "" if done.returncode == 0 else _told(done.stdout + done.stderr),
    )


def _blind(target: Target, runs: int | None, seconds: float | None, seed: int) -> Hunt:
    chance = Random(seed)
    mutator, seeds = Mutator(chance, target.bytes_max), [*target.seeds(), *kept(target)]
    began, cpu, tried = time.monotonic(), time.process_time(), 0
    waiting = list(seeds)
    while (runs is None or tried < runs) and (seconds is None or time.monotonic() - began < seconds):
        waiting = waiting or several(seeds, mutator, chance, BATCH)
        data = waiting.pop()
        tried += 1
        try:
            target.try_one(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was hunted for
            CRASHES.mkdir(parents=True, exist_ok=True)
            path = CRASHES / f"{target.name}-crash-{name_of(data)}"
            path.write_bytes(data)
            return Hunt(target.name, tried, time.process_time() - cpu, crash=path, said=repr(error))
    return Hunt(target.name, tried, time.process_time() - cpu)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _told(said: bytes) -> str:
    """Return what was found without the progress before it."""
    lines = said.decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if not line.startswith(("#", "INFO", "WARNING", "stat::"))][-LINES_MAX:])


def _number(pattern: re.Pattern[bytes], said: bytes) -> int:
    found = pattern.search(said)
    return int(found[1]) if found else 0


def _child(name: str, *flags: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["cis"]):
        target = find(name)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        size = min(size_max, target.bytes_max)
        return Mutator(Random(seed), size, lambda part: atheris.Mutate(part, size)).mutated(data)

    def cross(one: bytes, other: bytes, size_max: int, seed: int) -> bytes:
        return Mutator(Random(seed), min(size_max, target.bytes_max)).crossed(one, other)

    atheris.Setup([sys.argv[0], *flags], target.try_one, custom_mutator=mutate, custom_crossover=cross)
    atheris.Fuzz()


if __name__ == "__main__":
    _child(*sys.argv[1:])
