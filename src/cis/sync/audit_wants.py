"""Pulling what is missing: a few wants under way at a time, each answered in order by a segment or by nothing.

`Wants` is the end that pulls, `Supplies` the end that answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from cis.errors import Fault, PeerFault
from cis.model import ReplicaId, SpaceId, VersionVector
from cis.sync.audit_effects import Range, Supply
from cis.wire.audit import Want

WANTS_AT_ONCE = 8
"""Wants without an answer: so many segments may be under way."""
WANTS_MAX = 16_384
"""Ranges wanted in one audit; what lies beyond is left to the next."""
SUPPLIES_MAX = 65_536
"""Segments one end supplies in one audit."""
_GAP_MAX = 512
"""Wanted numbers of one log with no more than this between them are wanted as one range."""


class Wants:
    """What is still to be asked for, what is asked, and what arrived and is being put back."""

    def __init__(self) -> None:
        self.failed: list[Range] = []
        """what the peer did not have, or not soundly"""
        self.truncated = False
        self._queue: deque[Range] = deque()
        self._asked: deque[Range] = deque()
        self._repairing = 0
        self._absent: list[Range] = []

    @property
    def idle(self) -> bool:
        """Tell whether nothing is wanted any more."""
        return not self._queue and not self._asked and not self._repairing

    @property
    def lacking(self) -> bool:
        """Tell whether something was answered by nothing."""
        return bool(self._absent)

    @property
    def asked(self) -> bool:
        """Tell whether the peer owes an answer."""
        return bool(self._asked)

    def plan(self, ranges: Iterable[Range], theirs: VersionVector) -> None:
        """Want those ranges of one space, as far as the peer's vector says it holds them."""
        for wanted in _joined(sorted(ranges)):
            reached = theirs.contiguous(wanted.replica)
            beyond = [held for held in theirs.beyond.get(wanted.replica, ()) if held[0] <= wanted.last]
            last = min(wanted.last, max(reached, *(high for _, high in beyond)) if beyond else reached)
            if last < wanted.last:
                self.failed.append(wanted._replace(first=max(wanted.first, last + 1)))
            if last >= wanted.first:
                self._queue.append(wanted._replace(last=last))
        if len(self._queue) > WANTS_MAX:
            self.truncated = True
            self._queue = deque(list(self._queue)[:WANTS_MAX])

    def next(self) -> Iterator[Want]:
        """Yield what may be asked for now."""
        while self._queue and len(self._asked) + self._repairing < WANTS_AT_ONCE:
            wanted = self._queue.popleft()
            self._asked.append(wanted)
            yield Want(*wanted)

    def arrived(self) -> Range:
        """Take note that the oldest want was answered by a segment, and return what it was."""
        self._repairing += 1
        return self._asked.popleft()

    def absent(self, last: int) -> None:
        """Take note that of the oldest want nothing is to be had up to a number."""
        wanted = self._asked.popleft()
        self._absent.append(wanted._replace(last=min(last, wanted.last)))
        if wanted.first <= last < wanted.last:
            self._queue.appendleft(wanted._replace(first=last + 1))

    def again(self) -> bool:
        """Want once more what was answered by nothing; False where there is none of it."""
        self._queue.extend(self._absent)
        self._absent.clear()
        return bool(self._queue)

    def give_up(self) -> None:
        """Count what was answered by nothing among what could not be had."""
        self.failed += self._absent
        self._absent.clear()

    def repaired(self, wanted: Range, reached: int | None) -> None:
        """Take note that what arrived is put back up to a number; None where it did not fit."""
        self._repairing -= 1
        if reached is None or reached < wanted.first:
            self.failed.append(wanted)
            return
        if reached < wanted.last:
            self._queue.appendleft(wanted._replace(first=reached + 1))
        while self._queue and self._queue[0][:2] == wanted[:2] and self._queue[0].first <= reached:
            ahead = self._queue.popleft()
            if ahead.last > reached:
                self._queue.appendleft(ahead._replace(first=reached + 1))


class Supplies:
    """What the peer wants and has not been answered; bounded in number, at once and in all."""

    def __init__(self) -> None:
        self._waiting = 0
        self._total = 0

    @property
    def idle(self) -> bool:
        """Tell whether the peer is owed nothing."""
        return not self._waiting

    def wanted(self, message: Want) -> Supply:
        """Take a want; `PeerFault` for one out of bounds."""
        if message.first > message.last:
            raise PeerFault(Fault.MALFORMED, "a range of numbers that ends before it begins")
        self._waiting += 1
        self._total += 1
        if self._waiting > WANTS_AT_ONCE or self._total > SUPPLIES_MAX:
            raise PeerFault(Fault.TOO_LARGE, "more is wanted at once than may be")
        return Supply(Range(SpaceId(message.space), ReplicaId(message.replica), message.first, message.last))

    def answered(self) -> None:
        """Take note that the oldest want is answered."""
        self._waiting -= 1


def _joined(ranges: list[Range]) -> Iterator[Range]:
    current: Range | None = None
    for one in ranges:
        if current is not None and one[:2] == current[:2] and one.first <= current.last + _GAP_MAX:
            current = current._replace(last=max(current.last, one.last))
            continue
        if current is not None:
            yield current
        current = one
    if current is not None:
        yield current
