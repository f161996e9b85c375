"""Which of the messages that members tell are read: each once, each author's in order, none that is too old.

*Once.* An author numbers what it tells in one run of its node, and a reader remembers how far it has read each run:
so whether something was read before rests on numbers, not on clocks, and outlasts the cache of gossip.

*Age.* Clocks lie, so age is judged only where numbers cannot: of a run that is new here. It is refused as replayed
where it was told over `AGE_MS` before both our clock and the newest its author ever told by its own. A member whose
clock is off by an hour is read like any other; one that restarts with its clock set back is, once the clock is right.
What its author told within that time of its newest is passed on, even where it comes too late to be read here.

::

    hearing = Hearing()
    judged = hearing.judge(statement, now_ms)          # Judged(fresh=True, …)
    for message in hearing.accept(statement, message, now): …
    for message in hearing.due(now): …                 # when hearing.next_due() has come
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from cis.gossip import Ordering
from cis.model import NodeId
from cis.wire.bulletins import BulletinStatement

AGE_MS = 120_000
RUNS_KEPT_MAX = 64


@dataclass(frozen=True, slots=True)
class Message:
    """What a member told; ``sent_ms`` is by its own clock."""

    topic: str
    author: NodeId
    sent_ms: int
    payload: bytes


class Judged(NamedTuple):
    """Whether a bulletin is still to be read here, and whether it was told lately by its author's own clock."""

    fresh: bool
    recent: bool


@dataclass(slots=True)
class _Author:
    """What is remembered of an author: its newest time, and how far each of its runs was read."""

    newest_ms: int | None = None
    runs: OrderedDict[bytes, int] = field(default_factory=OrderedDict)


class Hearing:
    """Times are of any one clock, but for ``now_ms``, which is Unix time."""

    def __init__(self) -> None:
        self._authors: dict[NodeId, _Author] = {}
        self._ordering: Ordering[tuple[bytes, int, Message]] = Ordering()

    def judge(self, statement: BulletinStatement, now_ms: int) -> Judged:
        """Judge a statement of a current member."""
        known = self._authors.get(NodeId(statement.author), _Author())
        newest_ms = known.newest_ms if known.newest_ms is not None else statement.sent_ms
        recent = statement.sent_ms >= newest_ms - AGE_MS
        read = known.runs.get(statement.session)
        if read is not None:
            return Judged(statement.number > read, recent)
        return Judged(recent or statement.sent_ms >= now_ms - AGE_MS, recent)

    def accept(self, statement: BulletinStatement, message: Message, now: float) -> list[Message]:
        """Take a fresh message; return what is to be read now, in order."""
        known = self._authors.setdefault(message.author, _Author())
        known.newest_ms = max(known.newest_ms or 0, statement.sent_ms)
        item = (statement.session, statement.number, message)
        return self._read(self._ordering.accept(message.author, statement.session, statement.number, item, now))

    def due(self, now: float) -> list[Message]:
        """Return what is to be read now because what is missing before it was waited for long enough."""
        return self._read(self._ordering.due(now))

    def next_due(self) -> float | None:
        """Return when to ask `due`."""
        return self._ordering.next_due()

    def _read(self, items: list[tuple[bytes, int, Message]]) -> list[Message]:
        """Note how far the authors' runs are read."""
        messages = []
        for run, number, message in items:
            runs = self._authors[message.author].runs
            if number > runs.get(run, 0):
                runs[run] = number
                runs.move_to_end(run)
                if len(runs) > RUNS_KEPT_MAX:
                    runs.popitem(last=False)
                messages.append(message)
        return messages
