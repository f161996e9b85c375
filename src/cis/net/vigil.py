"""Whether a path still answers: when to ask again, and when silence means that it is dead. Pure: ``now`` comes in.

Silence alone means nothing, for there may be nothing to say. Doubt begins where QUIC's own probe timeout passes
(RFC 9002 §6.2), which it does only while something sent waits for its acknowledgement. From then on a PING is sent
every ``ASK_S``, for the timeout's own probes come ever more rarely, until one thing sent is acknowledged. The path is
suspected when ``SILENT_S`` have passed in doubt, and so many PINGs that all of them hardly got lost by chance: more
on a path that is known to lose.
"""

from __future__ import annotations

ASK_S = 0.1
SUSPECT_ASK_S = 0.5
"""A path that comes back by itself is found again this soon."""
SILENT_S = 0.7
_ASKED_MIN = 6
_ASKED_PER_LOSS = 20
"""At 25 % loss in each direction 11 PINGs fail by chance once in 10,000 doubts."""


class Vigil:
    """The doubt about one path; ``asking`` while there is some."""

    __slots__ = ("_asked", "_since", "asking", "suspect")

    def __init__(self) -> None:
        self.asking = False
        self.suspect = False
        self._since = 0.0
        self._asked = 0

    def doubt(self, now: float) -> bool:
        """Begin to ask; returns False if that is under way."""
        if self.asking:
            return False
        self.asking = True
        self._since, self._asked = now, 0
        return True

    def begin_again(self, now: float) -> None:
        """Forget what was thought of the path before this one."""
        self.suspect = False
        self._since, self._asked = now, 0

    def rest(self) -> None:
        """Something sent was acknowledged."""
        self.asking = self.suspect = False

    def ask(self, now: float, *, loss: float, rtt_s: float) -> bool:
        """Count one more PING, sent now; returns whether the path has just become suspect."""
        ripe = self._asked - int(rtt_s / ASK_S)  # those whose answer could be here
        self._asked += 1
        if self.suspect or now - self._since < SILENT_S or ripe < _ASKED_MIN + _ASKED_PER_LOSS * loss:
            return False
        self.suspect = True
        return True

    @property
    def ask_again_in_s(self) -> float:
        """How long to wait before the next PING."""
        return SUSPECT_ASK_S if self.suspect else ASK_S
