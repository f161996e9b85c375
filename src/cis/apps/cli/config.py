"""``cis config``: settings, in the file, with its comments kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cis.apps.cli.printing import say, show_json, show_table, tell
from cis.apps.cli.shared import Json, group, home_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cis.api.configuration.settings import Row

app = group("Settings.")

Name = Annotated[str, typer.Argument(help="The setting, as p2p.sync.interval.", show_default=False)]
RESTART = "cis down; cis up --detach"


@app.command("get")
def get_setting(context: typer.Context, key: Name, json: Json = False) -> None:
    """Print one setting.

    Example: cis config get p2p.listen_port
    """
    from cis.api.configuration.configuring import row_of

    row = row_of(home_in(context), key)
    if json:
        show_json(row)
    else:
        say(row.value)


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_setting(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY VALUE...", help="A setting and its value, or several; lists with commas.", show_default=False
        ),
    ],
) -> None:
    """Write settings to the file, whose comments stay; a running node takes up at once what it can.

    Several that belong together are written together: all or none.

    Example: cis config set p2p.bandwidth.off_peak.start 01:00 p2p.bandwidth.off_peak.end 06:30
    """
    from cis.api.configuration.configuring import write_settings
    from cis.errors import UsageError

    if len(words) % 2:
        raise UsageError(f"{words[-1]} has no value: write KEY VALUE, or KEY VALUE KEY VALUE …")
    home = home_in(context)
    rows = write_settings(home, dict(zip(words[::2], words[1::2], strict=True)))
    _show_written(home, rows)


@app.command("unset")
def unset_setting(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Settings in the file.", show_default=False)],
) -> None:
    """Take settings out of the file, so that their defaults hold again; also what is no setting, by a mistake.

    Example: cis config unset p2p.sync.interval
    """
    from cis.api.configuration.configuring import unset_settings

    home = home_in(context)
    _show_written(home, unset_settings(home, keys))


@app.command("reload")
def reload(context: typer.Context, json: Json = False) -> None:
    """Have the running node read its settings again; it does so by itself when the file changes, and on SIGHUP.

    Example: cis config reload
    """
    from cis.api.configuration.reload_schema import ReloadSettings
    from cis.api.control.client import connect_running

    with connect_running(home_in(context)) as node:
        reloaded = node.call(ReloadSettings())
    if json:
        show_json(reloaded)
        return
    say(f"taken up: {', '.join(reloaded.applied) or 'nothing, as nothing else had changed'}")
    if reloaded.restart:
        say(f"restart to apply: {', '.join(reloaded.restart)}  ({RESTART})")


@app.command("list")
def list_settings(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not at their default.")] = False,
    json: Json = False,
) -> None:
    """List every setting: its value, where that comes from, its default, what it means.

    Example: cis config list --changed
    """
    from cis.api.configuration.settings import describe

    rows = [row for row in describe(home_in(context)) if not changed or row.origin != "default"]
    if json:
        show_json(rows)
        return
    table = [(row.key, row.value, row.origin, row.default, row.meaning) for row in rows]
    show_table(("setting", "value", "from", "default", "meaning"), table)


@app.command("sample")
def sample(
    profile: Annotated[
        str, typer.Option("--profile", help="Start from one: home, office, team, server or anchors-only.")
    ] = "",
) -> None:
    """Print a settings file: every setting with what it means, commented out; what a profile sets is not.

    Example: cis config sample --profile server > ~/.cis/config.toml
    """
    from cis.api.telemetry.sampling import sample_of

    for line in sample_of(profile or None).splitlines():
        say(line)


@app.command("path")
def path(context: typer.Context) -> None:
    """Print where the settings file is.

    Example: cis config path
    """
    from cis.api.configuration.settings import FILE_NAME

    say(str(home_in(context) / FILE_NAME))


def _show_written(home: Path, rows: Sequence[Row]) -> None:
    """Say what holds now, and what the running node, if there is one, makes of it."""
    from cis.api.configuration.reload_schema import ReloadSettings
    from cis.api.control.client import connect_daemon
    from cis.errors import CisError

    for row in rows:
        say(f"{row.key} = {row.value}")
        if row.origin.startswith("environment"):
            tell(f"{row.origin} decides about it, whatever the file says")
    try:
        node = connect_daemon(home)
        waiting = node.call(ReloadSettings()).restart if node is not None else ()
    except CisError as error:
        tell(f"it is written, but the running node could not take it up: {error}")
        return
    if mine := [row.key for row in rows if row.key in waiting]:
        tell(f"restart to apply: {', '.join(mine)}  ({RESTART})")
