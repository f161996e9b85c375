"""Putting back what was lost or damaged, as tasks of the writer: headers, bodies, changesets, and what they imply.

A segment may only restore numbers this store already claims, and only where it agrees with the log held: no
changeset that is intact may differ from it, and it must share a link with the log (its beginning, its end or one
between), so that a branch of a forked log cannot take the place of lost rows. What is alive of the memories it
touches is then derived anew by the pure merge over all their headers, whatever the tables say.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from cis.arrays import np
from cis.crdt import alive, is_held
from cis.errors import Fault, PeerFault
from cis.model import Dot, MemoryId, node_of
from cis.model.change import BODILESS
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.audit import change_of, changes_of
from cis.store.audit_log import Changeset, LogRows
from cis.store.collection import end_named
from cis.store.database import fetch
from cis.store.replicas import Replicas, rid_of
from cis.trust.signing import hash_body, hash_leaf
from cis.wire.segment import HASH_LENGTH, HEADER, RECORD, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cis.model import Change, ReplicaId, SpaceId
    from cis.store.audit import Row
    from cis.trust.signing import Verified

_MEMORY = slice(8, 24)
_LIVING_BODIES = """
    SELECT h.rid, substr(h.record, 9, 16) AS m, (SELECT sealed FROM body b WHERE b.rid = h.rid)
    FROM carray(?) n CROSS JOIN head h ON h.rid = n.value
    WHERE NOT EXISTS (SELECT 1 FROM absent a WHERE a.rid = h.rid AND NOT a.wanted)
    AND (EXISTS (SELECT 1 FROM hidden k WHERE k.rid = h.rid) OR NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = h.rid)
    AND (EXISTS (SELECT 1 FROM live l WHERE l.memory = m AND l.rid = h.rid)
        OR EXISTS (SELECT 1 FROM live0 l WHERE l.memory = m AND l.rid = h.rid)
        OR EXISTS (SELECT 1 FROM held l WHERE l.memory = m AND l.rid = h.rid AND NOT l.dead)))"""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a segment put back."""

    last: int
    """the last number it held"""
    changes: int
    bodies: int


def mend(connection: apsw.Connection, space: SpaceId, memories: Iterable[MemoryId], now_ms: int) -> None:
    """Derive what is alive of those memories anew from their headers, and tell the index."""
    touched = sorted(set(memories))
    if not touched:
        return
    number = _space_number(connection, space)
    by_memory: dict[MemoryId, list[Row]] = {memory: [] for memory in touched}
    for row in changes_of(connection, number, touched):
        by_memory[row.change.memory].append(row)
    replicas = Replicas(connection)
    for memory, rows in by_memory.items():
        effective = _derive(connection, memory, rows, now_ms)
        _await(connection, replicas, number, effective)
    _journal(connection, number, touched)


def repair(connection: apsw.Connection, verified: Verified, now_ms: int) -> Repaired:
    """Put back what a verified segment has of numbers this store claims to hold.

    `PeerFault` FORKED where it contradicts the log held, or does not meet it.
    """
    logs = [log for log in LogRows.of_space(connection, verified.space) if log.replica == verified.replica]
    if not logs:
        return Repaired(verified.last, 0, 0)
    _require_agreement(logs[0], verified)
    restoring = _Restoring(logs[0], verified)
    for changeset in _changesets(verified):
        restoring.restore(changeset)
    mend(connection, verified.space, restoring.touched, now_ms)
    memories = _restore_bodies(logs[0], verified)
    _drop_altered_bodies(logs[0], verified)
    ended = end_named(connection, restoring.revealed)
    _journal(connection, _space_number(connection, verified.space), [*memories, *ended])
    return Repaired(verified.last, restoring.changes, len(memories))


def mend_ends(connection: apsw.Connection, ends: Iterable[tuple[int, int, bytes]]) -> None:
    """Set the links of logs' ends to what their changesets give, where the logs have not grown since."""
    rows = [(link, number, seq) for number, seq, link in ends]
    connection.executemany("UPDATE replica SET link = ? WHERE no = ? AND seq = ?", rows)


# --- what is alive ---------------------------------------------------------------------------------------------------


def _space_number(connection: apsw.Connection, space: SpaceId) -> int:
    number: int = connection.execute("SELECT no FROM space WHERE id = ?", (space,)).get
    return number


def _derive(connection: apsw.Connection, memory: MemoryId, rows: Sequence[Row], now_ms: int) -> list[Row]:
    """Fill the tables from a memory's headers; return the changes in effect."""
    # What once took effect stays in effect, whatever the clock says since.
    shown = {rid for table in ("live", "live0", "collectable") for (rid,) in _of(connection, table, memory)}
    waiting = {rid for (rid,) in _of(connection, "held", memory)}
    held = [row for row in rows if row.rid in waiting or (row.rid not in shown and is_held(row.change, now_ms))]
    ahead = {row.rid for row in held}
    effective = [row.change for row in rows if row.rid not in ahead]
    living = {change.dot for change in alive(effective)}
    for table in ("live", "live0", "held", "collectable"):
        connection.execute(f"DELETE FROM {table} WHERE memory = ?", (memory,))
    connection.executemany("DELETE FROM dead WHERE rid = ?", [(rid,) for rid in sorted(shown | ahead)])
    alive_rows = [(memory, row.rid) for row in rows if row.change.dot in living]
    connection.executemany("INSERT OR IGNORE INTO live0 VALUES(?,?)", alive_rows)
    ended = {row.rid for row in held if not _survives(row.change, effective)}
    connection.executemany(
        "INSERT INTO held VALUES(?,?,?,?)", [(memory, row.rid, row.change.hlc, row.rid in ended) for row in held]
    )
    gone = [row for row in rows if row.change.dot not in living and row.rid not in ahead]
    collectable = [*gone, *(row for row in rows if row.change.kind in BODILESS)]
    rids = sorted({row.rid for row in collectable})
    connection.executemany("INSERT INTO collectable VALUES(?,?)", [(memory, rid) for rid in rids])
    namers = [row for row in rows if row.rid not in ahead]
    connection.executemany("DELETE FROM hidden WHERE rid = ?", [(row.rid,) for row in rows if row.rid not in ended])
    _hide(connection, namers, gone)
    return namers


def _hide(connection: apsw.Connection, effective: Sequence[Row], gone: Sequence[Row]) -> None:
    """Drop the bodies of replaced changes, but keep those that only another node's changes replace."""
    namers = _Namers(effective)
    untils = [(row.rid, namers.until(row.change.dot)) for row in gone]
    for table in ("body", "absent"):
        connection.executemany(f"DELETE FROM {table} WHERE rid = ?", [(rid,) for rid, until in untils if not until])
        connection.executemany(
            f"INSERT OR IGNORE INTO hidden SELECT ?1, ?2 FROM {table} WHERE rid = ?1",
            [(rid, until) for rid, until in untils if until],
        )
    connection.executemany("DELETE FROM name WHERE rid = ?", [(rid,) for rid, until in untils if not until])


class _Namers:
    """Which changes replace one of their memory: another node's, or also its own node's."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._exact: dict[tuple[ReplicaId, int], int] = {}
        self._prefixes: dict[tuple[ReplicaId, bool], tuple[int, int]] = {}
        """of a replica, named by another node or not: the highest number and who names it"""
        for rid, change in rows:
            for ref in change.replaces:
                foreign = node_of(ref.replica) != node_of(change.dot.replica)
                if ref.prefix:
                    place = (ref.replica, foreign)
                    self._prefixes[place] = max(self._prefixes.get(place, (0, 0)), (ref.seq, rid))
                else:
                    dot = (ref.replica, ref.seq)
                    self._exact[dot] = min(self._exact.get(dot, rid), rid if foreign else 0)

    def until(self, dot: Dot) -> int:
        """Return the row of a change of another node that replaces the dot; 0 where one of its own node does."""
        exact = self._exact.get(dot)
        own, _ = self._prefixes.get((dot.replica, False), (0, 0))
        if exact == 0 or dot.seq <= own:
            return 0
        return exact if exact is not None else self._prefixes.get((dot.replica, True), (0, 0))[1]


def _of(connection: apsw.Connection, table: str, memory: MemoryId) -> list[tuple[int]]:
    rows: list[tuple[int]] = fetch(connection, f"SELECT rid FROM {table} WHERE memory = ?", (memory,))
    return rows


def _survives(held: Change, effective: Sequence[Change]) -> bool:
    return held in alive([*effective, held])


def _await(connection: apsw.Connection, replicas: Replicas, space: int, rows: Sequence[Row]) -> None:
    """What is named and has not arrived is awaited."""
    for rid, change in rows:
        for ref in change.replaces:
            end = replicas.end(space, ref.replica)
            until = rid if node_of(ref.replica) != node_of(change.dot.replica) else 0
            if ref.seq > end.seq:
                high = rid_of(end.number, ref.seq)
                low = rid_of(end.number, 1) if ref.prefix else high
                row = (end.number, high, change.memory, low, until)
                connection.execute("INSERT OR IGNORE INTO pending VALUES(?,?,?,?,?)", row)


# --- what is held ----------------------------------------------------------------------------------------------------


def _require_agreement(log: LogRows, verified: Verified) -> None:
    """Refuse a segment that contradicts what is intact of the log, or nowhere meets it."""
    first, last = verified.segment.first, verified.last
    theirs = {one.first: one.link for one in _changesets(verified)}
    held = log.changesets(first, last)
    for row in held:
        if theirs.get(row.first) != row.link and log.intact(row):
            raise _contradiction(row.first)
    before = [row.link for row in log.changesets(first - 1, first - 1) if row.last == first - 1]
    after = [row for row in log.changesets(last + 1, last + 1) if row.first == last + 1]
    meets = (
        verified.segment.previous in before
        or any(theirs.get(row.first) == row.link for row in held)
        or any(one.last == log.seq and one.link == log.link for one in _changesets(verified))
        or any(log.intact(row, [verified.links[-1]]) for row in after)
    )
    if not meets:
        raise _contradiction(first)


def _contradiction(first: int) -> PeerFault:
    return PeerFault(Fault.FORKED, f"a log does not fit the one held here at {first}: its author's disk was cloned")


def _changesets(verified: Verified) -> Iterator[Changeset]:
    """Yield a segment's changesets as the rows they should be."""
    segment, layout = verified.segment, verified.layout
    change = ref = 0
    previous = segment.previous
    for at, (count, refs) in enumerate(zip(layout.counts.tolist(), layout.ref_counts.tolist(), strict=True)):
        yield Changeset(
            rid=segment.first + change,
            header=segment.headers[HEADER.size * at : HEADER.size * (at + 1)],
            refs=segment.refs[REPLICA_ID_LENGTH * ref : REPLICA_ID_LENGTH * (ref + refs)],
            slots=verified.slots[HASH_LENGTH * change : HASH_LENGTH * (change + count)],
            link=verified.links[at],
            signature=segment.signature if verified.signed and at == len(verified.links) - 1 else None,
            previous=previous,
        )
        previous = verified.links[at]
        change, ref = change + count, ref + refs


class _Restoring:
    """Puts back changesets and headers of one segment, and gathers which memories that touches."""

    def __init__(self, log: LogRows, verified: Verified) -> None:
        self.touched: dict[MemoryId, None] = {}
        self.changes = 0
        self.revealed: list[Change] = []
        """changes collected here that the segment shows whole: what they name is dead"""
        self._log = log
        self._held = {row.first: row for row in log.changesets(verified.segment.first, verified.last)}
        base = rid_of(log.number, verified.segment.first)
        self._heads = log.heads(base, base + verified.layout.changes - 1)
        self._records = _records(verified)
        self._collected = verified.layout.collected.tolist()
        self._start = verified.segment.first

    def restore(self, wanted: Changeset) -> None:
        """Put back one changeset, if this store claims to hold it."""
        row = self._held.get(wanted.first)
        if row is None and not self._log.base < wanted.first <= wanted.last <= self._log.seq:
            return
        places = range(wanted.first - self._start, wanted.last - self._start + 1)
        if any(self._lost(place) and self._collected[place] for place in places):
            return  # the peer has collected what is lost here: it cannot be put back from there
        mended, before = self._row(wanted, row, places), self.changes
        if mended != row:
            self._log.connection.execute("INSERT OR REPLACE INTO changeset VALUES(?,?,?,?,?,?,?)", mended)
        for place in places:
            self._restore_head(place, wanted.refs)
        if mended != row or self.changes > before:  # all its memories waited for this, whichever rows were damaged
            self._touch(*(self._records[place] for place in places if not self._collected[place]))
        if row is None or row.link != wanted.link:
            self._prove_next(wanted)

    def _prove_next(self, restored: Changeset) -> None:
        """Have what the next changeset changed derived anew too: until now nothing proved it, so it waited."""
        for row in self._log.changesets(restored.last + 1, restored.last + 1):
            if row.first == restored.last + 1 and self._log.intact(row, [restored.link]):
                self._touch(*self._log.heads(row.rid, row.rid + row.changes - 1).values())

    def _rid(self, place: int) -> int:
        return rid_of(self._log.number, self._start + place)

    def _lost(self, place: int) -> bool:
        return self._rid(place) not in self._heads and self._start + place > self._log.floor

    def _row(self, wanted: Changeset, row: Changeset | None, places: range) -> Changeset:
        """Return the row as it should be: slots of collected changes as leaves, a sound signature kept."""
        slots = b"".join(self._slot(place, wanted.slot(at), row, at) for at, place in enumerate(places))
        signature, previous = wanted.signature, wanted.previous
        if row is not None:
            previous = row.previous
            if row.signature is not None and self._log.signed(wanted.link, row.signature):
                signature = row.signature
        return Changeset(self._rid(places[0]), wanted.header, wanted.refs, slots, wanted.link, signature, previous)

    def _slot(self, place: int, theirs: bytes, row: Changeset | None, at: int) -> bytes:
        held = self._rid(place) in self._heads
        if self._collected[place]:
            return row.slot(at) if held and row is not None else theirs
        if held or self._lost(place):
            return theirs
        record = self._records[place]
        return hash_leaf(record[: RECORD.size], record[RECORD.size :], theirs)

    def _restore_head(self, place: int, refs: bytes) -> None:
        held = self._heads.get(self._rid(place))
        if self._collected[place] or held == self._records[place]:
            return
        if held is None and not self._lost(place):
            change = change_of(Dot(self._log.replica, self._start + place), self._records[place], refs)
            self.revealed += [change] if change is not None else []
            return
        row = (self._rid(place), self._records[place])
        self._log.connection.execute("INSERT OR REPLACE INTO head VALUES(?,?)", row)
        self.changes += 1
        self._touch(self._records[place], *([held] if held is not None else []))

    def _touch(self, *records: bytes) -> None:
        self.touched.update((MemoryId(record[_MEMORY]), None) for record in records if len(record) >= RECORD.size)


def _records(verified: Verified) -> list[bytes]:
    """Return each change's record with its further references behind it."""
    segment = verified.segment
    ends = (np.cumsum(verified.layout.extra_counts) * REFERENCE.size).tolist()
    return [
        segment.records[RECORD.size * at : RECORD.size * (at + 1)] + segment.extras[start:stop]
        for at, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    ]


def _restore_bodies(log: LogRows, verified: Verified) -> list[bytes]:
    """Put back bodies of living changes that are missing or damaged; return the memories they belong to.

    What is elsewhere by choice stays there, unless it is wanted back.
    """
    layout, bodies = verified.layout, verified.segment.bodies
    base = rid_of(log.number, verified.segment.first)
    sent = {base + at: at for at in np.flatnonzero(layout.lengths).tolist()}
    memories: list[bytes] = []
    if not sent:
        return memories
    for rid, memory, sealed in fetch(log.connection, _LIVING_BODIES, (apsw.carray(array("q", sent)),)):
        start = int(layout.offsets[sent[rid]])
        body = bodies[start : start + int(layout.lengths[sent[rid]])]
        if body != sealed:
            log.connection.execute("INSERT OR REPLACE INTO body VALUES(?,?)", (rid, body))
            for table in ("absent", "name"):
                log.connection.execute(f"DELETE FROM {table} WHERE rid = ?", (rid,))
            memories.append(memory)
    return memories


def _drop_altered_bodies(log: LogRows, verified: Verified) -> None:
    """Let go of bodies that are not what was signed and that the peer lacks too: others are then asked for them."""
    collected, slots = verified.layout.collected.tolist(), verified.slots
    base = rid_of(log.number, verified.segment.first)
    query = "SELECT rid - ?1, sealed FROM body WHERE rid BETWEEN ?1 AND ?2"
    altered = [
        (base + at,)
        for at, sealed in fetch(log.connection, query, (base, base + verified.layout.changes - 1))
        if not collected[at] and hash_body(sealed) != slots[HASH_LENGTH * at : HASH_LENGTH * (at + 1)]
    ]
    for table in ("body", "hidden"):
        log.connection.executemany(f"DELETE FROM {table} WHERE rid = ?", altered)


def _journal(connection: apsw.Connection, space: int, memories: Iterable[bytes]) -> None:
    row = (space, b"".join(sorted(set(memories))))
    if row[1]:
        connection.execute("INSERT INTO journal(space, replica, memories) VALUES(?,0,?)", row)
