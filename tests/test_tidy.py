"""The size and shape limits of the house, held by a test; an exception is one line with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_METHODS = 20

# "path: rule: name" -> the reason. A line that no longer excuses anything fails a test below.
EXCEPTIONS: dict[str, str] = {}

_SPAWNERS = {"asyncio.create_task", "asyncio.ensure_future", "ensure_future", "create_task"}
_LOOPS = {"asyncio.get_running_loop()", "asyncio.get_event_loop()", "get_running_loop()", "get_event_loop()"}
_SILENCER = re.compile(r"#\s*(?:type:\s*ignore|noqa)(?P<code>[^#]*)(?P<reason>#.*)?$")
_LATER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


@dataclass(frozen=True)
class Finding:
    """One broken rule."""

    path: str
    line: int
    rule: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.path}: {self.rule}: {self.name}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.name}"


def findings_in(path: str, text: str) -> list[Finding]:
    """Every broken rule of one Python file; ``path`` is relative to the repository."""
    tree = ast.parse(text)
    found = [*_sizes(path, text, tree), *_words(path, text)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += _call(path, node)
    return found


def _sizes(path: str, text: str, tree: ast.Module) -> Iterator[Finding]:
    if (lines := text.count("\n")) > FILE_LINES:
        yield Finding(path, 1, f"file over {FILE_LINES} lines", str(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                yield Finding(path, node.lineno, f"function over {FUNCTION_LINES} lines", node.name)
        elif isinstance(node, ast.ClassDef):
            methods = sum(isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body)
            if methods > CLASS_METHODS:
                yield Finding(path, node.lineno, f"class over {CLASS_METHODS} methods", node.name)


def _words(path: str, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if later := _LATER.search(line):
            yield Finding(path, number, "unfinished", later.group())
        silencer = _SILENCER.search(line)
        if silencer and not (re.match(r"(?:\[|:\s*[A-Z])", silencer["code"]) and _reasoned(silencer)):
            yield Finding(path, number, "silenced without code and reason", line.strip()[:60])


def _reasoned(silencer: re.Match[str]) -> bool:
    """Whether words follow the code: ``# noqa: S104 - why`` or ``# type: ignore[arg-type]  # why``."""
    after = re.sub(r"^(?:\[[a-z, -]+\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)", "", silencer["code"])
    return bool(re.search(r"\w{2,}", after + (silencer["reason"] or "")))


def _call(path: str, node: ast.Call) -> Iterator[Finding]:
    called = ast.unparse(node.func)
    receiver, _, method = called.rpartition(".")
    if called in _SPAWNERS or (method == "create_task" and (receiver in _LOOPS or receiver.endswith("loop"))):
        yield Finding(path, node.lineno, "task outside a TaskGroup", called)
    if path.startswith("tests/"):
        fixed = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value != 0
        if called == "time.sleep" or (called == "asyncio.sleep" and fixed):
            yield Finding(path, node.lineno, "fixed sleep in a test", called)


def _all_findings() -> list[Finding]:
    found: list[Finding] = []
    for folder in ("src", "tests", "tools", "examples", "bench", "faults", "fuzz", "mutation", "soak"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            found += findings_in(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    return found


def test_every_file_keeps_the_limits() -> None:
    broken = [str(finding) for finding in _all_findings() if finding.key not in EXCEPTIONS]
    assert not broken, "\n" + "\n".join(broken)


def test_every_exception_is_still_needed_and_has_a_reason() -> None:
    needed = {finding.key for finding in _all_findings()}
    assert [key for key, reason in EXCEPTIONS.items() if key not in needed or len(reason) < 10] == []


_MANY_METHODS = "class Crowd:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(CLASS_METHODS + 1))
_LONG_FUNCTION = "def long():\n" + "    x = 1\n" * FUNCTION_LINES
_PLANTED = [
    ("file over", "x = 1\n" * (FILE_LINES + 1)),
    ("function over", _LONG_FUNCTION),
    ("class over", _MANY_METHODS),
    ("task outside", "asyncio.create_task(work())\n"),
    ("task outside", "asyncio.ensure_future(work())\n"),
    ("task outside", "self._loop.create_task(work())\n"),
    ("task outside", "asyncio.get_running_loop().create_task(work())\n"),
    ("fixed sleep", "time.sleep(delay)\n"),
    ("fixed sleep", "await_ = asyncio.sleep(0.5)\n"),
    ("unfinished", "# TO" + "DO: later\n"),
    ("silenced", "x = y  # no" + "qa\n"),
    ("silenced", "x = y  # no" + "qa: S104\n"),
    ("silenced", "x = y  # type: ig" + "nore\n"),
    ("silenced", "x = y  # type: ig" + "nore[arg-type]\n"),
]


@pytest.mark.parametrize(("rule", "text"), _PLANTED)
def test_a_planted_violation_is_found(rule: str, text: str) -> None:
    assert [finding for finding in findings_in("tests/planted.py", text) if finding.rule.startswith(rule)]


_ALLOWED = [
    "group.create_task(work())\n",
    "self._tasks.create_task(work())\n",
    "asyncio.sleep(0)\n",
    "x = y  # no" + "qa: S104 - listening to all is what was asked for\n",
    "x = y  # type: ig" + "nore[arg-type]  # the stub is wrong about None\n",
]


@pytest.mark.parametrize("text", _ALLOWED)
def test_what_is_allowed_is_not_reported(text: str) -> None:
    assert findings_in("tests/planted.py", text) == []
