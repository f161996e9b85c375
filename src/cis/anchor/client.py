"""A node's place on one anchor: kept registered, looked up, and posted to, for as long as the node runs.

One WebSocket carries everything. It is opened again whenever it ends, after a pause that doubles from a second to
five minutes, with jitter; nothing else waits for it. All nodes of an anchor that was restarted lose it at once: where
the connection was sound, the first pause is drawn from five seconds, unless the network may be another. ::

    client = AnchorClient(AnchorPlace("https://anchor.example.net"), register_interval_s=300)
    client.on_message = signaller.on_message
    await client.run(presence, found)          # until cancelled
    await client.post(tag, sealed)             # True: somebody listens there
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import (
    TAGS_MAX,
    TTL_S_MAX,
    Claim,
    Found,
    LookUp,
    Post,
    Posted,
    Register,
    Release,
)
from cis.errors import CisError, Denied
from cis.trust.beacons import Beacon

if TYPE_CHECKING:
    from cis.anchor.line import Line

_log = logging.getLogger(__name__)

PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 300.0
RETURN_S = 5.0
"""Over which the nodes of an anchor spread that lose it at the same moment."""
STEADY_S = 60.0
"""A connection that lasted so long was sound: the next pause is the shortest."""
PROOF_S = 1.5
"""How long a line that is in doubt has for an answer."""
LOOK_S = 5.0
"""How often it is looked whether what this node shows has changed."""
RECORD_SPARE_S = 60


class Presence(Protocol):
    """What a node shows on anchors, and whom it looks for; asked anew each time, since all of it changes."""

    def own(self) -> Sequence[Beacon]:
        """Return this node's beacons, of this slot first, and of the slots before and after."""
        ...

    def sealed(self, beacon: Beacon) -> bytes:
        """Return this node's record as of now, sealed for that beacon; the same while nothing has changed."""
        ...

    async def sought(self) -> Collection[bytes]:
        """Return the tags under which the other members may be found."""
        ...


class AnchorClient:
    """One anchor; implements the node's ``Signpost``. Belongs to the loop it runs on."""

    def __init__(self, place: AnchorPlace, *, register_interval_s: float = 300.0) -> None:
        self.place = place
        self.name = place.host
        self.problem: str | None = None
        """Why it does not serve now, for a person to read."""
        self.on_message: Callable[[bytes], None] = _ignore
        self.on_up: Callable[[], None] = _nothing
        """Called each time this node is registered there again"""
        self.stun_port = 0
        self._interval_s = register_interval_s
        self._line: Line | None = None
        self._claimed: dict[bytes, None] = {}
        self._registered: tuple[bytes, bytes] = (b"", b"")
        self._due = asyncio.Event()
        self._doubted = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether this node is registered there now."""
        return self._line is not None

    def renew(self) -> None:
        """Register what this node shows now without waiting for the interval."""
        self._due.set()

    def doubt(self) -> None:
        """See at once whether it still answers, and connect anew where it does not: the network may be another."""
        self._doubted.set()

    async def post(self, tag: bytes, sealed: bytes) -> bool:
        """Pass something on to whoever listens at the tag; True where somebody does. Never raises."""
        line = self._line
        if line is None:
            return False
        try:
            answer = await line.ask(Post(line.next_number(), tag, sealed))
        except CisError as error:
            _log.debug("a message was not passed on: %s", error)
            return False
        return not isinstance(answer, Found) and answer.heard

    async def run(self, presence: Presence, found: Callable[[bytes, bytes], None]) -> None:
        """Stay connected until cancelled; ``found`` is told of each tag and what is registered under it."""
        pause_s = PAUSE_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._attend(presence, found)
            except CisError as error:
                self._tell(str(error))
            finally:
                self._line, self._claimed, self._registered = None, {}, (b"", b"")
            if loop.time() - began > STEADY_S:
                pause_s = PAUSE_S_MIN
                wait_s = random.uniform(0.5 * PAUSE_S_MIN, RETURN_S)
            else:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                wait_s = pause_s * random.uniform(0.5, 1.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._doubted.wait()
            self._doubted.clear()

    def _tell(self, problem: str) -> None:
        if self.problem is None:
            _log.warning("an anchor does not serve now: %s", problem)
        self.problem = problem

    async def _attend(self, presence: Presence, found: Callable[[bytes, bytes], None]) -> None:
        from cis.anchor.line import open_line  # noqa: PLC0415 - slow to load, and most nodes use no anchor

        async with open_line(self.place) as line:
            await self._refresh(line, presence, found, whole=True)
            self._line, self.stun_port = line, line.stun_port
            self.on_up()
            failures: list[CisError] = []
            async with asyncio.TaskGroup() as group:
                works = [
                    group.create_task(_until_failure(work, failures))
                    for work in (self._keep(line, presence, found), self._hear(line), self._make_sure(line))
                ]
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for task in works:
                    task.cancel()
            raise failures[0]

    async def _keep(self, line: Line, presence: Presence, found: Callable[[bytes, bytes], None]) -> None:
        """Show again what has changed, and everything in intervals; look for the others as often."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._draw_interval_s()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_S, self._interval_s)):
                    await self._due.wait()
            self._due.clear()
            whole = loop.time() >= due
            if whole:
                due, self._registered = loop.time() + self._draw_interval_s(), (b"", b"")
            await self._refresh(line, presence, found, whole=whole)

    def _draw_interval_s(self) -> float:
        """Nodes that came at once, as after a restart of the anchor, are not to come at once for ever."""
        return self._interval_s * random.uniform(0.75, 1.0)

    async def _refresh(
        self, line: Line, presence: Presence, found: Callable[[bytes, bytes], None], *, whole: bool
    ) -> None:
        """Show, and look for the others where that is due; what the anchor refuses is a problem until the next time."""
        refused: list[Denied] = []
        changed = await self._show(line, presence, refused)
        if whole or changed:
            await self._look(line, presence, found, refused)
            if refused:
                self._tell(str(refused[0]))
            else:
                self.problem = None

    async def _show(self, line: Line, presence: Presence, refused: list[Denied]) -> bool:
        """Claim the tags of these slots, and register under the present one; True where that was not so before."""
        beacons = presence.own()
        if not beacons:
            return False
        wanted = {beacon.tag: beacon for beacon in beacons}
        for tag in [tag for tag in self._claimed if tag not in wanted]:
            await line.ask(Release(line.next_number(), tag))
            del self._claimed[tag]
        claims = [self._claim(line, beacon) for tag, beacon in wanted.items() if tag not in self._claimed]
        await _all(claims)  # at once: each way to an anchor and back is a part of the time it takes to be found
        sealed = presence.sealed(beacons[0])
        if self._registered == (beacons[0].tag, sealed):
            return False
        ttl_s = min(TTL_S_MAX, round(2 * self._interval_s) + RECORD_SPARE_S)
        self._registered = (beacons[0].tag, sealed)
        try:
            await line.ask(Register(line.next_number(), beacons[0].tag, ttl_s, sealed))
        except Denied as denied:  # it listens all the same, and is posted to
            refused.append(denied)
        return True

    async def _claim(self, line: Line, beacon: Beacon) -> None:
        signature = beacon.claim(line.challenge, self.place.authority.encode())
        await line.ask(Claim(line.next_number(), beacon.key, signature))
        self._claimed[beacon.tag] = None

    async def _look(
        self, line: Line, presence: Presence, found: Callable[[bytes, bytes], None], refused: list[Denied]
    ) -> None:
        tags = list(await presence.sought())
        for start in range(0, len(tags), TAGS_MAX):
            asked = tuple(tags[start : start + TAGS_MAX])
            try:
                answer = await line.ask(LookUp(line.next_number(), asked))
            except Denied as denied:  # as many as may be for now
                refused.append(denied)
                return
            for tag, sealed in answer.records if isinstance(answer, Found) else ():
                if tag in asked:
                    found(tag, sealed)

    async def _make_sure(self, line: Line) -> None:
        """Ask for an answer whenever there is doubt; where none comes, no pause precedes the next connection."""
        while True:
            await self._doubted.wait()
            await line.prove(PROOF_S)
            self._doubted.clear()

    async def _hear(self, line: Line) -> None:
        while True:
            message = await line.heard()
            if isinstance(message, Posted) and message.tag in self._claimed:
                self.on_message(message.sealed)


async def _all(works: Sequence[Awaitable[None]]) -> None:
    """Do all of it at once; raises the first failure once all have ended."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _until_failure(work: Awaitable[None], failures: list[CisError]) -> None:
    try:
        await work
    except CisError as error:
        failures.append(error)


def _nothing() -> None:
    """Nobody is interested yet."""


def _ignore(_: bytes) -> None:
    """Nobody is interested yet."""
