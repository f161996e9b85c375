"""The router's clock of its own memory: PCP's Epoch Time (RFC 6887 § 8.5), NAT-PMP's Seconds Since Start of Epoch.

Every answer carries it. It counts seconds since the router last forgot its mappings, so when it does not move as
our clock does, they are gone. RFC 6887's test is used for both: it is the stricter one.
"""

from __future__ import annotations

_SLACK_S = 2
_DRIFT = 16
"""Clocks may differ by one part in so many."""


class Epoch:
    """The last epoch heard and when."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Take note of an epoch; whether the router has forgotten its mappings since the one before."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return False
        server, client = epoch - last[0], now - last[1]
        if server < -1:
            return True
        return client + _SLACK_S < server - server / _DRIFT or server + _SLACK_S < client - client / _DRIFT
