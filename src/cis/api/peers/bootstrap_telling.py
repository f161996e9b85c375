"""Telling of the bootstrap list while a node runs: at intervals, and once as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cis.api.peers.peer_schema import BootstrapList


@dataclass(frozen=True)
class Telling:
    """Every so many seconds ``tell`` is given the list."""

    every_s: float
    tell: Callable[[BootstrapList], None]

    async def run(self, now: Callable[[], BootstrapList]) -> None:
        """Tell of the list until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(self.every_s)
                self.tell(now())
        finally:
            self.tell(now())
