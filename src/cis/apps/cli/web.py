"""``cis web``: a page on this machine that shows the node and its memories."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from cis.apps.cli.printing import say, tell
from cis.apps.cli.shared import home_in


def web(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 for a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the link.")] = False,
) -> None:
    """Show this node in a browser on this machine: its peers, what does not work, memories and conflicts.

    Each link lets one browser in, once; the next is printed when it was used. It listens on 127.0.0.1 alone.

    Example: cis web
    """
    from cis.api.telemetry.logs import set_up_logging
    from cis.apps.web.opening import forget_link, has_screen
    from cis.apps.web.serving import serve_web

    set_up_logging()
    home = home_in(context)
    try:
        serve_web(home, port, _Links(home, opening=not no_open and has_screen()))
    finally:
        forget_link(home)


class _Links:
    """Tells links; the first is opened in a browser where there is one to open."""

    def __init__(self, home: Path, *, opening: bool) -> None:
        self._home = home
        self._opening = opening
        self._told = 0

    def __call__(self, link: str) -> None:
        from cis.apps.web.opening import forget_link

        self._told += 1
        if self._told == 1:
            say(f"open  {link}")
            sys.stdout.flush()
            tell("it works once; stop this with Ctrl-C")
            if self._opening:
                Thread(target=self._open, args=(link,), daemon=True).start()
        else:
            forget_link(self._home)
            tell(f"a browser was let in; to let in another, open  {link}")

    def _open(self, link: str) -> None:
        """Open a link; in a thread, as some browsers are waited for until they are closed."""
        from cis.apps.web.opening import open_link

        if not open_link(self._home, link):
            tell("no browser could be started: open the link yourself")
