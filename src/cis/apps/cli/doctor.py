"""``cis doctor``: what is not as it should be, and what to type."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cis.api.health.doctor_schema import Row
from cis.apps.cli.printing import say, show_json, show_table, tell
from cis.apps.cli.shared import AnySpace, Json, home_in, node_of
from cis.errors import UsageError

_HAS = {"yes": "it is there", "no": "it is not there", "unknown": "whether it is there is unknown"}


def doctor(
    context: typer.Context,
    security: Annotated[
        bool, typer.Option("--security", help="Look at keys, files, members and what is exposed instead.")
    ] = False,
    why: Annotated[
        str | None,
        typer.Option(
            "--why", metavar="KEY", help="Say why this memory is, or is not, on each device.", show_default=False
        ),
    ] = None,
    node_name: Annotated[
        str | None, typer.Option("--node", help="With --why: this member's device alone.", show_default=False)
    ] = None,
    space: AnySpace = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Write what helps others to help, without names and contents."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Verify every change in the store, too; may take a while.")
    ] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show names and paths instead of how many.")] = False,
    json: Json = False,
) -> None:
    """Look for what is not as it should be: the node, its peers, how they are reached. Exit code 1 for what is bad.

    Example: cis doctor --why editor --node phone
    """
    if why is None and (node_name is not None or space is not None):
        raise UsageError("--node and --space go with --why KEY: cis doctor --why editor --node phone")
    if deep and (security or why is not None or bundle is not None):
        raise UsageError("--deep goes with none of --security, --why and --bundle: cis doctor --deep")
    if why is not None:
        rows = _explain(context, why, node_name, space, json)
    elif bundle is not None:
        rows = _bundle(context, bundle, json)
    else:
        rows = _examine(context, security, deep, reveal, json)
    if any(row.status == "bad" for row in rows):
        raise typer.Exit(1)


def _examine(context: typer.Context, security: bool, deep: bool, reveal: bool, json: bool) -> list[Row]:
    if security:
        from cis.api.health.doctor import examine_security

        rows = examine_security(home_in(context), reveal=reveal)
    else:
        from cis.api.health.checkup import examine_health

        rows = examine_health(home_in(context), reveal=reveal, deep=deep)
    if json:
        show_json(rows)
        return rows
    show_table(("check", "is", "found"), [(row.check, row.status, row.found) for row in rows])
    _say_fixes("", rows)
    if not security:
        tell("keys, files, members: cis doctor --security; one memory: cis doctor --why KEY")
    return rows


def _explain(context: typer.Context, key: str, node: str | None, space: str | None, json: bool) -> list[Row]:
    from cis.api.health.why_schema import ExplainMemory

    with node_of(context) as asked:
        found = asked.call(ExplainMemory(key=key, node=node, space=space))
    rows = [row for device in found.devices for row in device.rows]
    if json:
        show_json(found)
        return rows
    for device in found.devices:
        say(f"{device.name}{' (this device)' if device.here else ''}: {_HAS[device.has]}")
        if device.rows:
            show_table(("  check", "is", "found"), [(f"  {row.check}", row.status, row.found) for row in device.rows])
        _say_fixes("  ", device.rows)
    return rows


def _bundle(context: typer.Context, file: Path, json: bool) -> list[Row]:
    from cis.api.health.bundle import write_bundle

    names = write_bundle(home_in(context), file)
    if json:
        show_json({"file": str(file), "holds": names})
    else:
        say(f"wrote {file}; look through it before you hand it on: tar -xzf {file}")
        say(f"it holds {', '.join(names)}")
    return []


def _say_fixes(indent: str, rows: Iterable[Row]) -> None:
    for row in rows:
        if row.fix:
            say(f"{indent}{row.check}: {row.fix}")
