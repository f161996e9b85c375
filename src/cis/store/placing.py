"""Where a verified segment goes: what of it is new, whether it continues a log, waits beyond a gap, or forks.

A log advances only without gaps (RULES of state, 3). What arrives beyond one is kept apart, with the link it
must follow, until the gap closes. Two contents under one number are a fork, and nothing of it is taken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cis.arrays import np
from cis.errors import Fault, PeerFault
from cis.store.collection import forget_log
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.trust.signing import part

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from cis.store.ordering import Turn
    from cis.store.replicas import LogEnd, Replicas
    from cis.trust.signing import Verified

BEYOND_MAX = 4096
"""Dots this far past the end of a log are not kept, unless told otherwise: anti-entropy brings them in order."""


class Placer:
    """Compares segments with the logs held, inside the caller's transaction."""

    def __init__(self, connection: apsw.Connection, replicas: Replicas, beyond_max: Callable[[], int]) -> None:
        self._connection = connection
        self._replicas = replicas
        self._beyond_max = beyond_max

    def place(self, verified: Verified, turn: Turn | None = None) -> tuple[LogEnd, list[Verified]]:
        """Return the log it belongs to and the parts of it that are new, having advanced the log's end.

        ``turn`` is its place in the session it came in, None for what came by itself.
        Raises `PeerFault`: UNAUTHORISED for an unknown space, FORKED where it contradicts what is held, EXCESSIVE
        where its author has too many incarnations.
        """
        space = self._replicas.space_numbers.get(verified.space)
        if space is None:
            raise PeerFault(Fault.UNAUTHORISED, "changes of a space this node does not share")
        self._replicas.require_room(space, [verified.replica, *verified.listed()])
        end = self._replicas.end(space, verified.replica)
        fresh = self._after_end(verified, end)
        if fresh is None:
            return end, []
        self._require_known(fresh, end)
        first, collected = fresh.segment.first, max(end.floor, end.severed)
        if first <= collected and turn is None:
            raise PeerFault(Fault.BUSY, "a change from below the stable floor, on its own: it may have been collected")
        if turn is not None and end.seq < first - 1 <= collected:
            if first - 1 <= end.floor and turn.left_out((verified.space, verified.replica), end.seq, first):
                return self._begin_at(fresh, end)
            if first <= collected:
                return end, []  # a session with a peer that has what comes before brings it in order
        return self._continue(fresh, end)

    def _continue(self, fresh: Verified, end: LogEnd) -> tuple[LogEnd, list[Verified]]:
        """Place what begins behind the log's end."""
        if fresh.segment.first > end.seq + 1:
            if fresh.last > end.seq + self._beyond_max():
                return end, []
            parts = self._without_held(fresh, end)
            end.beyond = True
            return end, parts
        if fresh.segment.previous != end.link:
            raise _forked(end)
        if end.beyond:
            return end, self._without_held(fresh, end)
        end.seq, end.link = fresh.last, fresh.links[-1]
        return end, [fresh]

    def absorb(self, end: LogEnd) -> None:
        """Advance the end over changesets that were held beyond a gap now closed."""
        query = "SELECT link, previous, length(hashes) / 32 FROM changeset WHERE rid=?"
        while True:
            row = self._connection.execute(query, (rid_of(end.number, end.seq + 1),)).fetchone()
            if row is None:
                break
            link, previous, count = row
            if previous is not None and previous != end.link:
                break  # a fork: what continues either branch is refused when it comes
            end.seq, end.link = end.seq + count, link
        end.beyond = self._replicas.has_beyond(end.number, end.seq)

    def _require_known(self, fresh: Verified, end: LogEnd) -> None:
        """Refuse changes that are there as leaves alone, but where whole states were compared (RULES of state, 6)."""
        collected = np.flatnonzero(fresh.layout.collected)
        if len(collected) and fresh.segment.first + int(collected[-1]) > end.floor:
            raise PeerFault(Fault.BUSY, "changes this node never had were collected there: whole states come first")

    def _begin_at(self, fresh: Verified, end: LogEnd) -> tuple[LogEnd, list[Verified]]:
        """Take over that all before the segment is dead, and drop what is still here of it.

        Nothing is dropped for a segment that contradicts what is held beyond the gap.
        """
        before = fresh.segment.first - 1
        begun = replace(end, seq=before, base=before, link=fresh.segment.previous)
        self.absorb(begun)
        rest = self._after_end(fresh, begun)
        parts = [] if rest is None else self._continue(rest, begun)[1]
        forget_log(self._connection, end.number, before)
        follows = (fresh.segment.previous, rid_of(end.number, before + 1))
        self._connection.execute("UPDATE changeset SET previous = ? WHERE rid = ?", follows)
        end.seq, end.base, end.link, end.beyond = begun.seq, begun.base, begun.link, begun.beyond
        return end, parts

    def _after_end(self, verified: Verified, end: LogEnd) -> Verified | None:
        """Cut off what the log holds already, comparing links where the two meet."""
        if verified.segment.first > end.seq:
            return verified
        ends = verified.segment.first - 1 + np.cumsum(verified.layout.counts)
        keep = int(np.searchsorted(ends, end.seq, side="right"))
        if keep and ends[keep - 1] == end.seq:
            if verified.links[keep - 1] != end.link:
                raise _forked(end)
            return part(verified, keep, len(verified.links)) if keep < len(verified.links) else None
        if verified.last <= end.base:
            return None
        if verified.last < end.seq and self._link_at(end, verified) == verified.links[-1]:
            return None
        raise _forked(end)

    def _link_at(self, end: LogEnd, verified: Verified) -> bytes | None:
        rid = rid_of(end.number, verified.last - int(verified.layout.counts[-1]) + 1)
        link: bytes | None = self._connection.execute("SELECT link FROM changeset WHERE rid=?", (rid,)).get
        return link

    def _without_held(self, verified: Verified, end: LogEnd) -> list[Verified]:
        """Split off the changesets that are held already beyond the gap."""
        low, high = rid_of(end.number, verified.segment.first), rid_of(end.number, verified.last)
        self._require_following(verified, end, low)
        query = "SELECT rid, link, length(hashes) / 32 FROM changeset WHERE rid BETWEEN ? AND ?"
        held = {rid: (link, count) for rid, link, count in fetch(self._connection, query, (low, high))}
        starts = (low + np.cumsum(verified.layout.counts) - verified.layout.counts).tolist()
        theirs = dict(zip(starts, zip(verified.links, verified.layout.counts.tolist(), strict=True), strict=True))
        if any(theirs.get(rid) != known for rid, known in held.items()):
            raise _forked(end)
        parts, run = [], 0
        for at, start in enumerate([*starts, None]):
            if start is None or start in held:
                if at > run:
                    parts.append(part(verified, run, at))
                run = at + 1
        return parts

    def _require_following(self, verified: Verified, end: LogEnd, low: int) -> None:
        """Refuse a segment that begins inside a changeset held beyond the gap, or does not follow it."""
        query = (
            "SELECT rid + length(hashes) / 32, link FROM changeset WHERE rid < ? AND rid > ? ORDER BY rid DESC LIMIT 1"
        )
        row = self._connection.execute(query, (low, rid_of(end.number, end.seq))).fetchone()
        if row is not None and (row[0] > low or (row[0] == low and row[1] != verified.segment.previous)):
            raise _forked(end)


def _forked(end: LogEnd) -> PeerFault:
    return PeerFault(
        Fault.FORKED, f"a log does not continue the one held up to {end.seq}: its author's disk was cloned"
    )
