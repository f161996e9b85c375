"""What the commands have in common: where the node is, and the options that many take."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cis.api.text import escaped
from cis.errors import CisError, UsageError

if TYPE_CHECKING:
    from typer.core import TyperGroup

    from cis.api.control.client import Node, RemoteNode

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

Json = Annotated[bool, typer.Option("--json", help="Print JSON, with stable field names.")]
Timeout = Annotated[str, typer.Option(help="How long to wait.")]
Space = Annotated[
    str, typer.Option("--space", "-s", help="public, private (never leaves this node), or a space by its name.")
]
Spaces = Annotated[
    list[str] | None, typer.Option("--space", "-s", help="A space; may be repeated.", show_default=False)
]
AnySpace = Annotated[str | None, typer.Option("--space", "-s", help="Only this space.")]
Key = Annotated[str, typer.Argument(help="The memory's key.", show_default=False)]


def group(help_text: str, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(
        cls=cls,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def home_in(context: typer.Context) -> Path:
    """Return the node's folder: ``--home``, else CIS_HOME, else ~/.cis."""
    found = context.find_root().obj
    assert isinstance(found, Path), "set by the root callback"
    return found


def node_of(context: typer.Context) -> Node:
    """Return the running node, else its store."""
    from cis.api.control.client import connect

    return connect(home_in(context))


def running_node(context: typer.Context) -> RemoteNode:
    """Return the running node; an error that says how to start it where there is none."""
    from cis.api.control.client import connect_running

    return connect_running(home_in(context))


def agree(question: str) -> None:
    """Ask, and return when the answer is yes; raises what says that nothing was changed."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Add --yes to agree")
    if not typer.confirm(escaped(question), err=True):
        raise CisError("stopped: nothing was changed")


def confirm(question: str) -> bool | None:
    """Ask a question whose answer is no unless somebody says yes; None where nobody is there to be asked."""
    return typer.confirm(escaped(question), err=True) if sys.stdin.isatty() else None


def seconds_of(text: str) -> float:
    """Return the seconds in ``90``, ``90s``, ``10m``, ``2h``, ``7d``; `UsageError` for anything else."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no time span: write 90s, 10m, 2h or 7d")
    return float(found[1]) * _SECONDS[found[2] or "s"]
