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
    """Makes stamps greater than all it made or observed, close to physical time.

    Only where the local clock was set back by more than ten minutes does it begin anew from there: stamps that
    went on from the wrong time would be held back everywhere, here included.
    """

    def __init__(self, last: Hlc = Hlc(0)) -> None:  # noqa: B008 - an int, immutable
        self.last = last

    def tick(self, now_ms: int) -> Hlc:
        """Return a fresh stamp, greater than every earlier one that is not too far ahead to be in effect."""
        physical = hlc(max(now_ms, 0))
        if physical > self.last or _too_far_ahead(self.last, now_ms):
            self.last = physical
        else:
            self.last = Hlc(self.last + 1)  # a full counter carries into the next millisecond by itself
        return self.last

    def observe(self, stamp: Hlc, now_ms: int) -> bool:
        """Follow a received stamp; False, and no effect, when it lies more than ten minutes ahead."""
        if _too_far_ahead(stamp, now_ms):
            return False
        self.last = max(self.last, stamp)
        return True


def _too_far_ahead(stamp: Hlc, now_ms: int) -> bool:
    return hlc_ms(stamp) > now_ms + CHANGE_FUTURE_LIMIT_MS


assert COUNTER_MAX == (1 << 16) - 1, "tick relies on the counter carrying into the milliseconds"
