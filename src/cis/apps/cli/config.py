"""``cis config``: settings, in the file, with its comments kept."""

from __future__ import annotations

from typing import Annotated

import typer

from cis.apps.cli.printing import say, show_json, show_table
from cis.apps.cli.shared import Json, group, home_in

app = group("Settings.")

Name = Annotated[str, typer.Argument(help="The setting, as p2p.sync.interval.", show_default=False)]


@app.command("get")
def get_setting(context: typer.Context, key: Name, json: Json = False) -> None:
    """Print one setting.

    Example: cis config get p2p.listen_port
    """
    from cis.api.configuring import row_of

    row = row_of(home_in(context), key)
    if json:
        show_json(row)
    else:
        say(row.value)


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_setting(
    context: typer.Context,
    key: Name,
    value: Annotated[str, typer.Argument(help="The value; lists are separated by commas.", show_default=False)],
) -> None:
    """Write one setting to the file; a running node takes it up when it is started anew.

    Example: cis config set p2p.sync.interval 30
    """
    from cis.api.configuring import write_setting

    row = write_setting(home_in(context), key, value)
    say(f"{row.key} = {row.value}" + ("" if row.acts else "  (does not act yet in this version)"))


@app.command("list")
def list_settings(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not at their default.")] = False,
    json: Json = False,
) -> None:
    """List every setting: its value, where that comes from, what it means.

    Example: cis config list --changed
    """
    from cis.api.settings import describe

    rows = [row for row in describe(home_in(context)) if not changed or row.origin != "default"]
    if json:
        show_json(rows)
        return
    table = [(row.key, row.value, row.origin, row.meaning + ("" if row.acts else " (not yet)")) for row in rows]
    show_table(("setting", "value", "from", "meaning"), table)


@app.command("path")
def path(context: typer.Context) -> None:
    """Print where the settings file is.

    Example: cis config path
    """
    from cis.api.settings import FILE_NAME

    say(str(home_in(context) / FILE_NAME))
