"""Keeping live connections on the best path: relayed ones are moved to a direct path, silent ones to one that works.

A relayed connection looks for a direct path 2, 8 and 30 s after it began, a minute later, then ever more rarely, and
whenever this node's candidates or its network change. One that has gone silent is asked again and again for a while;
meanwhile another path is negotiated where somebody else can carry the signals, and where nobody can, or that came to
nothing, it is dialled once more. Only what stays silent through all of this is closed: on a line that loses a quarter
of what is sent one of the questions gets through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from cis.errors import CisError, Fault
from cis.model import NodeId
from cis.net.paths import Path
from cis.node.core import events
from cis.node.paths.reaching import Reaching
from cis.node.streams.links import PeerLink

_log = logging.getLogger(__name__)

IMPROVE_AT_S = (2.0, 8.0, 30.0)
IMPROVE_AGAIN_S = 60.0
IMPROVE_AGAIN_MAX_S = 600.0
"""A search costs some 10 KB on both sides; the pause doubles, as what NATs do seldom changes by itself."""
IMPROVE_PAUSE_S = 1.0
"""Least time between two attempts at one connection."""
YIELD_S = 1.0
"""By how much the larger id is later, so that the two do not offer at once."""
SILENT_S = 8.0
"""How long a silent connection is asked before it counts as dead."""
ASK_S = 0.5


@dataclass(frozen=True)
class Around:
    """What mending needs of the node."""

    own: NodeId
    report: Callable[[events.Event], None]
    can_signal: Callable[[NodeId], bool]
    """whether anybody but a node itself may carry signals to it"""
    name_of: Callable[[NodeId], str]
    on_silence: Callable[[], None]
    """what is called when a connection has gone silent: all else on this network may have, too"""


@dataclass(eq=False)
class _Tended:
    """A connection and when it is looked after next."""

    link: PeerLink
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: bool = False
    attempts: int = 0
    tried_at: float = float("-inf")
    why_not: str = ""


class Mending:
    """Belongs to the loop's thread."""

    def __init__(self, reaching: Reaching, around: Around) -> None:
        self._reaching = reaching
        self._around = around
        self._tended: dict[events.LinkId, _Tended] = {}
        self._loop = asyncio.get_running_loop()

    async def tend(self, link: PeerLink) -> None:
        """Look after a connection until it ends."""
        tended = self._tended[link.id] = _Tended(link, self._loop.time())
        link.connection.on_suspect = tended.wake.set
        try:
            async with asyncio.TaskGroup() as group:
                tending = group.create_task(self._tend(tended))
                await link.connection.wait_closed()
                tending.cancel()
        finally:
            del self._tended[link.id]

    def hurry(self) -> None:
        """This node may be reached in other ways than before: look for better paths now."""
        for tended in self._tended.values():
            tended.hurried = True
            tended.wake.set()

    def look(self, link: events.LinkId) -> None:
        """More is known of the path of a connection than before."""
        if (tended := self._tended.get(link)) is not None:
            tended.wake.set()

    def probe(self) -> None:
        """The network of this machine is another: ask every peer whether it still hears us."""
        for tended in self._tended.values():
            tended.link.connection.probe()

    def since(self, link: events.LinkId) -> float | None:
        """Return since when a connection is on its path, by the loop's clock."""
        tended = self._tended.get(link)
        return tended.since if tended is not None else None

    def why_not_better(self, link: events.LinkId) -> str:
        """Say why a relayed connection is not direct, as far as that is known."""
        tended = self._tended.get(link)
        if tended is None or not tended.link.connection.path.relayed:
            return ""
        return tended.why_not or "a direct path was not looked for yet"

    def move(self, link: PeerLink, path: Path) -> None:
        """Put a connection on another path; its streams go on."""
        before = link.connection.path
        link.connection.move(path)
        if (tended := self._tended.get(link.id)) is not None:
            tended.since, tended.attempts, tended.why_not = self._loop.time(), 0, ""
            tended.wake.set()
        words = ("relayed" if one.relayed else "direct" for one in (path, before))
        name = self._around.name_of(link.node)
        _log.info("connection with %s is now %s (was %s), %s to %s", name, *words, path.local, path.remote)
        self._around.report(events.Moved(link.id, path.relayed))

    async def _tend(self, tended: _Tended) -> None:
        connection = tended.link.connection
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._improve_at(tended)):
                    await tended.wake.wait()
            tended.wake.clear()
            if connection.suspect:
                await self._rescue(tended)
            elif (due_at := self._improve_at(tended)) is not None and due_at <= self._loop.time():
                await self._improve(tended)

    # --- better --------------------------------------------------------------------------------------------------

    def _improve_at(self, tended: _Tended) -> float | None:
        """When to look for a direct path next; None for a connection that has one."""
        if not tended.link.connection.path.relayed:
            return None
        soonest = tended.tried_at + IMPROVE_PAUSE_S
        if tended.hurried:
            return soonest
        late_s = 0.0 if self._around.own < tended.link.node else YIELD_S
        again = tended.attempts - len(IMPROVE_AT_S)
        if again < 0:
            return max(soonest, tended.since + IMPROVE_AT_S[again] + late_s)
        return tended.tried_at + min(IMPROVE_AGAIN_S * 2.0 ** min(again, 8), IMPROVE_AGAIN_MAX_S) + late_s

    async def _improve(self, tended: _Tended) -> None:
        tended.hurried = False
        tended.attempts += 1
        tended.tried_at = self._loop.time()
        try:
            await self._reaching.renew(tended.link, relay=False)
        except CisError as error:
            tended.why_not = str(error)
        tended.tried_at = self._loop.time()

    # --- alive ---------------------------------------------------------------------------------------------------

    async def _rescue(self, tended: _Tended) -> None:
        """Find another path for a connection that has gone silent, or end it."""
        link, connection = tended.link, tended.link.connection
        self._around.report(events.Suspected(link.id, suspect=True))
        self._around.on_silence()
        until = self._loop.time() + SILENT_S
        async with asyncio.TaskGroup() as group:
            rescue = group.create_task(self._find_other(tended))
            while connection.suspect and not connection.closing and (self._loop.time() < until or not rescue.done()):
                connection.probe()
                await asyncio.sleep(ASK_S)
            rescue.cancel()
        if connection.suspect:
            connection.close(Fault.TOO_SLOW, f"it said nothing for {SILENT_S:g} s")
        else:
            self._around.report(events.Suspected(link.id, suspect=False))

    async def _find_other(self, tended: _Tended) -> None:
        if self._around.can_signal(tended.link.node):
            try:
                await self._reaching.renew(tended.link, relay=True)
            except CisError as error:
                _log.debug("no other path for a silent connection: %s", error)
            else:
                return
        self._around.report(events.Suspected(tended.link.id, suspect=True, redial=True))
