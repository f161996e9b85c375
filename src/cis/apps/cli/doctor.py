"""``cis doctor``: what is not as it should be, and what to type."""

from __future__ import annotations

from typing import Annotated

import typer

from cis.apps.cli.printing import say, show_json, show_table
from cis.apps.cli.shared import Json, home_in
from cis.errors import UsageError


def doctor(
    context: typer.Context,
    security: Annotated[bool, typer.Option("--security", help="Keys, files, members, what is exposed.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show names and paths instead of how many.")] = False,
    json: Json = False,
) -> None:
    """Look for what is not as it should be; exit code 1 where something is bad.

    Example: cis doctor --security
    """
    if not security:
        raise UsageError("cis doctor examines security so far: cis doctor --security")
    from cis.api.doctor import examine_security

    rows = examine_security(home_in(context), reveal=reveal)
    if json:
        show_json(rows)
    else:
        show_table(("check", "is", "found"), [(row.check, row.status, row.found) for row in rows])
        for row in rows:
            if row.fix:
                say(f"{row.check}: {row.fix}")
    if any(row.status == "bad" for row in rows):
        raise typer.Exit(1)
