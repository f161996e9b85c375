"""The documentation says what is there: every command and setting, no command or option that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from cis.apps.cli.main import app
from tools import docs_reference

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "tutorials", "how-to", "explanation")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / "docs" / folder).glob("*.md")))]
_BLOCK = re.compile(r"^```console$(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\w+\$ )?(cis .*?)(?:\s+#.*)?$", re.MULTILINE)
_INLINE = re.compile(r"`(cis [a-z][^`…]*)`")


def commands_in(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = "".join(_BLOCK.findall(text))
    return [*_COMMAND.findall(blocks), *_INLINE.findall(_BLOCK.sub("", text))]


def test_the_reference_pages_are_those_the_code_makes_and_no_link_is_dead() -> None:
    assert docs_reference.main(["--check"]) == 0


def test_the_site_leads_to_every_page_and_to_no_other() -> None:
    listed = re.findall(r"^\s*- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_the_readme_shows_commands_at_all() -> None:
    assert len(commands_in(ROOT / "README.md")) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_a_page_shows_exists(page: Path) -> None:
    for line in commands_in(page):
        command, path = typer.main.get_command(app), ["cis"]
        for word in shlex.split(line.partition(" -- ")[0])[1:]:
            if word.startswith("--"):
                known = {name for parameter in command.params for name in parameter.opts}
                assert word.partition("=")[0] in known, f"{page.name}: {line!r} has an option {' '.join(path)} lacks"
            elif hasattr(command, "commands") and word in command.commands:
                command, path = command.commands[word], [*path, word]
        runs = not getattr(command, "commands", None) or command.invoke_without_command
        assert runs, f"{page.name}: {line!r} names no command"
