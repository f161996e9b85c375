"""When a peer has to stop sending: too much of what it sent lies unread, or more came than its share of the line.

It is stopped by leaving the core undrained, so that it runs out of credit; that stops all streams of the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cis.net.drive import Drive
    from cis.net.limits import NetLimits
    from cis.net.traffic import Flow


class Account(Protocol):
    """Where it is counted (``connection.Registrar``)."""

    def on_paused(self) -> None: ...


class Intake:
    """What one connection takes in; ``unread_bytes`` are those no reader took yet."""

    def __init__(self, drive: Drive, limits: NetLimits, account: Account) -> None:
        self.limits = limits
        self.unread_bytes = 0
        self._drive = drive
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._resume_wanted = False
        self._flow: Flow | None = None
        self._held: asyncio.Handle | None = None
        drive.footing.share.on_changed = lambda: drive.guarded(self._let_go)

    def arrived(self, size: int, flow: Flow) -> None:
        """Count bytes that a stream has now, which counts in ``flow``."""
        self.unread_bytes += size
        self._flow = flow

    def look(self) -> None:
        """Stop the peer where it must."""
        core = self._drive.core
        if core.paused:
            return
        if self.unread_bytes > self.limits.pause_above_bytes:
            core.pause()
            self._account.on_paused()
        elif self._drive.settled and self._hold():
            core.pause()

    def consumed(self, size: int) -> None:
        """Count bytes as read; may let the peer send on."""
        self.unread_bytes -= size
        if self._drive.core.paused and self._held is None and not self._resume_wanted and not self._crowded():
            self._resume_wanted = True
            self._loop.call_soon(self._drive.guarded, self._resume)

    def _crowded(self) -> bool:
        return self.unread_bytes > self.limits.pause_above_bytes // 2

    def _hold(self) -> bool:
        """Wait until nothing is owed; False where nothing is."""
        owed_s = self._drive.footing.share.owed_s
        if not owed_s:
            return False
        if self._flow is not None:
            self._flow.held_in_s += owed_s
        self._held = self._loop.call_later(owed_s, self._drive.guarded, self._let_go)
        return True

    def _let_go(self) -> None:
        """What was owed has been waited out, or is forgotten; more may have come meanwhile."""
        if self._held is None:
            return
        self._held.cancel()
        self._held = None
        if self._drive.reason is None and not self._hold() and not self._crowded():
            self._resume()

    def _resume(self) -> None:
        self._resume_wanted = False
        self._drive.core.resume()
        self._drive.after_input()
