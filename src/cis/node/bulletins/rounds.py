"""The rounds of stability in a running node: one after its pause, or sooner where somebody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random

from cis.errors import CisError
from cis.node.bulletins.hearing import Message
from cis.node.bulletins.stability import ROUND_S, STABILITY, Stability, space_of
from cis.node.bulletins.topics import Topics

_log = logging.getLogger(__name__)

HASTENED_S = 10.0
"""A round that is due soon comes within about so long, and so far apart are those that are hastened."""


class Rounds:
    """Belongs to the loop."""

    def __init__(self, stability: Stability, topics: Topics, rng: Random) -> None:
        self._stability = stability
        self._topics = topics
        self._rng = rng
        self._hastened = asyncio.Event()

    def hasten(self) -> None:
        """Have the next round come soon."""
        self._hastened.set()

    async def run(self) -> None:
        """Collect what all members have had, and tell them what this node holds, now and then; until cancelled."""
        self._topics.read_system(STABILITY, self._on_report)
        while True:
            await self._pause()
            try:
                reports = await asyncio.to_thread(self._stability.round)
            except CisError:
                _log.warning("history was not collected this time", exc_info=True)
                continue
            for report in reports:
                self._topics.tell_system(STABILITY, report, space_of(report))

    def _on_report(self, message: Message) -> None:
        if self._stability.take(message.author, message.payload):
            self.hasten()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROUND_S * self._rng.uniform(0.5, 1.5)):
                await self._hastened.wait()
                await asyncio.sleep(HASTENED_S * self._rng.uniform(0.5, 1.5))
        self._hastened.clear()
