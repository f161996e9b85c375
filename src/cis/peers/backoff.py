"""How long a peer is left in peace after a round of dials that led nowhere.

Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): the n-th pause in a row is drawn
evenly between nothing and ``BASE_S`` · 2ⁿ, at most `CEILING_S`, so that many nodes which lost the same peer at the same
time do not come back to it at the same time. Good news ends it: a connection, an address not known before, another
network under this node, a user who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

BACKOFF_BASE_S = 0.5
BACKOFF_CEILING_S = 60.0
BACKOFF_FLOOR_S = 0.1
_DOUBLINGS_MAX = 20


def longest_s(streak: int) -> float:
    """Return the longest pause after so many rounds in a row that led nowhere."""
    return min(BACKOFF_CEILING_S, BACKOFF_BASE_S * 2.0 ** min(streak, _DOUBLINGS_MAX))


def pause_s(streak: int, rng: Random) -> float:
    """Draw the pause after so many rounds in a row that led nowhere."""
    return max(BACKOFF_FLOOR_S, rng.uniform(0.0, longest_s(streak)))
