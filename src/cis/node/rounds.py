"""When the next round of something is due: after its pause, or sooner where somebody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random


class Rounds:
    """Belongs to the loop. Rounds that are hastened still lie about ``least_s`` apart, whoever asks how often."""

    def __init__(self, least_s: float, rng: Random) -> None:
        self._least_s = least_s
        self._rng = rng
        self._hastened = asyncio.Event()

    def hasten(self) -> None:
        """Have the next round come soon."""
        self._hastened.set()

    async def wait(self, pause_s: float) -> None:
        """Return when the next round is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hastened.wait()
                await asyncio.sleep(self._least_s * self._rng.uniform(0.5, 1.5))
        self._hastened.clear()
