"""Where time goes: functions of the node are replaced, in a benchmark's process alone, by ones that are timed.

Production code carries no hooks for this. Times are exclusive: what a timed function spends in another timed
function of the same thread counts for that one. ``wall`` includes waiting for the disk and for Python's lock,
``cpu`` is the thread's own clock.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Stage:
    """What one stage has taken so far."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0


class Stopwatch:
    """Add stages with `watch`; read and clear them with `take`."""

    def __init__(self) -> None:
        self._stages: defaultdict[str, Stage] = defaultdict(Stage)
        self._guard = threading.Lock()
        self._local = threading.local()

    def watch(self, owner: object, name: str, stage: str) -> None:
        """Time every call of ``owner.name`` as that stage; fails where there is no such function."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: object, **options: object) -> object:
            inner = self._inner()
            wall, cpu = time.perf_counter(), time.thread_time()
            inner.append((0.0, 0.0))
            try:
                return function(*arguments, **options)
            finally:
                spent = time.perf_counter() - wall, time.thread_time() - cpu
                within = inner.pop()
                if inner:
                    inner[-1] = inner[-1][0] + spent[0], inner[-1][1] + spent[1]
                self._add(stage, spent[0] - within[0], spent[1] - within[1])

        setattr(owner, name, timed)

    def take(self) -> dict[str, dict[str, float]]:
        """Return what each stage took since the last call."""
        with self._guard:
            stages, self._stages = self._stages, defaultdict(Stage)
        return {name: {"wall_s": one.wall_s, "cpu_s": one.cpu_s, "calls": one.calls} for name, one in stages.items()}

    def _inner(self) -> list[tuple[float, float]]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[tuple[float, float]] = self._local.stack
        return stack

    def _add(self, stage: str, wall_s: float, cpu_s: float) -> None:
        with self._guard:
            kept = self._stages[stage]
            kept.wall_s += wall_s
            kept.cpu_s += cpu_s
            kept.calls += 1


def watch_node() -> Stopwatch:
    """Time the stages of writing, serving and receiving in this process.

    ``read`` and ``encode`` are the serving side's, ``decode``, ``verify`` and ``merge`` (rows, commit and disk)
    the receiving side's, ``compose`` and ``seal`` (encrypt, hash, chain, sign) those of local writes; ``index``
    and ``fold`` run behind.
    """
    from cis.node.streams import syncing
    from cis.store import admission, engine
    from cis.store.author import Author, Draft
    from cis.store.index import Indexer
    from cis.store.log import LogReader

    stopwatch = Stopwatch()
    stopwatch.watch(LogReader, "segment", "read")
    stopwatch.watch(syncing, "encode", "encode")
    stopwatch.watch(admission, "decode", "decode")
    stopwatch.watch(admission, "verify", "verify")
    stopwatch.watch(engine.Engine, "_commit_group", "merge")
    stopwatch.watch(Author, "compose", "compose")
    stopwatch.watch(Draft, "close", "seal")
    stopwatch.watch(Indexer, "_round", "index")
    stopwatch.watch(engine, "compact", "fold")
    return stopwatch
