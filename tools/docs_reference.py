"""Write ``docs/reference/`` from the commands and settings themselves, and check the links of the docs.

::

    python tools/docs_reference.py            # write and check
    python tools/docs_reference.py --check    # change nothing; exit 1 when out of date or a link is dead
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer._click.core import Command, Context, Parameter  # the copy of click that typer carries

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
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


def settings_page() -> str:
    """The settings as Markdown, in the order of ``cis config list``."""
    head = (
        "# Settings\n\nMade by `make docs` from the settings themselves; do not edit. They stand in `config.toml` in "
        "the node's home\n(`cis config path`), in the environment (`CIS_P2P__SYNC__INTERVAL`) or on the command "
        "line; the later of these wins.\nThose that do not act yet are checked, and named when the node starts.\n\n"
        "| setting | default | meaning | acts |\n|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as home:
        rows = importlib.import_module("cis.api.settings").describe(Path(home))
    return head + "".join(
        f"| `{row.key}` | {row.default and f'`{row.default}`'} | {row.meaning} | {'yes' if row.acts else 'not yet'} |\n"
        for row in rows
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
    app = importlib.import_module("cis.apps.cli.main").app
    pages = {
        REFERENCE / "cli.md": reference(typer.main.get_command(app), "cis"),
        REFERENCE / "settings.md": settings_page(),
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
