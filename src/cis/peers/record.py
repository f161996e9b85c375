"""How a peer, or one way to it, has fared: counts for people, and what a score is made from.

The rate of success is a moving average, so that what happened lately counts most: a place that worked a thousand times
and then failed ten times in a row is worth little. The round trip is smoothed as TCP does it (RFC 6298 §2).
"""

from __future__ import annotations

from dataclasses import dataclass

RATE_GAIN = 0.25
"""How much of the rate the last outcome is."""
RATE_UNTRIED = 0.5
STANDS_S = 60.0
"""A connection that stands this long counts as good as another one made, in the rate and in nothing else."""
RTT_GAIN = 1 / 8
RTT_SPREAD_GAIN = 1 / 4
RTT_S_MAX = 60.0


@dataclass(slots=True, kw_only=True)
class Record:
    """Outcomes so far; moments are by the clock of whoever reports them."""

    successes: int = 0
    failures: int = 0
    rate: float = RATE_UNTRIED
    succeeded_at: float | None = None
    """when it last proved to work, as a connection that stands does"""
    failed_at: float | None = None
    rtt_s: float | None = None
    """the smoothed round trip"""
    rtt_spread_s: float = 0.0
    """how far single round trips are from it"""

    def count_success(self, now: float) -> None:
        """It led to a connection."""
        self.successes += 1
        self._worked(now)

    def count_failure(self, now: float) -> None:
        """It led nowhere."""
        self.failures += 1
        self.failed_at = now
        self.rate -= RATE_GAIN * self.rate

    def stand(self, now: float) -> None:
        """The connection it led to still stands."""
        if self.succeeded_at is None or now - self.succeeded_at >= STANDS_S:
            self._worked(now)

    def measure(self, rtt_s: float) -> None:
        """Take in one round trip."""
        rtt_s = min(max(rtt_s, 0.0), RTT_S_MAX)
        if self.rtt_s is None:
            self.rtt_s, self.rtt_spread_s = rtt_s, rtt_s / 2
        else:
            self.rtt_spread_s += RTT_SPREAD_GAIN * (abs(self.rtt_s - rtt_s) - self.rtt_spread_s)
            self.rtt_s += RTT_GAIN * (rtt_s - self.rtt_s)

    def _worked(self, now: float) -> None:
        self.succeeded_at = now
        self.rate += RATE_GAIN * (1.0 - self.rate)
