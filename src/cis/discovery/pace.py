"""When a node speaks on a network by mDNS: pure; ``now`` and the generator come in (RFC 6762 §5.2, §6, §8.3).

On a network it has just come to, a node shows itself and asks who is there within a moment, and once more a second
later; as long as it hears nobody, or shows nothing itself, it asks on after pauses that double. From then on it shows
itself in intervals, and to who asks. All pauses are drawn at random, and grow with the number of nodes heard
(``around``), so that all nodes of a network together say so much a second, however many they are::

    pace = Pace(rng, interval_s=30, now=now)
    if now >= pace.due:
        ...                                       # show; ask, where `pace.asks` says so
        pace.on_spoke(now, around, wanting=nobody_heard, sent=True)
    pace.on_asked(now, around)
"""

from __future__ import annotations

from random import Random

FIRST_S = 0.02
"""The least pause before anything is said (RFC 6762 §5.2, §6)."""
SPREAD_S_MIN, SPREAD_S_MAX = 0.1, 2.0
ANSWERS_PER_S = 50
"""About how many answers all nodes of a network give a second."""
REFRESHES_PER_S = 2
"""About how many nodes of a network show themselves unasked a second, where there are many."""
INTERVAL_S_MAX = 120.0
AGAIN_S = 1.0
"""The least pause between two things one node says (RFC 6762 §6)."""
STEPS = 5
"""How often it asks at the beginning while it hears nobody."""
BEGIN_AGAIN_S = 5.0
"""The least pause between two beginnings: networks that come and go."""


class Pace:
    """Speak when it is ``due``."""

    def __init__(self, rng: Random, interval_s: float, now: float) -> None:
        self._rng = rng
        self._interval_s = interval_s
        self._spoke_at = self._began_at = float("-inf")
        self._answering = False
        self._failures = 0
        self._step = 0
        self._wanting = self._beginning = False
        self.due = now
        self.begin(now)

    @property
    def asks(self) -> bool:
        """Whether to ask who is there, too."""
        return self._step == 0 or self._wanting

    def begin(self, now: float) -> None:
        """The network is new, or another than before."""
        if self._beginning:
            return
        self._beginning = True
        self._step, self._failures, self._wanting = 0, 0, False
        self._began_at = max(now, self._began_at + BEGIN_AGAIN_S)
        self.due = self._began_at + self._rng.uniform(FIRST_S, FIRST_S + SPREAD_S_MIN)

    def on_asked(self, now: float, around: int) -> None:
        """Somebody asks: answer soon, once for all who ask until then."""
        if not self._answering:
            self._answering = True
            spread_s = self._rng.uniform(FIRST_S, FIRST_S + spread(around))
            self.due = min(self.due, max(now, self._spoke_at + AGAIN_S) + spread_s)

    def on_spoke(self, now: float, around: int, *, wanting: bool, sent: bool) -> None:
        """It has; ``wanting`` while nobody was heard or nothing shown, ``sent`` unless the network did not take it."""
        self._spoke_at, self._answering, self._beginning = now, False, False
        if not sent:
            self._failures += 1
            pause_s = min(2.0 ** min(self._failures, 16), self.interval_s(around))
            self.due = now + pause_s * self._rng.uniform(0.5, 1.0)
            return
        self._failures = 0
        self._wanting = wanting and self._step + 1 < STEPS
        if self._step == 0 or self._wanting:
            self.due = now + AGAIN_S * 2.0**self._step + self._rng.uniform(0, spread(around))
        else:
            self.due = now + self.interval_s(around) * self._rng.uniform(0.75, 1.25)
        self._step += 1

    def interval_s(self, around: int) -> float:
        """Return how often a node shows itself among so many others."""
        return max(self._interval_s, min(around / REFRESHES_PER_S, INTERVAL_S_MAX))

    def ttl_s(self, around: int) -> int:
        """Return how long what it says holds: three times that it is not heard may be chance."""
        return max(120, round(4 * self.interval_s(around)))


def spread(around: int) -> float:
    """Return the seconds over which so many nodes spread what they all want to say at once."""
    return min(max(SPREAD_S_MIN, around / ANSWERS_PER_S), SPREAD_S_MAX)
