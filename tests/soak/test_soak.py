"""A short soak of real nodes, and what is made of a long one; an hour of it: `make soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from faults.ledger import Added, Kept, Tried
from faults.nodes import ROOT
from soak.load import Load, missing
from soak.report import WARM_UP_S, Report, report_of, text_of
from soak.run import Ending, Line, Looked, Plan, Setting, keep, lines_of
from soak.sampling import Sample
from soak.trend import intercept, slope


@pytest.mark.timeout(400)
def test_nodes_under_load_that_go_and_come_back_lose_nothing_and_are_told_of(tmp_path: Path) -> None:
    record, figures = tmp_path / "soak.jsonl", tmp_path / "figures"
    command = "-m soak --minutes 0.3 --nodes 3 --writes 4 --sample 2 --churn 4 --archive 50 --json"
    written = [f"--record={record}", f"--figures={figures}"]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, *command.split(), *written],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
        timeout=380,
    )
    assert ended.returncode == 0, ended
    said = json.loads(ended.stdout)
    assert (said["broken"], said["judged"]) == ([], False)
    assert said["counts"]["acknowledged writes"] > 0
    assert said["counts"].get("nodes stopped", 0) + said["counts"].get("nodes killed", 0) > 0
    assert {one["node"] for one in said["growth"]} == {"node1", "node2"}
    samples = [line.sample for line in lines_of(record) if isinstance(line, Looked)]
    assert all(one.rss >= one.anonymous > 0 and one.descriptors > 0 and one.tasks > 0 for one in samples)
    assert "Too short to judge" in (figures / "soak.md").read_text(encoding="utf-8")
    assert (figures / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_a_slope_is_that_of_most_points() -> None:
    points = [(float(at), 5.0 + 2.0 * at) for at in range(20)]
    points[7] = (7.0, 900.0)
    assert slope(points) == pytest.approx(2.0)
    assert intercept(points, 2.0) == pytest.approx(5.0)
    assert slope([(1.0, 3.0), (1.0, 4.0)]) is None


def steady(_: float) -> dict[str, float]:
    return {}


def recorded(grows: Callable[[float], dict[str, Any]], *broken: str, seconds: int = 3600) -> Report:
    """The report of a run of one node, whose samples are what a function of the time says, over a steady rest."""
    still = Sample(
        at_s=0.0,
        node="node1",
        life=1,
        rss=90.0,
        pss=80.0,
        anonymous=60.0,
        threads=11,
        cpu_s=1.0,
        descriptors=38,
        tasks=36,
        blocks=350_000,
        sqlite=5.0,
        memories=700,
        memory_db=9.0,
        index_db=4.0,
        log=0.0,
    )
    times = range(10, seconds + 1, 10)
    samples = [msgspec.structs.replace(still, at_s=float(at), cpu_s=at / 50, **grows(float(at))) for at in times]
    setting = Setting(
        plan=Plan(),
        staying=("node1",),
        date="",
        version="",
        python="",
        system="",
        processors=2,
        load=0.0,
    )
    lines: list[Line] = [setting, *map(Looked, samples), Ending(seconds=seconds, counts={}, broken=broken)]
    return report_of(lines)


def test_memory_that_grows_by_over_a_mebibyte_an_hour_is_found() -> None:
    report = recorded(lambda at: {"rss": 90.0 + 1.5 * at / 3600})
    assert report.failed
    assert "rss grows by 1.50" in text_of(report)
    assert not recorded(lambda at: {"rss": 90.0 + 0.8 * at / 3600}).failed


def test_what_grows_while_it_warms_up_is_allowed() -> None:
    assert not recorded(lambda at: {"rss": 90.0 + min(at, WARM_UP_S) / 10}).failed


@pytest.mark.parametrize("what", ["descriptors", "tasks", "threads"])
def test_descriptors_tasks_and_threads_that_are_left_behind_are_found(what: str) -> None:
    report = recorded(lambda at: {what: 30 + int(at) // 600})
    assert [found.split(":")[1].split()[0] for found in report.exceeded] == [what]


def test_a_run_that_is_short_is_not_judged_by_what_grows_but_by_what_broke() -> None:
    assert not recorded(lambda at: {"rss": 90.0 + at}, seconds=300).failed
    assert recorded(steady, "node1 lost a write", seconds=300).failed


def test_a_run_that_was_cut_off_is_no_run(tmp_path: Path) -> None:
    tell = keep(tmp_path / "record")
    tell(recorded(steady).setting)
    with pytest.raises(ValueError, match="came to its end"):
        report_of(lines_of(tmp_path / "record"))


class Shows:
    """What a node shows: texts and counters by key, and one set."""

    def __init__(self, values: dict[str, object], elements: tuple[str, ...]) -> None:
        self.values = values
        self.elements = elements

    async def get(self, key: str) -> Any:
        return SimpleNamespace(value=self.values[key]) if key in self.values else None

    async def members(self, _: str) -> Any:
        return self.elements


@pytest.mark.parametrize(
    ("values", "elements", "found"),
    [
        ({"own/one/1": "new", "count/0": 5}, ("element 1",), []),
        ({"own/one/1": "tried", "count/0": 8}, ("element 1",), []),
        ({"own/one/1": "old", "count/0": 5}, ("element 1",), ["own/one/1"]),
        ({"count/0": 5}, ("element 1",), ["own/one/1"]),
        ({"own/one/1": "new", "count/0": 4}, ("element 1",), ["count/0"]),
        ({"own/one/1": "new", "count/0": 5}, (), ["set/one#element"]),
    ],
)
async def test_what_was_acknowledged_and_is_not_shown_is_missing(
    values: dict[str, object], elements: tuple[str, ...], found: list[str]
) -> None:
    load = Load([SimpleNamespace(name="one")], 1, 1.0)
    for number, value in enumerate([b"old", b"new"], 1):
        load.ledger.hear(Tried(number, "own/one/1", value))
        load.ledger.hear(Kept(number))
    load.ledger.hear(Tried(3, "own/one/1", b"tried"))
    load.ledger.hear(Added(4, "count/0", 5))
    load.ledger.hear(Kept(4))
    load.ledger.hear(Added(5, "count/0", 3))
    load.ledger.hear(Tried(6, "set/one#element 1", b"in"))
    load.ledger.hear(Kept(6))
    assert [one.split()[0] for one in await missing(load, Shows(values, elements))] == found
