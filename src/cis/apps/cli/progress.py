"""A progress line on stderr, for people only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from cis.apps.cli.printing import is_terminal


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how many are done; it shows something only on a terminal."""
    if not is_terminal():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done: bar.update(task, completed=done)
