"""`kill -9` at random moments, of either side, while both write and synchronise: nothing acknowledged is lost."""

from __future__ import annotations

import os

import pytest

from faults import kill
from faults.report import Task

KILLS = int(os.environ.get("CIS_KILLS", "30"))


@pytest.mark.timeout(600)
def test_acknowledged_writes_survive_kills_of_either_side_and_both_converge() -> None:
    report = kill.FAULT.perform(Task(KILLS, KILLS))
    assert report.broken == []
    assert report.counts["processes killed"] == KILLS
    assert report.counts["acknowledged writes looked for on every node"] > KILLS
