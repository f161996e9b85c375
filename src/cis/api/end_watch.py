"""Watches a running node for what ends it (`cis.api.ending`).

The node's events and commits wake it; nothing is asked at intervals but whether all are in step. What a member holds
only that member knows, so it is asked once everything else holds, and again a moment later while something is lacking.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from cis.api.ending import SYNCED, Ended, Facts, Row, Terms, judge, waits_for_more
from cis.api.peers.sync_status import ask
from cis.errors import Unavailable
from cis.node.core import events
from cis.node.finding.finder import place_of
from cis.node.streams.comparing import own_vectors

if TYPE_CHECKING:
    from cis.api.memories.watching import Feed
    from cis.node.driver import Driver
    from cis.node.home.local import LocalNode

AGAIN_S = 0.5
"""How long after the members were asked, or memories counted, that may be done again."""


class Failures:
    """The rows of failed dials and sessions; tell it what the core was told, after the core."""

    def __init__(self) -> None:
        self.dials = self.sessions = Row()

    def note(self, event: events.Event, *, connected: bool) -> None:
        """Take an event; ``connected`` says whether there is a connection with any member."""
        match event:
            case events.Connected():
                self.dials = Row()
            case events.DialFailed(pointless=False) if not connected:
                self.dials = self.dials.followed_by(f"{place_of(event.target)}: {event.reason}")
            case events.SyncEnded(report=None, error=error) if error:
                self.sessions = self.sessions.followed_by(error)
            case events.SyncEnded() if event.report is not None:
                self.sessions = Row()


class EndWatch:
    """Of one run of a node; ``driver`` is None where it opens no socket. ``since`` is when its time began."""

    def __init__(self, terms: Terms, since: float, local: LocalNode, driver: Driver | None) -> None:
        self._terms = terms
        self._since = since
        self._local = local
        self._driver = driver
        self._failures = Failures()
        self._changed = asyncio.Event()
        self._memories: int | None = None
        if driver is not None:
            driver.on_event(self._on_event)

    async def wait(self, feed: Feed) -> Ended:
        """Return why the node is to end, as soon as it is; never where the terms are empty."""
        with feed.subscribe(self._changed) as commits:
            while True:
                self._changed.clear()
                busy = self._terms.speak_of("memories") and (commits.forget() or self._memories is None)
                if busy:
                    self._memories = await self._count()
                facts = self._facts(None)
                if self._driver and self._terms.speak_of(SYNCED) and not waits_for_more(self._terms, facts):
                    apart = unsettled(self._driver)
                    if not apart:
                        apart, busy = await self._ask(self._driver), True
                    facts = self._facts(apart)
                if (ended := judge(self._terms, facts, time.monotonic() - self._since)) is not None:
                    return ended
                await self._rest(busy=busy)

    def _on_event(self, event: events.Event) -> None:
        assert self._driver is not None
        self._failures.note(event, connected=bool(self._driver.core.links))
        if not isinstance(event, events.Stated):  # what a member answered must not lead to asking it again
            self._changed.set()

    def _facts(self, apart: str | None) -> Facts:
        return Facts(
            peers=len(self._driver.core.connected()) if self._driver is not None else 0,
            members=len(self._local.cluster.membership.members()) if self._terms.speak_of("members") else 0,
            memories=self._memories or 0,
            apart=apart,
            dials=self._failures.dials,
            sessions=self._failures.sessions,
        )

    async def _count(self) -> int | None:
        """Count the public memories; None where the index is too far behind to tell."""
        try:
            return await asyncio.to_thread(self._local.public_count)
        except Unavailable:
            return None

    def _left_s(self) -> float | None:
        if self._terms.max_runtime_s is None:
            return None
        return max(0.0, self._since + self._terms.max_runtime_s - time.monotonic())

    async def _rest(self, *, busy: bool) -> None:
        """Wait for a change, or until the time is over; for a moment only where it was ``busy`` asking."""
        left_s = self._left_s()
        if busy:
            await asyncio.sleep(AGAIN_S if left_s is None else min(AGAIN_S, left_s))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._changed.wait()

    async def _ask(self, driver: Driver) -> str:
        """Ask the members what they hold, as long as there is time; returns as `differing`."""
        try:
            async with asyncio.timeout(self._left_s()):
                return await differing(driver)
        except TimeoutError:
            return "a member has not said yet what it holds"


def unsettled(driver: Driver) -> str:
    """Say which session with a connected member has to end first, or that there is no such member; else nothing."""
    core = driver.core
    name_of = driver.local.cluster.name_of
    if not core.links:
        return "nobody is connected"
    for link in core.table:
        status = link.status
        if link.syncing or link.served or link.compare_due:
            return f"a session with {name_of(link.node)} is under way"
        if status.last_error:
            return f"the last session with {name_of(link.node)} ended with: {status.last_error}"
        if link.sync_at is not None or status.in_step_at is None or status.in_step_at < link.since:
            return f"a session with {name_of(link.node)} is still to come"
    return ""


async def differing(driver: Driver) -> str:
    """Ask every connected member what it holds; say what one lacks, or is lacking here, else nothing."""
    local, core = driver.local, driver.core
    own = await asyncio.to_thread(own_vectors, local)
    asked = [link for link in driver.links.values() if link.id in core.links]
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(ask(link, own)) for link in asked]
    for link, answer in zip(asked, answers, strict=True):
        name = local.cluster.name_of(link.node)
        if why := answer.result():
            return f"{name} did not say what it holds: {why}"
        stated = core.status[link.node].stated if link.node in core.status else {}
        for space in sorted(own.keys() & stated.keys()):
            if there := own[space].count_missing_in(stated[space]):
                return f"{name} lacks {there} changes"
            if here := stated[space].count_missing_in(own[space]):
                return f"{here} changes that {name} holds are missing here"
    if await asyncio.to_thread(own_vectors, local) != own or {one.id for one in asked} != set(core.links):
        return "something changed while the members were asked"
    return unsettled(driver)
