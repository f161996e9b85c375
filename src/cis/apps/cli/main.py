"""The ``cis`` command: the tree of commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from cis import __version__
from cis.apps.cli import acl, anchor, config, doctor, key, mcp, memory, nodes, p2p, pair, runs, sim, space
from cis.apps.cli.printing import ask_secret, complain, say
from cis.apps.cli.shared import group
from cis.errors import CisError, system_remedy

INTERRUPTED = 130
_VALUE = re.compile(r"option:? ['\"]?-[^-]\S*$")
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of what typer raises for a wrong command line; typer has moved its module more than once."""

app = group("A memory that agents and people share, peer to peer, encrypted, with no server to run.")


def _version(wanted: bool) -> None:
    if wanted:
        say(f"cis {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", help="The node's folder, else CIS_HOME, else ~/.cis.", show_default=False)
    ] = None,
    _version_asked: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Share a memory with your other devices and agents, peer to peer.

    Example: cis init, then cis up --detach, then cis memory set editor "dark mode"
    """
    from cis.api.homes import home_of
    from cis.api.membership.passphrases import asking

    context.with_resource(asking(ask_secret))
    context.obj = home_of(home)


nodes.register(app)
app.command("pair")(pair.pair)
app.add_typer(memory.app, name="memory")
app.add_typer(p2p.app, name="p2p")
app.add_typer(acl.app, name="acl")
app.add_typer(space.app, name="space")
app.add_typer(config.app, name="config")
app.add_typer(key.app, name="key")
app.add_typer(anchor.app, name="anchor")
app.add_typer(mcp.app, name="mcp")
app.command("doctor")(doctor.doctor)
runs.register(app)
app.command("sim")(sim.sim)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; returns its exit code."""
    try:
        code = app(arguments, prog_name="cis", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary to the user, who is shown no traceback
        if os.environ.get("CIS_DEBUG"):
            traceback.print_exception(error)
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare group of commands: its message is the help
            print(error, file=sys.stderr)
            return 2
        text, failed = _explained(error)
        complain(text)
        return failed
    return code if isinstance(code, int) else 0


def _mistyped(message: str) -> str:
    """Return what typer says of a wrong command line as one sentence in the manner of all our errors."""
    said = message.strip().rstrip(".").replace(". Did you mean", ": did you mean").replace("(Possible", "(possible")
    if _VALUE.search(said):
        return f"{said[:1].lower()}{said[1:]}; where it is a value, put -- before it"
    end = " " if said.endswith("?") else "; "
    return f"{said[:1].lower()}{said[1:]}{end}add --help to see how"


def _explained(error: Exception) -> tuple[str, int]:
    """Return what to tell the user of an error, and the exit code."""
    match error:
        case CisError():
            return str(error), error.exit_code
        case typer.Abort():
            return "stopped: nothing was changed", 1
        case UnicodeError():
            return "that is not valid UTF-8 text: use --file for other bytes", 2
        case _ClickError():
            return _mistyped(str(getattr(error, "format_message", error.__str__)())), 2
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            remedy = f"; {told}" if (told := system_remedy(error)) else ""
            return f"the system refused: {error.strerror or error}{where}{remedy}", 1
    return f"a defect of cis: {type(error).__name__}: {error} (CIS_DEBUG=1 shows where)", 1
