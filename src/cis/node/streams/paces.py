"""How much of one member's talk a node takes, so that none of them can crowd out the others.

What comes over a connection is paced: gossip by messages and bytes, streams by what serving them costs. A pace loses
nothing; it lets the sender wait. What one author tells through one neighbour has a quota, before it is verified or even
remembered: beyond it a bulletin is dropped and a change left to the next session, which brings many at once for less.
The quota is per neighbour and author, so that nobody can use up another's by telling what that one never said.

Whatever was turned away or slowed down is counted in a `Tally`, by what it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from cis.errors import PeerFault
from cis.model import NodeId
from cis.rate import Bucket, Rates
from cis.wire.bulletins import decode_bulletin
from cis.wire.messages import is_segment
from cis.wire.segment import author_of

Tally = Counter[str]
"""What was turned away or slowed down since the start, by what it was."""

GOSSIP_UNITS_PER_S, GOSSIP_UNITS_BURST = 1000.0, 250.0
"""A gossip message is one unit and one for each KiB of it."""
STREAM_UNITS_PER_S, STREAM_UNITS_BURST = 50.0, 1000.0
_STREAM_UNITS = {"records": 10.0, "sync": 5.0, "audit": 20.0, "vectors": 5.0, "signal": 2.0}
"""What a stream costs by its purpose; others cost one unit, as does each ping."""
LENT_UNITS = 0.25
"""What each value costs that is lent over a stream, beside the stream itself."""
FORWARDS_PER_S, FORWARDS_BURST = 10.0, 100.0
"""Signals of one member that are passed on to others."""
OFFERS_PER_S, OFFERS_BURST = 0.5, 8.0
"""Offers of paths that one member may make."""
CHANGES_PER_S, CHANGES_BURST = 200.0, 2000.0
BULLETINS_PER_S, BULLETINS_BURST = 50.0, 500.0
AUTHORS_MAX = 1024
"""Authors whose quota is remembered for one neighbour."""
TURNS_IN_A_ROW = 8
"""What has arrived at once would otherwise be dealt with at once, and the others would wait as long."""


class Pace:
    """Slows one peer down; ``name`` is what it is counted as."""

    def __init__(self, name: str, tally: Tally, *, per_s: float, burst: float) -> None:
        self._name = name
        self._tally = tally
        self._bucket = Bucket(per_s=per_s, burst=burst)
        self._turns = 0

    def spend(self, units: float) -> None:
        """Note that something was taken."""
        self._bucket.spend(units, asyncio.get_running_loop().time())

    async def wait(self) -> None:
        """Wait until no more was taken than the pace allows; lets others have a turn in any case now and then."""
        self._turns += 1
        if self._turns % TURNS_IN_A_ROW == 0:
            await asyncio.sleep(0)
        delay_s = self._bucket.spend(0.0, asyncio.get_running_loop().time())
        if delay_s:
            self._tally[self._name] += 1
            await asyncio.sleep(delay_s)


def gossip_pace(tally: Tally) -> Pace:
    """Return the pace of gossip over one connection."""
    return Pace("gossip_slowed", tally, per_s=GOSSIP_UNITS_PER_S, burst=GOSSIP_UNITS_BURST)


def stream_pace(tally: Tally) -> Pace:
    """Return the pace of streams over one connection."""
    return Pace("streams_slowed", tally, per_s=STREAM_UNITS_PER_S, burst=STREAM_UNITS_BURST)


def units_of_gossip(size: int) -> float:
    """Return what a gossip message of that many bytes costs."""
    return 1.0 + size / 1024


def units_of_stream(purpose: str) -> float:
    """Return what serving a stream costs."""
    return _STREAM_UNITS.get(purpose, 1.0)


class Quotas:
    """What authors may tell through the neighbour ``teller`` before it is looked at closely.

    ``missed`` is called for each change that is left to a session.
    """

    def __init__(self, teller: NodeId, tally: Tally, clock: Callable[[], float], missed: Callable[[], None]) -> None:
        self._teller = teller
        self._tally = tally
        self._clock = clock
        self._missed = missed
        self._changes: Rates[NodeId] = Rates(per_s=CHANGES_PER_S, burst=CHANGES_BURST, keys_max=AUTHORS_MAX)
        self._bulletins: Rates[NodeId] = Rates(per_s=BULLETINS_PER_S, burst=BULLETINS_BURST, keys_max=AUTHORS_MAX)

    def admit(self, body: bytes) -> bool:
        """Tell whether a body is within its author's quota."""
        segment, now = is_segment(body), self._clock()
        rates = self._changes if segment else self._bulletins
        author = (author_of(body) if segment else _teller_of(body)) or self._teller
        if rates.take(author, now):
            return True
        if segment:
            self._missed()
        self._tally["changes_over_quota" if segment else "bulletins_over_quota"] += 1
        return False


def _teller_of(body: bytes) -> NodeId | None:
    try:
        return NodeId(decode_bulletin(body)[1].author)
    except PeerFault:
        return None
