"""Broadcasts in the order their authors sent them: FIFO broadcast (Hadzilacos and Toueg, 1993), exactly once.

An author numbers what it says in one session 1, 2, 3 … . A number that is missing is waited for a moment and then given
up: what comes below what was delivered is dropped, so that a reader never goes back. Everything is bounded: what one
stream holds back, what all do, the sessions of an author, the authors.

::

    ordering: Ordering[str] = Ordering()
    for text in ordering.accept(author, session, number, text, now): …
    for text in ordering.due(now): …                 # when ordering.next_due() has come
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cis.model import NodeId

Item = TypeVar("Item")

GAP_S = 5.0
"""how long a missing number is waited for"""
START_S = 1.0
"""how long lower numbers are waited for where a stream is met midway"""
IDLE_S = 600.0
"""a stream that says nothing for so long is forgotten"""
HELD_PER_STREAM_MAX = 256
HELD_MAX = 4096
SESSIONS_MAX = 4
AUTHORS_MAX = 1024


@dataclass(frozen=True)
class OrderingStatistics:
    """What came too late or twice, what was given up, and what waits."""

    late: int
    repeated: int
    skipped: int
    """gaps given up"""
    held: int
    streams: int


class _Stream(Generic[Item]):
    """One author's session: all below ``following`` is delivered or given up; ``held`` waits for a lower number."""

    __slots__ = ("active_at", "due", "following", "held")

    def __init__(self) -> None:
        self.following = 1
        self.held: dict[int, Item] = {}
        self.due: float | None = None
        self.active_at = 0.0


class Ordering(Generic[Item]):
    """Puts the items of many authors in order, each author's for itself."""

    def __init__(self) -> None:
        self._authors: OrderedDict[NodeId, OrderedDict[Hashable, _Stream[Item]]] = OrderedDict()
        self._waiting: dict[tuple[NodeId, Hashable], _Stream[Item]] = {}
        self._held = 0
        self._late = self._repeated = self._skipped = 0

    def accept(self, author: NodeId, session: Hashable, number: int, item: Item, now: float) -> list[Item]:
        """Take an item and return what may be delivered now, in order."""
        out: list[Item] = []
        stream = self._stream(author, session, out)
        stream.active_at = now
        if number < stream.following:
            self._late += 1
        elif number in stream.held:
            self._repeated += 1
        elif number == stream.following:
            stream.following += 1
            out.append(item)
            self._run_on(author, session, stream, now, out)
        else:
            stream.held[number] = item
            self._held += 1
            if stream.due is None:
                stream.due = now + (START_S if stream.following == 1 else GAP_S)
                self._waiting[author, session] = stream
            self._relieve(author, session, stream, now, out)
        return out

    def next_due(self) -> float | None:
        """Return when the next gap is given up, None where none is waited for."""
        return min((stream.due for stream in self._waiting.values() if stream.due is not None), default=None)

    def due(self, now: float) -> list[Item]:
        """Give up the gaps whose time is up and return what lies behind them; forget streams long idle."""
        out: list[Item] = []
        for (author, session), stream in list(self._waiting.items()):
            if stream.due is not None and stream.due <= now:
                self._skip(author, session, stream, now, out)
        for author, sessions in list(self._authors.items()):
            for session, stream in list(sessions.items()):
                if not stream.held and now - stream.active_at >= IDLE_S:
                    del sessions[session]
            if not sessions:
                del self._authors[author]
        return out

    def statistics(self) -> OrderingStatistics:
        """Return counters since the start, and sizes now."""
        streams = sum(len(sessions) for sessions in self._authors.values())
        return OrderingStatistics(self._late, self._repeated, self._skipped, self._held, streams)

    def _stream(self, author: NodeId, session: Hashable, out: list[Item]) -> _Stream[Item]:
        sessions = self._authors.get(author)
        if sessions is None:
            if len(self._authors) >= AUTHORS_MAX:
                oldest, given_up = self._authors.popitem(last=False)
                for name, stream in given_up.items():
                    self._close(oldest, name, stream, out)
            sessions = self._authors[author] = OrderedDict()
        self._authors.move_to_end(author)
        found = sessions.get(session)
        if found is None:
            if len(sessions) >= SESSIONS_MAX:
                name, stream = sessions.popitem(last=False)
                self._close(author, name, stream, out)
            found = sessions[session] = _Stream()
        sessions.move_to_end(session)
        return found

    def _run_on(self, author: NodeId, session: Hashable, stream: _Stream[Item], now: float, out: list[Item]) -> None:
        """Deliver what follows without a gap; wait anew for the next gap, if there is one."""
        while stream.following in stream.held:
            out.append(stream.held.pop(stream.following))
            self._held -= 1
            stream.following += 1
        if stream.held:
            stream.due = now + GAP_S
            self._waiting[author, session] = stream
        elif stream.due is not None:
            stream.due = None
            self._waiting.pop((author, session), None)

    def _skip(self, author: NodeId, session: Hashable, stream: _Stream[Item], now: float, out: list[Item]) -> None:
        self._skipped += 1
        stream.following = min(stream.held)
        self._run_on(author, session, stream, now, out)

    def _relieve(self, author: NodeId, session: Hashable, stream: _Stream[Item], now: float, out: list[Item]) -> None:
        """Give up gaps before their time where too much is held back."""
        while len(stream.held) > HELD_PER_STREAM_MAX:
            self._skip(author, session, stream, now, out)
        while self._held > HELD_MAX:
            (other, name), longest = min(self._waiting.items(), key=lambda entry: entry[1].due or 0.0)
            self._skip(other, name, longest, now, out)

    def _close(self, author: NodeId, session: Hashable, stream: _Stream[Item], out: list[Item]) -> None:
        """Deliver what a forgotten stream held."""
        self._waiting.pop((author, session), None)
        self._held -= len(stream.held)
        out += [stream.held[number] for number in sorted(stream.held)]
