"""The ``cis`` command: the tree of commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from cis import __version__
from cis.apps.cli.late import Late, LateGroup
from cis.apps.cli.printing import ask_secret, complain, say
from cis.apps.cli.shared import group
from cis.errors import CisError, system_remedy

INTERRUPTED = 130
_VALUE = re.compile(r"option:? ['\"]?-[^-]\S*$")
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of what typer raises for a wrong command line; typer has moved its module more than once."""


class _Root(LateGroup):
    late: ClassVar = {
        "init": Late(
            "nodes",
            "Make a node: identity, encrypted store, a cluster of one; and show the cluster's recovery key, this once.",
        ),
        "up": Late("nodes", "Start the node: find the others, connect, stay in step."),
        "down": Late("nodes", "Stop the running node."),
        "status": Late(
            "status",
            "Show how this node is on one screen: its peers by path, whether it is in step, what does not work, "
            "what to type.",
        ),
        "invite": Late(
            "nodes",
            "Make a ticket by which one other node can join, to the public space and those named; it works once.",
        ),
        "join": Late("nodes", "Join the cluster a ticket is for; this node's public memories come along."),
        "pair": Late("pair", "Pair two devices: one shows a code, the other takes it."),
        "doctor": Late("doctor", "Look for what is not as it should be: the node, its peers, how they are reached."),
        "top": Late(
            "top",
            "Show the running node on a live screen: peers, what passes and what for, problems; ? explains it, "
            "q ends it.",
        ),
        "web": Late(
            "web",
            "Show this node in a browser on this machine: its peers, what does not work, memories and conflicts.",
        ),
        "memory": Late("memory", "Remember, recall, search, watch.", is_group=True),
        "p2p": Late("p2p", "Peers: who they are, connections, synchronisation.", is_group=True),
        "acl": Late("acl", "Who may do what: roles, removals, keys, and this node's own access list.", is_group=True),
        "space": Late("space", "Spaces: parts of the memory with keys and members of their own.", is_group=True),
        "config": Late("config", "Settings.", is_group=True),
        "key": Late("key", "This node's key.", is_group=True),
        "anchor": Late(
            "anchor",
            "A rendezvous server of your own: nodes register, find each other and pair through it.",
            is_group=True,
        ),
        "mcp": Late("mcp", "Give agents this memory: an MCP server.", is_group=True),
        "demo": Late("runs", "Run three real nodes on this machine: join, edit apart, heal, compare."),
        "bench": Late("bench", "Benchmarks: real processes on this machine, beside what bounds them.", is_group=True),
        "sim": Late("sim", "Simulate a cluster under faults, heal it, and judge it; the same seed is the same run."),
    }


app = group("A memory that agents and people share, peer to peer, encrypted, with no server to run.", _Root)


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


def main() -> None:
    """Run the command line and exit."""
    # Else pydantic looks through all installed packages for plugins of its own, for 30 ms, and runs what it finds.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
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
