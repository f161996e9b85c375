"""Whatever cis tells its user to type exists: commands named in messages, with the arguments and options they take."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cis.apps.cli.main import app

SOURCES = Path(__file__).resolve().parents[2] / "src" / "cis"
_NAMED = re.compile(r"\bcis((?: +[a-z][a-z0-9-]*)+)((?: +(?:--[a-z-]+|[A-Z][A-Z@:]+(?![a-z])))*)")
ROOT = typer.main.get_command(app)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a module; what an f-string fills in stands as NAME."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "NAME" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def wrong(text: str) -> Iterator[str]:
    """Yield the commands named in a text that there are not, or not so."""
    for named in _NAMED.finditer(text):
        command, words = ROOT, named[1].split()
        while words and words[0] in (known := getattr(command, "commands", {})):
            command = known[words.pop(0)]
        if command is ROOT:  # a sentence about cis
            continue
        is_group = bool(getattr(command, "commands", None))
        takes_arguments = any(one.param_type_name == "argument" for one in command.params)
        options = {"--help", *(name for one in command.params for name in one.opts)}
        given = named[2].split()
        unknown = [word for word in given if word.startswith("--") and word not in options]
        misplaced = bool(given) and not given[0].startswith("--") and not takes_arguments and not is_group
        if (is_group and words) or unknown or misplaced:
            yield named[0]


@pytest.mark.parametrize("folder", sorted(one.name for one in SOURCES.iterdir() if one.is_dir() and one.name[0] != "_"))
def test_commands_named_in_messages_exist_and_take_what_is_named(folder: str) -> None:
    paths = sorted((SOURCES / folder).rglob("*.py"))
    found = {
        f"{path.relative_to(SOURCES)}:{line}": one
        for path in paths
        for line, text in texts(path)
        for one in wrong(text)
    }
    assert found == {}


def test_a_command_that_there_is_not_would_be_found() -> None:
    assert list(wrong("run cis p2p sync NODE")) != []
    assert list(wrong("run cis p2p sync --nobody")) != []
    assert list(wrong("run cis memory forget KEY")) != []
    assert list(wrong("run cis p2p sync --node NAME, or cis p2p connect NAME")) == []
