"""``cis doctor``: what is not as it should be, and what to type."""

from __future__ import annotations

from typing import Annotated

import typer

from cis.apps.cli.printing import say, show_json, show_table, tell
from cis.apps.cli.shared import Json, home_in


def doctor(
    context: typer.Context,
    security: Annotated[
        bool, typer.Option("--security", help="Look at keys, files, members and what is exposed instead.")
    ] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show names and paths instead of how many.")] = False,
    json: Json = False,
) -> None:
    """Look for what is not as it should be: the node, its peers, how they are reached. Exit code 1 for what is bad.

    Example: cis doctor
    """
    if security:
        from cis.api.doctor import examine_security as examine
    else:
        from cis.api.checkup import examine_health as examine

    rows = examine(home_in(context), reveal=reveal)
    if json:
        show_json(rows)
    else:
        show_table(("check", "is", "found"), [(row.check, row.status, row.found) for row in rows])
        for row in rows:
            if row.fix:
                say(f"{row.check}: {row.fix}")
        if not security:
            tell("keys, files, members: cis doctor --security")
    if any(row.status == "bad" for row in rows):
        raise typer.Exit(1)
