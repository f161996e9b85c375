"""Drawing and counting of changes, and mutmut at work on a tree of a few lines, where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mutation.__main__ import draw, main
from mutation.report import SCORE_MIN, Report, Row, row_of
from mutation.workshop import Verdict, Workshop

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/cis/crdt/*"]
pytest_add_cli_args_test_selection = ["tests"]
"""
CODE = """
def larger(one, other):
    return one if one > other else other


def untested(one):
    return one + 1
"""
TEST = """
from cis.crdt.sizes import larger


def test_larger():
    assert (larger(1, 2), larger(3, 2)) == (2, 3)
"""


def test_the_same_seed_draws_the_same_share_of_each() -> None:
    names = [f"name{number}" for number in range(40)]
    assert draw(names, 0.1, "1 crdt") == draw(names, 0.1, "1 crdt")
    assert draw(names, 0.1, "1 crdt") != draw(names, 0.1, "2 crdt")
    assert [len(draw(names, share, "1")) for share in (0.001, 0.1, 1.0)] == [1, 4, 40]
    assert draw([], 0.1, "1") == []


@pytest.mark.parametrize(
    ("verdicts", "failed"),
    [
        ([Verdict.KILLED] * 17 + [Verdict.SURVIVED] * 3, False),
        ([Verdict.KILLED] * 16 + [Verdict.TIMEOUT] + [Verdict.SURVIVED] * 3, False),
        ([Verdict.KILLED] * 16 + [Verdict.UNREACHED] + [Verdict.SURVIVED] * 3, True),
        ([Verdict.KILLED] * 16 + [Verdict.ODD] + [Verdict.SURVIVED] * 3, True),
    ],
)
def test_a_room_fails_where_its_tests_notice_too_few(verdicts: list[Verdict], failed: bool) -> None:
    assert SCORE_MIN == 0.85
    rows = [row_of("sync", 900, verdicts), Row("crdt", 0, {})]
    assert Report(seed=1, share=0.1, rows=rows, survivors={}, seconds=1.0).failed == failed


def test_the_report_has_a_row_for_each_room_and_shows_what_survived() -> None:
    row = row_of("sync", 900, [Verdict.KILLED, Verdict.KILLED, Verdict.SURVIVED, Verdict.TIMEOUT])
    report = Report(seed=1, share=0.1, rows=[row], survivors={"cis.sync.x": "-a\n+b"}, seconds=2.0)
    assert "| sync | 900 | 4 | 2 | 1 | 1 | 0 | 0 | 75.0% |" in report.text()
    assert "+b" in report.text()
    rooms = report.facts()["rooms"]
    assert isinstance(rooms, dict)
    assert rooms["sync"]["score"] == 0.75


def test_a_room_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["kitchen"])
    assert "there is no room kitchen" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_changes_that_no_test_notices_survive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path(sys.executable).with_name("mutmut").exists():
        pytest.skip("mutmut is not installed here: `make mutation` installs it")
    root = tmp_path / "root"
    for name, text in {
        "src/cis/__init__.py": "",
        "src/cis/crdt/__init__.py": "",
        "src/cis/crdt/sizes.py": CODE,
        "tests/test_sizes.py": TEST,
        "pyproject.toml": SETTINGS,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    shop = Workshop(tmp_path / "shop", root)
    shop.prepare()
    names = shop.names("crdt")
    shop.run(names, jobs=1)
    verdicts = shop.verdicts()
    assert {verdicts[name] for name in names if "untested" in name} == {Verdict.UNREACHED}
    (survivor,) = [name for name in names if verdicts[name] == Verdict.SURVIVED]
    assert "+    return one if one >= other else other" in shop.difference(survivor)
