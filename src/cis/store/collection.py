"""Collecting what is causally stable (RULES of state, 5): replaced changes and tombstones nobody needs any more.

A change is collected when it, all it names and what replaced it lie below the stable floor, and everything held
that it names is collected with it or before: a name may not outlive its meaning, nor what is named its namer.
Its head row goes; the slot in its changeset then holds the change's leaf, so that the log still verifies.
Changesets of which nothing is left go whole from the beginning of a log; ``base`` says up to where. The last
signed run of a log always stays, so that its link can be continued.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import apsw

from cis.model import Dot, MemoryId, ReplicaId
from cis.model.change import BODILESS, SEQ_BITS
from cis.model.ids import MEMORY_ID_LENGTH
from cis.store.database import fetch
from cis.store.read import Reader, owing
from cis.store.replicas import Replicas, rid_of, split_rid
from cis.store.rows import Rows, Stored
from cis.trust.signing import hash_leaf
from cis.wire.segment import HASH_LENGTH, RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cis.model import Change, Ref, SpaceId, VersionVector

    Log = tuple[int, ReplicaId]
    """space number and replica"""

MEMORIES_AT_ONCE = 256
"""Memories looked at per step, so that a step holds the writer for some ten milliseconds."""
START = bytes(MEMORY_ID_LENGTH)
_LOG_TABLES = (
    "live", "live0", "held", "changeset", "head", "body", "absent", "name", "dead", "collectable", "hidden", "tail"
)  # fmt: skip


def raise_floor(connection: apsw.Connection, space: SpaceId, floor: VersionVector, *, told: bool = False) -> bool:
    """Take over that everything up to the floor is stable; True where that is more than before.

    ``told`` where a peer says so: then removals may still cut below it, or who lies could lift any cut.
    """
    before = connection.total_changes()
    rows = [(space, replica, seq) for replica, seq in sorted(floor.seqs.items())]
    for column in ("floor",) if told else ("floor", "stable"):
        connection.executemany(
            f"UPDATE replica SET {column} = ?3 WHERE id = ?2 AND {column} < ?3 "
            "AND space = (SELECT no FROM space WHERE id = ?1)",
            rows,
        )
    return connection.total_changes() > before


def collect(connection: apsw.Connection, after: bytes = START) -> bytes | None:
    """Collect among the next memories after this one; return where to go on, None at the end.

    In the caller's transaction. A memory whose replaced changes are not buried yet (`cis.store.compaction`), and that
    has no tombstone, is left to the next time.
    """
    query = "SELECT DISTINCT memory FROM collectable WHERE memory > ? ORDER BY memory LIMIT ?"
    memories = [MemoryId(memory) for (memory,) in fetch(connection, query, (after, MEMORIES_AT_ONCE))]
    if not memories:
        return None
    rows, floors = Rows(connection), _floors(connection)
    heads, alive = _heads_of(connection, rows, memories)
    gone = [one for group in heads.values() for one in _collectable(group, alive, floors)]
    drop(connection, gone)
    return memories[-1]


def truncate(connection: apsw.Connection) -> None:
    """Drop from the beginning of each log the changesets of which nothing is left, in the caller's transaction."""
    query = "SELECT no, seq, base FROM replica WHERE floor > base AND seq > 0"
    for number, seq, base in fetch(connection, query):
        _truncate(connection, number, seq, base)


def drop(connection: apsw.Connection, gone: Sequence[Stored]) -> None:
    """Remove changes as collected: their leaves stay."""
    if not gone:
        return
    ordered = sorted(gone, key=lambda one: one.rid)
    for first, group in groupby(ordered, key=lambda one: one.rid - one.place):
        row = fetch(connection, "SELECT hashes FROM changeset WHERE rid = ?", (first,))
        slots = bytearray(row[0][0])
        for one in group:
            at = slice(HASH_LENGTH * one.place, HASH_LENGTH * (one.place + 1))
            slots[at] = hash_leaf(one.header[: RECORD.size], one.header[RECORD.size :], bytes(slots[at]))
        connection.execute("UPDATE changeset SET hashes = ? WHERE rid = ?", (bytes(slots), first))
    rids = apsw.carray(array("q", [one.rid for one in ordered]))
    for table in ("head", "body", "absent", "name", "dead", "hidden"):
        connection.execute(f"DELETE FROM {table} WHERE rid IN (SELECT value FROM carray(?))", (rids,))
    for table in ("live", "live0", "held", "collectable"):
        connection.executemany(
            f"DELETE FROM {table} WHERE memory = ? AND rid = ?", [(one.change.memory, one.rid) for one in ordered]
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """What a comparison of whole states told: which changes the peer collected, and up to where it did."""

    dead: Sequence[Dot]
    floor: VersionVector
    compared: VersionVector
    """what was held here when it was compared"""
    settled: bool
    """whether the peer itself has nothing left to compare"""


def adopt(connection: apsw.Connection, space: SpaceId, ended: Ended) -> int:
    """Take over another member's floor and what it has collected; return how many changes of ours that ended.

    Where more has come since from below that floor, nothing is done: it was not compared.
    With a dead change goes everything it names: the other collected that no later. `PeerFault` EXCESSIVE where the
    floor speaks of too many incarnations.
    """
    reader, floor = Reader(connection, {}), ended.floor
    since = reader.vector(space).missing_in(ended.compared)
    if any(first <= floor.contiguous(replica) for replica, first, _ in since):
        return 0
    replicas = Replicas(connection)
    replicas.require_room(replicas.space_numbers[space], floor.seqs)  # before anything is changed
    rows = Rows(connection)
    query = "SELECT r.id, r.no FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?"
    numbers = dict(fetch(connection, query, (space,)))
    rids = [rid_of(numbers[dot.replica], dot.seq) for dot in ended.dead if dot.replica in numbers]
    found = {one.rid: one for one in rows.stored(rids, bodies=False)}
    memories = sorted({one.change.memory for one in found.values()})
    heads, _ = _heads_of(connection, rows, memories)
    for group in heads.values():
        named = _Named()
        for one in sorted((one for one in group if one.rid in found), key=lambda one: one.rid):
            named.add(one.change)
        found |= {one.rid: one for one in group if one in named}
    drop(connection, list(found.values()))
    for one in found.values():
        row = (one.space, split_rid(one.rid)[0], one.change.memory)
        connection.execute("INSERT INTO journal(space, replica, memories) VALUES(?,?,?)", row)
    for replica in sorted(floor.seqs):
        replicas.end(replicas.space_numbers[space], replica)
    raise_floor(connection, space, floor, told=True)
    _let_go(connection)
    _owe(connection, reader, space, ended)
    return len(found)


def end_named(connection: apsw.Connection, collected: Iterable[Change]) -> list[MemoryId]:
    """Drop what changes that were collected here name, as they have come to light again; return the memories."""
    named: dict[MemoryId, _Named] = defaultdict(_Named)
    for change in collected:
        named[change.memory].add(change)
    heads, _ = _heads_of(connection, Rows(connection), sorted(named))
    gone = [one for memory, group in heads.items() for one in group if one in named[memory]]
    drop(connection, gone)
    return sorted({one.change.memory for one in gone})


def _let_go(connection: apsw.Connection) -> None:
    """Let take effect what was held back as dated ahead and lies below the floor: it is in effect everywhere."""
    connection.execute(
        "UPDATE held SET hlc = 0 WHERE rid <= (SELECT no << ?1 | floor FROM replica WHERE no = rid >> ?1)", (SEQ_BITS,)
    )


def _owe(connection: apsw.Connection, reader: Reader, space: SpaceId, ended: Ended) -> None:
    """Remember to compare once more when all below the floor has come; this was that, if it has."""
    own = reader.floor(space)
    if not own.covered_by(reader.vector(space)):
        connection.execute("INSERT OR REPLACE INTO meta VALUES(?, x'01')", (owing(space),))
    elif ended.settled and own.covered_by(ended.floor):
        connection.execute("DELETE FROM meta WHERE name = ?", (owing(space),))


def forget_log(connection: apsw.Connection, number: int, last: int) -> None:
    """Remove all rows of a log up to a number; the index follows by the journal."""
    bounds = (rid_of(number, 0), rid_of(number, last))
    for table in ("live", "live0"):
        connection.execute(
            "INSERT INTO journal(space, replica, memories) "
            f"SELECT r.space, r.no, l.memory FROM {table} l JOIN replica r ON r.no = ?3 WHERE l.rid BETWEEN ?1 AND ?2",
            (*bounds, number),
        )
    for table in _LOG_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE rid BETWEEN ? AND ?", bounds)
    connection.execute("DELETE FROM pending WHERE replica = ? AND high <= ?", (number, bounds[1]))


class _Named:
    """What some changes name, to ask whether a change is among it."""

    def __init__(self) -> None:
        self._prefixes: dict[ReplicaId, int] = defaultdict(int)
        self._exact: set[tuple[ReplicaId, int]] = set()

    def add(self, namer: Change) -> None:
        for ref in namer.replaces:
            if ref.prefix:
                self._prefixes[ref.replica] = max(self._prefixes[ref.replica], ref.seq)
            else:
                self._exact.add((ref.replica, ref.seq))

    def __contains__(self, one: Stored) -> bool:
        dot = one.change.dot
        return dot.seq <= self._prefixes.get(dot.replica, 0) or (dot.replica, dot.seq) in self._exact


def _collectable(heads: Sequence[Stored], alive: set[int], floors: Mapping[Log, int]) -> list[Stored]:
    """Return which changes of one memory may be collected."""

    def stable(space: int, *dots: Dot | Ref) -> bool:
        return all(dot.seq <= floors.get((space, dot.replica), 0) for dot in dots)

    ended = _Named()
    for one in heads:
        if stable(one.space, one.change.dot):
            ended.add(one.change)
    chosen = [
        one
        for one in heads
        if stable(one.space, one.change.dot, *one.change.replaces)
        and (one in ended or (one.change.kind in BODILESS and one.rid in alive))
    ]
    while True:
        rids = {one.rid for one in chosen}
        staying = [one.change.dot for one in heads if one.rid not in rids]
        fewer = _naming_none_of(chosen, staying)
        if len(fewer) == len(chosen):
            return chosen
        chosen = fewer


def _naming_none_of(namers: Sequence[Stored], dots: Sequence[Dot]) -> list[Stored]:
    exact, least = set(dots), dict[ReplicaId, int]()
    for dot in dots:
        least[dot.replica] = min(dot.seq, least.get(dot.replica, dot.seq))
    return [
        one
        for one in namers
        if not any(
            ref.seq >= least.get(ref.replica, ref.seq + 1) if ref.prefix else Dot(ref.replica, ref.seq) in exact
            for ref in one.change.replaces
        )
    ]


def _heads_of(
    connection: apsw.Connection, rows: Rows, memories: Sequence[MemoryId]
) -> tuple[dict[MemoryId, list[Stored]], set[int]]:
    """Return all held changes of those memories, replaced ones that are not buried too, and the rows of the living."""
    live = rows.live_of_many(memories)
    alive = {rid for rids in live.values() for rid in rids}
    rids = set[int]()
    for table in ("live", "live0", "collectable", "held"):
        statement = f"SELECT t.rid FROM carray(?1) m CROSS JOIN {table} t ON t.memory = m.value"
        if memories:
            rids |= {rid for (rid,) in fetch(connection, statement, (apsw.carray(tuple(memories)),))}
    heads: dict[MemoryId, list[Stored]] = defaultdict(list)
    for one in rows.stored(rids, bodies=False):
        heads[one.change.memory].append(one)
    return heads, alive


def _floors(connection: apsw.Connection) -> dict[Log, int]:
    """Up to where the logs are stable and held: what a removal cut off, or has not come, may come and be named yet."""
    rows = fetch(connection, "SELECT space, id, min(floor, seq) FROM replica WHERE floor > 0")
    return {(space, ReplicaId(replica)): floor for space, replica, floor in rows}


def _truncate(connection: apsw.Connection, number: int, seq: int, base: int) -> None:
    query = "SELECT min(rid) FROM head WHERE rid BETWEEN ? AND ?"
    first_kept = connection.execute(query, (rid_of(number, base + 1), rid_of(number, seq))).get or rid_of(
        number, seq + 1
    )
    query = "SELECT rid FROM changeset WHERE signature IS NOT NULL AND rid <= ? ORDER BY rid DESC LIMIT 1 OFFSET 1"
    signed_before = connection.execute(query, (rid_of(number, seq),)).get or 0
    query = (
        "SELECT rid, link, length(hashes) / ?3 FROM changeset WHERE rid > ?1 AND rid <= ?2 "
        "AND rid + length(hashes) / ?3 <= ?4 ORDER BY rid DESC LIMIT 1"
    )
    last = connection.execute(query, (rid_of(number, base), signed_before, HASH_LENGTH, first_kept)).fetchone()
    if last is not None:
        rid, link, count = last
        connection.execute("UPDATE changeset SET previous = ? WHERE rid = ?", (link, rid + count))
        connection.execute("DELETE FROM changeset WHERE rid BETWEEN ? AND ?", (rid_of(number, base + 1), rid))
        new_base = split_rid(rid)[1] + count - 1
        connection.execute("UPDATE replica SET base = ? WHERE no = ?", (new_base, number))
