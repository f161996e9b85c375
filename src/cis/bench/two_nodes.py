"""Two node processes of one cluster, the second joined by a ticket of the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cis.bench.pair import Child
from cis.node.home.folder import Home

CONNECT_S = 600.0


@dataclass(slots=True)
class TwoNodes:
    """``serving`` runs; where it is reached is in ``at``. ``pulling`` runs too, and is connected by `connect`."""

    serving: Child
    pulling: Child
    at: dict[str, Any]

    def connect(self) -> dict[str, Any]:
        """Let the second connect to the first and hold a session; returns its figures."""
        where = {name: self.at[name] for name in ("node", "host", "port")}
        return self.pulling.ask("connect", CONNECT_S, **where)


def found_cluster(serving: Path, pulling: Path) -> None:
    """Create both homes and make them one cluster; nothing runs afterwards."""
    with Child("node") as first, Child("node") as second:
        first.ask("create", home=str(serving), name="serving")
        first.ask("start")
        ticket = first.ask("invite")["ticket"]
        second.ask("create", home=str(pulling), name="pulling")
        second.ask("join", ticket=ticket, name="pulling")
    for folder in (serving, pulling):
        Home(folder).bootstrap.unlink(missing_ok=True)  # nobody listens there any more; dialling it would be noise


@contextlib.contextmanager
def run_both(serving: Path, pulling: Path) -> Iterator[TwoNodes]:
    """Open both homes in fresh processes and start them, unconnected."""
    with Child("node") as first, Child("node") as second:
        first.ask("open", home=str(serving))
        second.ask("open", home=str(pulling))
        at = first.ask("start")
        second.ask("start")
        yield TwoNodes(first, second, at)
