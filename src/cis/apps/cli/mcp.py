"""``cis mcp``: serve agents, and register this server with the programs they run in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cis.api.loading import loading
from cis.apps.cli.printing import say, tell
from cis.apps.cli.shared import agree, group, home_in
from cis.errors import UsageError

app = group("Give agents this memory: an MCP server.")

Spaces = Annotated[
    list[str] | None,
    typer.Option("--space", "-s", help="Serve this space instead of public; may be repeated.", show_default=False),
]
Private = Annotated[bool, typer.Option("--private", help="Serve what is private too.")]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Offer no tool that writes.")]
AllowDelete = Annotated[bool, typer.Option("--allow-delete", help="Offer a tool that deletes single memories.")]


@app.callback(invoke_without_command=True, no_args_is_help=False)
def serve(
    context: typer.Context,
    space: Spaces = None,
    private: Private = False,
    read_only: ReadOnly = False,
    allow_delete: AllowDelete = False,
    http: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve over HTTP on this machine instead.", show_default=False),
    ] = None,
) -> None:
    """Serve this memory to an agent over standard input and output (MCP); agents' programs start this themselves.

    It asks the running node, and the store itself where none runs. Example: cis mcp install claude-code
    """
    from cis.api.membership.passphrases import asking
    from cis.apps.mcp.scope import scope_of

    scope = scope_of(space or (), private=private, read_only=read_only, allow_delete=allow_delete)
    if context.invoked_subcommand is not None:
        if space or private or read_only or allow_delete or http:
            raise UsageError(f"put the options after {context.invoked_subcommand}")
        return
    home = home_in(context)
    if http is None and sys.stdin.isatty():
        tell("waiting for an MCP client on standard input; `cis mcp install CLIENT` registers this with one")
    with asking(_nobody):
        if http is None:
            with loading():
                from cis.apps.mcp.serving import serve_stdio
            serve_stdio(home, scope)
        else:
            from cis.apps.mcp.http import serve_http

            serve_http(home, scope, http, lambda url, file: say(f"serving MCP at {url}; the token is in {file}"))


def _nobody(_: str) -> None:
    """Ask nobody for a passphrase: who serves a program has no person before it."""


@app.command("install")
def install(
    context: typer.Context,
    client: Annotated[
        str,
        typer.Argument(
            help="claude-desktop, claude-code, cursor, vscode, windsurf, zed, codex or gemini.", show_default=False
        ),
    ],
    space: Spaces = None,
    private: Private = False,
    read_only: ReadOnly = False,
    allow_delete: AllowDelete = False,
    project: Annotated[bool, typer.Option("--project", help="For the project in this folder only.")] = False,
    name: Annotated[str, typer.Option(help="What the server is called there.")] = "cis",
    show: Annotated[bool, typer.Option("--print", help="Print what to enter where, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Register this memory with a program that agents run in: shows what it changes, keeps all else there.

    Example: cis mcp install claude-code
    """
    from cis.api.control.client import require_node
    from cis.apps.mcp import registering
    from cis.apps.mcp.clients import client_of, places_of
    from cis.apps.mcp.scope import flags_of, scope_of

    found = client_of(client)
    scope = scope_of(space or (), private=private, read_only=read_only, allow_delete=allow_delete)
    home = home_in(context)
    entry = found.entry([*_command(home), "mcp", *flags_of(scope)])
    path = found.path(places_of(os.environ, Path.home()), Path.cwd() if project else None)
    if show:
        say(f"{found.title}, in {path}:")
        _say_lines(registering.snippet(found, name, entry))
        return
    try:
        change = registering.plan(found, path, name, entry)
    except UsageError:
        tell("this is the entry:")
        for line in registering.snippet(found, name, entry).splitlines():
            tell(line.expandtabs(4))
        raise
    if change is None:
        say(f"{found.title} has it already, in {path}")
        return
    _say_lines("\n".join(change.diff))
    if not yes:
        agree(f"Write this to {path}?")
    kept = registering.carry_out(change)
    say(f"written; the file as it was is {kept}" if kept else "written")
    try:
        require_node(home)
    except UsageError as error:
        tell(str(error))
    say(f"next: {found.then}")


def _say_lines(text: str) -> None:
    for line in text.splitlines():
        say(line.expandtabs(4))


def _command(home: Path) -> list[str]:
    """Return this very program with its node, as another program can start it from anywhere."""
    from cis.api.homes import HOME_DEFAULT

    program = Path(sys.argv[0])
    found = [str(program.absolute())] if program.stem == "cis" and program.is_file() else [sys.executable, "-m", "cis"]
    return found if home == Path(HOME_DEFAULT).expanduser() else [*found, "--home", str(home)]
