"""``cis top``: a live screen of the running node, for those who look at it for longer."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from cis.apps.cli.shared import home_in, running_node, seconds_of
from cis.errors import UsageError

INTERVAL_S_MIN = 0.5
INSTALL = "pip install 'cis-node[top]'"


def top(
    context: typer.Context,
    interval: Annotated[str, typer.Option(help="From one answer of the node to the next question.")] = "2s",
) -> None:
    """Show the running node on a live screen: peers, what passes and what for, problems; ? explains it, q ends it.

    It needs the extra `top`. A node that stops is waited for. `cis status` and `cis p2p stats` say the same once, also
    with --json.

    Example: cis top --interval 5s
    """
    interval_s = seconds_of(interval)
    if interval_s < INTERVAL_S_MIN:
        raise UsageError(f"--interval {interval}: at least {INTERVAL_S_MIN:g} s")
    if find_spec("textual") is None:
        raise UsageError(f"cis top needs textual, which is not installed: {INSTALL}; cis status needs nothing more")
    with running_node(context):
        pass
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("cis top draws on a terminal: elsewhere ask cis status --json and cis p2p stats --json")
    from cis.apps.top.reading import Reader
    from cis.apps.top.screen import TopApp

    app = TopApp(Reader(home_in(context)).read, interval_s)
    app.run()
    if app.failure is not None:
        raise app.failure
    raise typer.Exit(app.return_code or 0)
