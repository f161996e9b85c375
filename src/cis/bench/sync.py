"""``cis bench sync``: an empty node pulls everything another holds, over QUIC, verified, sealed, durable.

Both are processes of their own, opened afresh before the clock starts. It runs from the asking for a
connection to the last acknowledgement. In the same run the same rows are written in bulk on one node, through
the full local path, and a bare qh3 pair moves as many bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cis.bench.bare_pair import Yardstick
from cis.bench.figures import BenchFailed, median, ratio, say
from cis.bench.pair import ANSWER_S, Child
from cis.bench.settled import settle_limit_s
from cis.bench.two_nodes import CONNECT_S, TwoNodes, found_cluster, run_both
from cis.bench.workload import Workload
from cis.errors import UsageError

SERVING_STAGES = ("read", "encode")
PULLING_STAGES = ("decode", "verify", "merge", "index", "fold")
LOCAL_STAGES = ("compose", "seal", "merge")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Medians over the runs; ratios are medians of each run's own."""

    memories: int
    value_bytes: int
    vector_dim: int
    onto: int
    single: bool
    runs: int
    memories_per_s: float
    mb_per_s: float
    elapsed_s: float
    segment_bytes: int
    local_memories_per_s: float
    indexed_per_s: float
    """of what was written locally, from the first write until the index held the last, and all rows were folded"""
    ratio_local_bulk: float
    bare_mb_per_s: float
    ratio_bare_quic: float
    peak_rss_mb: dict[str, float]
    shares: dict[str, float]
    """Of the time the sync took, each stage by the clock on the wall; of `seal`, of the local write. They run side
    by side, so they need not add up to one; the largest is what limits. `net` is the loops' processor time."""
    cpu_shares: dict[str, float]
    """Of both processes' processor time, each stage."""
    local_shares: dict[str, float]
    state_hash: dict[str, str]
    in_step: bool


@dataclass(frozen=True, slots=True)
class _Run:
    local: dict[str, Any]
    pull: dict[str, Any]
    serving: dict[str, Any]
    usage: dict[str, dict[str, float]]
    bare_s: float
    states: dict[str, dict[str, Any]] = field(default_factory=dict)


def bench_sync(workload: Workload, *, single: bool = False, runs: int = 1, keep: Path | None = None) -> SyncResult:
    """Measure; the homes of the last run stay in ``keep``. `BenchFailed` where a count is wrong."""
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is not empty: name a folder to be made")
    done = []
    with Yardstick("bare") as bare:
        for number in range(runs):
            say(f"run {number + 1} of {runs}: {workload.memories:,} memories")
            with _folder(keep if number == runs - 1 else None) as folder:
                done.append(_run(workload, folder, bare, single=single))
    return _summary(workload, done, single=single)


def _run(workload: Workload, folder: Path, bare: Yardstick, *, single: bool) -> _Run:
    serving, pulling = folder / "serving", folder / "pulling"
    found_cluster(serving, pulling)
    if workload.onto:
        _bring_base(workload, serving, pulling)
    say(f"  writing {workload.memories:,} locally …")
    local = _write(serving, workload, "writes", single=single)
    say("  pulling …")
    with run_both(serving, pulling) as nodes:
        before = nodes.serving.ask("mark")
        pull = nodes.connect()
        marked = nodes.serving.ask("mark")
        marked["stages"]["net"] = {"cpu_s": marked["loop_cpu_s"] - before["loop_cpu_s"]}
        usage = {"serving": marked, "pulling": nodes.pulling.ask("mark")}
        states = _states(nodes)
    _require(pull["changes"], workload.memories, "changes were pulled")
    for side, state in states.items():
        _require(state["memories"], workload.distinct, f"memories are in the {side} node")
    return _Run(local, pull, marked["stages"], usage, bare.send(pull["bytes"]), states)


def _bring_base(workload: Workload, serving: Path, pulling: Path) -> None:
    """Let both nodes hold what is there already."""
    say(f"  preparing {workload.onto:,} memories on both sides …")
    _write(serving, workload, "base", single=False)
    with run_both(serving, pulling) as nodes:
        pull = nodes.connect()
        for node in (nodes.serving, nodes.pulling):
            node.send("settle")
        for node in (nodes.serving, nodes.pulling):
            node.answer(CONNECT_S)
    _require(pull["changes"], workload.onto, "changes were pulled beforehand")


def _write(home: Path, workload: Workload, part: str, *, single: bool) -> dict[str, Any]:
    with Child("node") as node:
        node.ask("open", home=str(home))
        written = node.ask("write", CONNECT_S, workload=dataclasses.asdict(workload), part=part, single=single)
        if part == "writes":
            limit_s = settle_limit_s(workload.distinct)
            written["settle_s"] = node.ask("settle", limit_s + ANSWER_S, limit_s=limit_s)["elapsed_s"]
    return written


def _states(nodes: TwoNodes) -> dict[str, dict[str, Any]]:
    return {"serving": nodes.serving.ask("state", CONNECT_S), "pulling": nodes.pulling.ask("state", CONNECT_S)}


def _summary(workload: Workload, runs: list[_Run], *, single: bool) -> SyncResult:
    elapsed = [run.pull["elapsed_s"] for run in runs]
    rates = [workload.memories / one for one in elapsed]
    local = [workload.memories / run.local["elapsed_s"] for run in runs]
    indexed = [workload.memories / (run.local["elapsed_s"] + run.local["settle_s"]) for run in runs]
    speeds = [run.pull["bytes"] / run.pull["elapsed_s"] / 1e6 for run in runs]
    bare = [run.pull["bytes"] / run.bare_s / 1e6 for run in runs]
    hashes = {side: state["hash"] for side, state in runs[-1].states.items()}
    return SyncResult(
        memories=workload.memories,
        value_bytes=workload.value_bytes,
        vector_dim=workload.vector_dim,
        onto=workload.onto,
        single=single,
        runs=len(runs),
        memories_per_s=median(rates),
        mb_per_s=median(speeds),
        elapsed_s=median(elapsed),
        segment_bytes=runs[-1].pull["bytes"],
        local_memories_per_s=median(local),
        indexed_per_s=median(indexed),
        ratio_local_bulk=median([ratio(*pair) for pair in zip(rates, local, strict=True)]),
        bare_mb_per_s=median(bare),
        ratio_bare_quic=median([ratio(*pair) for pair in zip(speeds, bare, strict=True)]),
        peak_rss_mb={side: max(run.usage[side]["peak_rss_mb"] for run in runs) for side in hashes},
        shares=_medians([_shares(run) for run in runs]),
        cpu_shares=_medians([_cpu_shares(run) for run in runs]),
        local_shares=_medians([_local_shares(run) for run in runs]),
        state_hash=hashes,
        in_step=all(len({state["hash"] for state in run.states.values()}) == 1 for run in runs),
    )


def _shares(run: _Run) -> dict[str, float]:
    elapsed_s = run.pull["elapsed_s"]
    shares = {name: _spent(run.serving, name) / elapsed_s for name in SERVING_STAGES}
    shares["seal"] = _local_shares(run)["seal"]
    shares["net"] = run.pull["stages"]["net"]["cpu_s"] / elapsed_s
    return shares | {name: _spent(run.pull["stages"], name) / elapsed_s for name in PULLING_STAGES}


def _cpu_shares(run: _Run) -> dict[str, float]:
    pulling = run.pull["stages"]
    spent = {name: _spent(run.serving, name, "cpu_s") for name in SERVING_STAGES}
    spent |= {name: _spent(pulling, name, "cpu_s") for name in ("net", *PULLING_STAGES)}
    spent["net"] += _spent(run.serving, "net", "cpu_s")
    total = sum(spent.values())
    return {name: ratio(one, total) for name, one in spent.items()}


def _local_shares(run: _Run) -> dict[str, float]:
    return {name: _spent(run.local["stages"], name) / run.local["elapsed_s"] for name in LOCAL_STAGES}


def _spent(stages: dict[str, dict[str, float]], name: str, clock: str = "wall_s") -> float:
    return stages[name][clock] if name in stages else 0.0


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: median([row[name] for row in rows]) for name in rows[0]}


def _require(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise BenchFailed(f"{found:,} {what} where {expected:,} were expected")


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        yield Path(folder)
