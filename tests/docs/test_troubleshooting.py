"""The troubleshooting page tells of every check there is, and of none that there is not."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from cis.api.health import explaining, why
from cis.api.health.checkup import HEALTH
from cis.api.health.doctor import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def listed(title: str) -> set[str]:
    """The names in the first column of the table of that title."""
    table = PAGE.partition(f"| {title} |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in row.split("|")[1].strip().split(", ")}


def said_by(modules: Iterable[object]) -> set[str]:
    """The checks that rows made in these modules are of."""
    found: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse(Path(str(vars(module)["__file__"])).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"Row", "_row"}:
                given = [*node.args[:1], *(one.value for one in node.keywords if one.arg == "check")]
                found |= {one.value for one in given if isinstance(one, ast.Constant)}
    return found


@pytest.mark.parametrize(
    ("title", "checks"),
    [
        ("check of `cis doctor`", {name for name, _ in HEALTH}),
        ("check of `cis doctor --security`", {name for name, _ in CHECKS}),
        ("check", said_by([explaining, why])),
    ],
)
def test_every_check_is_told_of(title: str, checks: set[str]) -> None:
    assert checks
    assert listed(title) == checks
