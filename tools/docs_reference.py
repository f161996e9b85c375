"""Write ``docs/reference/cli.md`` from the commands themselves, and check the links of the docs.

::

    python tools/docs_reference.py            # write and check
    python tools/docs_reference.py --check    # change nothing; exit 1 when out of date or a link is dead
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer._click.core import Command, Context, Parameter  # the copy of click that typer carries

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "cli.md"
_LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)(?P<target>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
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
    """Write the page (or compare it, with ``--check``) and report dead links."""
    app = importlib.import_module("cis.apps.cli.main").app
    text = reference(typer.main.get_command(app), "cis")
    problems = dead_links(ROOT)
    if "--check" in arguments:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            problems.append(f"{PAGE.relative_to(ROOT)} is out of date: run `make docs`")
    else:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
