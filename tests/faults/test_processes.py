"""A few of each fault of real nodes; `kill -9` is in tests/e2e. All of each: `make faults`."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

from faults import clock, descriptors, memory, network, release, sick_disk, slow
from faults.nodes import ROOT
from faults.report import Fault, Report, Task

LOOKED_FOR = "acknowledged writes looked for on every node"


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("module", "count"),
    [(sick_disk, 3), (descriptors, 3), (memory, 3), (slow, 2), (clock, 4), (network, 4)],
    ids=lambda one: one.__name__.rpartition(".")[2] if isinstance(one, ModuleType) else "",
)
def test_nothing_acknowledged_is_lost_and_all_come_to_the_same(module: ModuleType, count: int) -> None:
    fault: Fault = module.FAULT
    if reason := fault.unfit():
        pytest.skip(reason)
    report = fault.perform(Task(1, count))
    assert report.broken == []
    assert report.counts[LOOKED_FOR] > 0


@pytest.mark.timeout(400)
def test_a_member_on_the_previous_release_is_understood_and_can_be_updated() -> None:
    if reason := release.FAULT.unfit():
        pytest.skip(reason)
    report = release.FAULT.perform(Task(1, 1))
    assert report.broken == []
    assert report.counts["memories that both hold after the update"] == 2


def test_what_is_raised_counts_as_broken_and_keeps_the_counts() -> None:
    def run(_: Task, report: Report) -> None:
        report.counts["done"] += 1
        raise ValueError("of this")

    report = Fault("nothing", 1, "times", run).perform(Task(1, 1))
    (found,) = report.broken
    assert report.counts["done"] == 1
    assert found.startswith("the run ended early: Traceback")
    assert "ValueError: of this" in found
    assert "of this" in report.text()


def test_the_command_prints_counts_as_json_and_ends_with_0_where_nothing_is_broken() -> None:
    command = [sys.executable, "-m", "faults.power", "--count", "2", "--seed", "9", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=100)
    assert ended.returncode == 0, ended
    said = json.loads(ended.stdout)
    assert (said["fault"], said["seed"], said["power failures"], said["broken"]) == ("power failure", 9, 2, [])
