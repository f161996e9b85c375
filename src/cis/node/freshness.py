"""A certificate of its own for each slot of time and each network (RULES of connections), so that it links neither.

The slots are those of mDNS: address, port and the rest of what strangers see then change, or stay, together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cis.discovery.tags import slot_of
from cis.model import Candidate
from cis.net import Certificate

LOOK_S = 10.0
"""How soon a new slot or network is noticed."""

Surroundings = tuple[int, tuple[Candidate, ...]]


class Freshness:
    """``show`` is given each new certificate."""

    def __init__(
        self,
        show: Callable[[Certificate], None],
        clock_ms: Callable[[], int],
        candidates: Callable[[], tuple[Candidate, ...]],
    ) -> None:
        self._show = show
        self._clock_ms = clock_ms
        self._candidates = candidates
        self._seen = self._around()

    def look(self) -> bool:
        """Show another certificate if slot or addresses are others than when last looked; True if so."""
        around = self._around()
        if around == self._seen:
            return False
        self._seen = around
        self._show(Certificate.generate())
        return True

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def _around(self) -> Surroundings:
        return slot_of(self._clock_ms() / 1000), self._candidates()
