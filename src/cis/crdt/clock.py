"""The hybrid logical clock (Kulkarni et al., OPODIS 2014), bounded so that a lying peer cannot drag it.

::

    clock = HybridClock()
    stamp = clock.tick(now_ms)        # for a local write
    clock.observe(stamp, now_ms)      # for a change received
"""

from __future__ import annotations

from cis.model import CHANGE_FUTURE_LIMIT_MS, Hlc, hlc, hlc_ms
from cis.model.hlc import COUNTER_MAX


class HybridClock:
    """Makes stamps greater than all it made or observed, close to physical time."""

    def __init__(self, last: Hlc = Hlc(0)) -> None:  # noqa: B008 - an int, immutable
        self.last = last

    def tick(self, now_ms: int) -> Hlc:
        """Return a fresh stamp, strictly greater than every earlier one."""
        physical = hlc(max(now_ms, 0))
        if physical > self.last:
            self.last = physical
        else:
            self.last = Hlc(self.last + 1)  # a full counter carries into the next millisecond by itself
        return self.last

    def observe(self, stamp: Hlc, now_ms: int) -> bool:
        """Follow a received stamp; False, and no effect, when it lies more than ten minutes ahead."""
        if hlc_ms(stamp) > now_ms + CHANGE_FUTURE_LIMIT_MS:
            return False
        self.last = max(self.last, stamp)
        return True


assert COUNTER_MAX == (1 << 16) - 1, "tick relies on the counter carrying into the milliseconds"
