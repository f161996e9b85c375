"""mutmut at work in a copy of the tree: what changes there are, which of them the tests notice.

Its names for changes are `cis.ROOM.MODULE.x_FUNCTION__mutmut_NUMBER`; what it found stands in a file
beside each module. Which tests reach which function it learns from one run of all of them. ::

    shop = Workshop(Path("build/mutation"))
    shop.prepare()
    names = shop.names("crdt")
    shop.run(names, jobs=2)
    shop.verdicts()[names[0]]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("crdt", "sync", "trust")
_COPIED = ("src", "tests", "faults", "fuzz", "pyproject.toml")
_NO_CHANGE = "none"
"""A name that no change has: with it mutmut makes all changes, learns what the tests reach, and tries none."""
_STATISTICS = "mutmut-stats.json"


class Verdict(Enum):
    """What became of a change."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    """the tests took 15 times as long as without it, as where a loop no longer ends"""
    SURVIVED = "survived"
    UNREACHED = "unreached"
    """no test reaches the function"""
    ODD = "odd"
    """the process ended in a way of its own"""


_VERDICTS = {
    0: Verdict.SURVIVED,
    1: Verdict.KILLED,
    3: Verdict.KILLED,
    5: Verdict.UNREACHED,
    33: Verdict.UNREACHED,
    **dict.fromkeys((-24, -9, 24, 36, 152, 255), Verdict.TIMEOUT),
}
"""By how pytest, or mutmut for it, ended."""


class Workshop:
    """A folder with a copy of the tree, in which the changes are made and tried."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self._tree = folder
        self._root = root

    def prepare(self, *, keep: bool = False) -> None:
        """Copy the tree, make the changes, learn which tests reach what; with ``keep`` take what is there already.

        Raises RuntimeError where mutmut cannot, or a test fails without any change.
        """
        if not keep:
            shutil.rmtree(self._tree, ignore_errors=True)
        for name in _COPIED:
            source, target = self._root / name, self._tree / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        said = self._mutmut("run", _NO_CHANGE)
        if not (self._tree / "mutants" / _STATISTICS).exists():
            raise RuntimeError(f"mutmut could not begin: {said[-3000:]}")

    def names(self, room: str) -> list[str]:
        """Return the names of all changes of a room, in order."""
        return sorted(name for name in self._codes() if name.startswith(f"cis.{room}."))

    def run(self, names: Sequence[str], jobs: int) -> None:
        """Try these changes, so many at once; raises RuntimeError where some were not tried."""
        said = self._mutmut("run", "--max-children", str(jobs), *names)
        codes = self._codes()
        if left := [name for name in names if codes[name] is None]:
            raise RuntimeError(f"{len(left)} changes were not tried, {left[0]} first: {said[-3000:]}")

    def verdicts(self) -> Mapping[str, Verdict]:
        """Return what became of each change that was tried."""
        return {name: _VERDICTS.get(code, Verdict.ODD) for name, code in self._codes().items() if code is not None}

    def difference(self, name: str) -> str:
        """Return a change as a unified diff."""
        return "\n".join(self._mutmut("show", name).rstrip().splitlines()[1:])

    def _codes(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for file in sorted((self._tree / "mutants").rglob("*.py.meta")):
            found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
        return found

    def _mutmut(self, *words: str) -> str:
        ended = subprocess.run(
            [str(Path(sys.executable).with_name("mutmut")), *words],
            cwd=self._tree,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return ended.stdout.decode(errors="replace")
