"""`cis bench` as it is installed: what it prints is of the run it made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Home


def test_limits_prints_each_operation_beside_its_bound_as_json(new_home: Callable[[str], Home]) -> None:
    home = new_home("none")
    sizes = ("--memories", "100", "--writes", "5", "--changesets", "20")
    made = home.json("bench", "limits", *sizes, "--only", "write,verify")
    assert {row["operation"] for row in made["rows"]} == {
        "durable write, one at a time", "verify, each signed", "verify, runs under one signature",
    }  # fmt: skip
    for row in made["rows"]:
        assert row["ratio"] == pytest.approx(row["ours"] / row["limit"], rel=0.01)
    assert not home.path.exists()


def test_limits_names_the_operations_there_are(new_home: Callable[[str], Home]) -> None:
    ended = new_home("none").run("bench", "limits", "--only", "dance")
    assert ended.code == 2
    assert "no operation dance: there are sync, write" in ended.err
