"""The tables of docs/security.md name tests that exist, and counters that the code counts."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
_TEST = re.compile(r"`(test_\w+)`")
_ROW = re.compile(r"^\| [^|]+ \| (`[^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_COUNTER = re.compile(r"`([a-z_]+)(?:\.([a-z_]+))?`")


def rows() -> list[tuple[str, str, str]]:
    """Where, counter and test of each bound."""
    return _ROW.findall(PAGE)


def test_every_test_it_names_exists() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = sorted(set(_TEST.findall(PAGE)))
    assert len(named) > 40
    missing = [name for name in named if not re.search(rf"^\s*(async )?def {name}\b", written, re.MULTILINE)]
    assert missing == []


def test_every_bound_is_enforced_where_it_says_and_counted_under_that_name() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "cis").rglob("*.py"))
    assert len(rows()) > 20
    for where, counters, tests in rows():
        for place in re.findall(r"`([\w/]+\.py)`", where):
            assert (ROOT / "src" / "cis" / place).is_file(), place
        for group, name in _COUNTER.findall(counters):
            stem = name or re.sub(r"^(closed|handshake)_(?=[a-z]+_?[a-z]*$)", "", group)
            assert f'"{stem}"' in code or f'"{group}"' in code or f"    {stem.upper()} = " in code, counters
        assert _TEST.search(tests) or tests == "same", tests
