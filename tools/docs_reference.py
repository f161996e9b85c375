"""Write ``docs/reference/`` and ``packaging/man/`` from commands and settings themselves; check the links of the docs.

::

    python -m tools.docs_reference            # write and check
    python -m tools.docs_reference --check    # change nothing; exit 1 when out of date or a link is dead
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main

from tools import manual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from typer._click.core import Command, Context, Parameter  # the copy of click that typer carries

    from cis.api.configuration.settings import Row

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MANUAL = ROOT / "packaging" / "man"
_LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)(?P<target>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_ERRORS = """# Errors

Made by `make docs` from the code; do not edit. A command that fails says on one line, which begins with `cis:`, what
happened, to what, and what to do next; [troubleshooting](../troubleshooting.md) goes on from there.

## Exit codes

| code | meaning |
|---:|---|
{codes}

## In Python

All are kinds of `cis.CisError`.

| error | exit code | meaning |
|---|---:|---|
{kinds}

## Why connections are closed

The code travels with the close ([protocol](../protocol.md#layers)); what one node says of another names the word.

| code | word |
|---:|---|
{faults}
"""
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def reference(command: Command, name: str) -> str:
    """The page as Markdown: one section per command, in the order ``--help`` lists them."""
    head = "# The `cis` command\n\nMade by `make docs` from the commands' own help; do not edit.\n"
    return head + "".join(_sections(command, command.context_class(command, info_name=name)))


def _sections(command: Command, context: Context) -> Iterator[str]:
    yield f"\n## `{context.command_path}`\n\n{_plain(command.help)}\n\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{context.command_path} {usage}\n```\n"
    if rows := [row for parameter in command.get_params(context) if (row := _row(parameter, context))]:
        yield "\n| | |\n|---|---|\n" + "".join(f"| `{left}` | {right} |\n" for left, right in rows)
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _sections(child, child.context_class(child, info_name=name, parent=context))


def _row(parameter: Parameter, context: Context) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    return (record[0].replace("|", "\\|"), _plain(record[1]).replace("|", "\\|")) if record else None


def _plain(text: str | None) -> str:
    return re.sub(r"\s*\n(?!\n)\s*", " ", (text or "").replace("\b", "")).strip()


def settings_page(rows: list[Row]) -> str:
    """The settings as Markdown, in the order of ``cis config list``."""
    head = (
        "# Settings\n\nMade by `make docs` from the settings themselves; do not edit. They stand in `config.toml` in "
        "the node's home\n(`cis config path`), in the environment (`CIS_P2P__SYNC__INTERVAL`) or on the command "
        "line; the later of these wins.\nHow to change them, and what becomes of that in a running node: "
        "[Settings](../settings.md).\n\n"
        "| setting | default | meaning | a change holds |\n|---|---|---|---|\n"
    )
    return head + "".join(
        f"| `{row.key}` | {row.default and f'`{row.default}`'} | {row.meaning} | "
        f"{'at once' if row.live else 'after a restart'} |\n"
        for row in rows
    )


def errors_page(tree: ModuleType) -> str:
    """The exit codes and the errors behind them as Markdown, and why connections are closed."""
    kinds: list[Any] = [
        kind for kind in vars(tree).values() if isinstance(kind, type) and issubclass(kind, tree.CisError)
    ]
    return _ERRORS.format(
        codes="\n".join(f"| {code} | {meaning} |" for code, meaning in manual.EXIT_CODES.items()),
        kinds="\n".join(
            f"| `{kind.__name__}` | {kind.exit_code} | {re.split(r'[.;]', _plain(kind.__doc__))[0]} |"
            for kind in kinds
            if kind is not tree.CisError
        ),
        faults="\n".join(f"| {fault.value} | {fault.name.lower().replace('_', ' ')} |" for fault in tree.Fault),
    )


def dead_links(root: Path) -> list[str]:
    """Every relative link of the repository's pages whose file or heading does not exist."""
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    return [dead for page in sorted(pages) for dead in _dead_in(page, root)]


def _dead_in(page: Path, root: Path) -> Iterator[str]:
    for link in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / link["target"] if link["target"] else page
        anchor = link["anchor"]
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            yield f"{page.relative_to(root)}: {link.group()}"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def main(arguments: list[str]) -> int:
    """Write the pages (or compare them, with ``--check``) and report dead links."""
    command = typer.main.get_command(importlib.import_module("cis.apps.cli.main").app)
    version = importlib.import_module("cis").__version__
    with tempfile.TemporaryDirectory() as home:
        rows = importlib.import_module("cis.api.configuration.settings").describe(Path(home))
    pages = {
        REFERENCE / "cli.md": reference(command, "cis"),
        REFERENCE / "settings.md": settings_page(rows),
        REFERENCE / "errors.md": errors_page(importlib.import_module("cis.errors")),
        MANUAL / "cis.1": manual.commands_page(command, version),
        MANUAL / "cis-config.5": manual.settings_page(rows, version),
    }
    stale = []
    for page, text in pages.items():
        if "--check" not in arguments:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(f"{page.relative_to(ROOT)} is out of date: run `make docs`")
    problems = [*stale, *dead_links(ROOT)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
