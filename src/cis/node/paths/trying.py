"""The dials under way, so that those which come too late can be given up, and what became of each.

A dial is given up only before its handshake begins: by then the other side may have taken it in already, and which of
two connections stays both sides must decide alike (`cis.node.core.table`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cis.model import NodeId
from cis.net import Connection
from cis.node.paths.facts import Attempt, Attempts

GIVEN_UP = "given up, as there was a connection by then"


@dataclass(eq=False)
class Try:
    """One dial under way."""

    task: asyncio.Task[object] | None
    greeting: bool = False
    outcome: str = ""

    async def through(self, dial: Callable[[], Awaitable[Connection]]) -> Connection:
        """Dial; what follows is not given up any more."""
        self.greeting = False
        connection = await dial()
        self.greeting = True
        return connection


class Trying:
    """Keeps account of the dials of known nodes."""

    def __init__(self) -> None:
        self.attempts = Attempts()
        self._under_way: dict[NodeId, list[Try]] = {}

    @contextmanager
    def at(self, node: NodeId | None, where: str) -> Iterator[Try]:
        """Count what is done within as a dial of a node."""
        clock = asyncio.get_running_loop().time
        one, at = Try(asyncio.current_task()), clock()
        if node is None:
            yield one
            return
        self._under_way.setdefault(node, []).append(one)
        self.attempts.note(node, Attempt(where, "", at))
        try:
            yield one
        except asyncio.CancelledError:
            one.outcome = GIVEN_UP
            raise
        finally:
            self._under_way[node].remove(one)
            if not self._under_way[node]:
                del self._under_way[node]
            self.attempts.note(node, Attempt(where, one.outcome or "it failed", at, clock() - at))

    def give_up(self, node: NodeId) -> None:
        """End the dials of a node that have not come as far as a handshake."""
        for one in self._under_way.get(node, ()):
            if not one.greeting and one.task is not None:
                one.task.cancel()
