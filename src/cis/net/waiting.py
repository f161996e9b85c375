"""Waiting for something to change without a task or a lock: look, wait, look again."""

from __future__ import annotations

import asyncio


class Change:
    """Wakes everybody who waits; each then looks for itself whether its condition holds."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    async def wait(self) -> None:
        """Wait for the next ``notify``."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def notify(self) -> None:
        """Wake them all."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
