"""What a session brings of logs, and when numbers left out in it were collected by the peer (RULES of state, 3, 6).

Below its floor a node takes over that what a peer does not send any more is dead. So it must be the peer that left it
out: one that holds the log up to there without a gap; and this node must hold, or have been sent, all that it stated to
hold and all that came before. What it refused of a log, or a removal has cut off since, was not left out by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cis.model import ReplicaId, SpaceId, VersionVector

_NOTHING = VersionVector()
Log = tuple[SpaceId, ReplicaId]


class Order:
    """Of one session: ``held`` is what this node stated, ``theirs`` what the peer states, which may come meanwhile."""

    def __init__(self, held: Mapping[SpaceId, VersionVector], theirs: Mapping[SpaceId, VersionVector]) -> None:
        self._held = held
        self._theirs = theirs
        self._turns = 0
        self._reached: dict[Log, int] = {}
        self._refused: dict[Log, int] = {}
        """from which turn on something of a log was refused"""

    def turn(self) -> Turn:
        """Return the turn of the next segment; to be called as segments come."""
        self._turns += 1
        return Turn(self, self._turns)

    def left_out(self, log: Log, turn: int, end: int, first: int) -> bool:
        """Answer `Turn.left_out`."""
        space, replica = log
        stated = self._held.get(space, _NOTHING).contiguous(replica)
        return (
            first <= self._theirs.get(space, _NOTHING).contiguous(replica)
            and max(stated, self._reached.get(log, 0)) <= end
            and self._refused.get(log, turn) >= turn
        )

    def took(self, log: Log, last: int) -> None:
        """A log was taken up to a number; to be called once that is committed."""
        self._reached[log] = max(last, self._reached.get(log, 0))

    def refused(self, log: Log, turn: int) -> None:
        """Part of a log was not taken: what comes after it does not show what the peer left out."""
        self._refused[log] = min(turn, self._refused.get(log, turn))


@dataclass(frozen=True, slots=True)
class Turn:
    """The place of one segment in its session; the writer's thread alone asks and tells."""

    order: Order
    number: int

    def left_out(self, log: Log, end: int, first: int) -> bool:
        """Tell whether the peer keeps nothing of a log between the end it has here and this segment's ``first``."""
        return self.order.left_out(log, self.number, end, first)

    def took(self, log: Log, last: int) -> None:
        """It was taken, and the log goes without a gap up to ``last``."""
        self.order.took(log, last)

    def refused(self, log: Log) -> None:
        """It was not taken, or not to its end."""
        self.order.refused(log, self.number)
