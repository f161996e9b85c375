"""Clocks jump, while nodes run: forward and back, by up to hours, each node's by itself.

What is dated ahead waits at the others for its time, so in the end all clocks are set to the latest there was.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from faults.nodes import Crowd, Node, cluster, trial
from faults.report import Fault, Report, Task, main

JUMP_MAX_S = 7200
_EVERY_S = 2.0
# `time` as every module of the process sees it: this runs before any of them is loaded.
_SKEWED = """
import pathlib, time
_file, _ns, _s = pathlib.Path({file!r}), time.time_ns, time.time
_skew_s = lambda: float(_file.read_text())
time.time_ns = lambda: _ns() + int(_skew_s() * 1e9)
time.time = lambda: _s() + _skew_s()
"""


def _skew_of(node: Node) -> Path:
    return node.home.with_suffix(".skew")


def _set(node: Node, seconds: float) -> None:
    """Set a clock, in one step: a reader sees the old or the new."""
    fresh = node.home.with_suffix(".skew-new")
    fresh.write_text(str(seconds), encoding="ascii")
    fresh.replace(_skew_of(node))


async def _jump(crowd: Crowd, count: int) -> None:
    async for _ in crowd.rounds(count, _EVERY_S):
        _set(crowd.rng.choice(crowd.nodes), crowd.rng.uniform(-JUMP_MAX_S, JUMP_MAX_S))
        crowd.counts["clocks that jumped"] += 1
    await crowd.while_writing(_EVERY_S)
    for node in crowd.nodes:
        _set(node, JUMP_MAX_S)


def run(task: Task, report: Report) -> None:
    """Have clocks jump that often."""
    with cluster("first", "second", "third") as nodes:
        for node in nodes:
            patch = node.home.with_suffix(".patch")
            patch.mkdir()
            (patch / "sitecustomize.py").write_text(_SKEWED.format(file=str(_skew_of(node))), encoding="utf-8")
            node.variables["PYTHONPATH"] = str(patch)
            _set(node, 0)
        asyncio.run(trial(task, report, nodes, _jump))


FAULT = Fault("clock jumps", 100, "times that a clock jumps", run)

if __name__ == "__main__":
    main(FAULT)
