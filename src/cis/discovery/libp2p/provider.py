"""The provider: runs the worker for one slot after the other, tells it what to show and to seek, opens what it finds.

Only the node holds keys: the worker is given this node's tag and sealed record, and the tags of members that were not
seen lately. What it hands back is opened with the discovery key and counts for nothing unless a member signed it. A
worker that dies, or says what it never should, is replaced after a pause that doubles.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence

from cis.discovery.libp2p.errand import Errand
from cis.discovery.libp2p.messages import Begin, Standing, Trouble
from cis.discovery.libp2p.options import Libp2pOptions
from cis.discovery.libp2p.process import COMMAND, END_S, Worker, started
from cis.discovery.provider import Announcement, Sighting
from cis.errors import CisError, Unavailable

MISSING = "py-libp2p is not installed: pip install 'cis-node[libp2p]', or set p2p.discovery.libp2p.enabled to false"
LOOK_S = 5.0
"""How often it is looked whether what is shown or sought has changed."""
MOVE_S = 20.0
"""A worker lives so long at least, however often the network changes."""
PAUSE_S_MIN = 2.0
PAUSE_S_MAX = 600.0
STEADY_S = 60.0
"""A worker that lived so long was sound: the next pause is the shortest."""

_log = logging.getLogger(__name__)


def is_installed() -> bool:
    """Tell whether py-libp2p is there, without loading it."""
    return importlib.util.find_spec("libp2p") is not None


class Libp2pProvider:
    """Finds members through libp2p's hash table; ``command`` is the worker, ``clock`` gives Unix seconds."""

    name = "libp2p"

    def __init__(
        self,
        options: Libp2pOptions,
        *,
        clock: Callable[[], float] = time.time,
        command: Sequence[str] = COMMAND,
        look_s: float = LOOK_S,
    ) -> None:
        self._options = options
        self._clock = clock
        self._command = command
        self._look_s = look_s
        self._problem: str | None = None
        self._pid: int | None = None
        self._moved = False

    @property
    def pid(self) -> int | None:
        """The process the worker is now, if there is one."""
        return self._pid

    def failures(self) -> dict[str, str]:
        """Return what keeps it from working now, if anything."""
        return {self.name: self._problem} if self._problem is not None else {}

    def network_changed(self) -> None:
        """Have another worker soon, with another libp2p identity: the one there is was seen at the old addresses."""
        self._moved = True

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Show this node and look for the others until cancelled; `Unavailable` where it cannot."""
        if self._command is COMMAND and not is_installed():
            raise Unavailable(MISSING)
        begin = self._options.begin()
        pause_s, loop = PAUSE_S_MIN, asyncio.get_running_loop()
        while True:
            errand = await self._next_errand(announcement, found)
            began = loop.time()
            try:
                await self._live(errand, begin)
                continue
            except CisError as error:
                self._tell(str(error))
            finally:
                self._pid = None
            pause_s = PAUSE_S_MIN if loop.time() - began > STEADY_S else min(2 * pause_s, PAUSE_S_MAX)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def _next_errand(self, announcement: Announcement, found: Callable[[Sighting], None]) -> Errand:
        while True:
            errand = Errand(announcement, self._options, found, self._clock)
            if await errand.is_due():
                return errand
            await asyncio.sleep(self._look_s)

    async def _live(self, errand: Errand, begin: Begin) -> None:
        """Run one worker until its slot is over; `Unavailable` where it fails."""
        async with started(self._command) as worker:
            self._pid = worker.pid
            await worker.send(begin)
            async with asyncio.TaskGroup() as group:
                works = [
                    group.create_task(_outcome(work))
                    for work in (self._instruct(worker, errand), self._hear(worker, errand))
                ]
                log = group.create_task(worker.log())
                done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                if worker.ended:
                    await asyncio.wait((log,), timeout=END_S)
                for task in (*works, log):
                    task.cancel()
            for task in done:
                if (error := task.result()) is not None:
                    raise error

    async def _instruct(self, worker: Worker, errand: Errand) -> None:
        """Tell the worker what changes, until its slot is over, or it has become another network's."""
        loop = asyncio.get_running_loop()
        began, self._moved = loop.time(), False
        while not errand.is_over() and not (self._moved and loop.time() - began > MOVE_S):
            for order in await errand.orders():
                await worker.send(order)
            await asyncio.sleep(self._look_s)

    async def _hear(self, worker: Worker, errand: Errand) -> None:
        while True:
            message = await worker.receive()
            errand.count()
            if isinstance(message, Standing):
                self._stand(message)
            else:
                errand.open(message)

    def _stand(self, standing: Standing) -> None:
        match standing.trouble:
            case Trouble.NONE:
                self._problem = None
            case Trouble.LONELY:
                self._tell("no entry point of libp2p's network answers")
            case Trouble.PORT:
                raise Unavailable(f"libp2p cannot listen on TCP port {self._options.port}: is something else there?")
            case Trouble.BROKEN:
                raise Unavailable("py-libp2p does not load: install it anew, pip install 'cis-node[libp2p]'")

    def _tell(self, problem: str) -> None:
        if self._problem is None:
            _log.warning("libp2p does not serve now: %s", problem)
        self._problem = problem


async def _outcome(work: Coroutine[None, None, None]) -> CisError | None:
    try:
        await work
    except CisError as error:
        return error
    return None
