"""Reading rows of memory.db as changes, on whichever connection: the writer's own or a reader's snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apsw

from cis.model import Change, Dot, Hlc, Kind, MemoryId, Ref, ReplicaId
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.merge import packed_references
from cis.store.replicas import split_rid
from cis.wire.segment import HEADER, RECORD, unpack_reference

_LIVE = """
    SELECT rid FROM (SELECT rid FROM live WHERE memory = ?1 UNION ALL SELECT rid FROM live0 WHERE memory = ?1) l
    WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid) ORDER BY rid"""
_LIVE_OF_MANY = """
    SELECT m.value, l.rid FROM carray(?1) m CROSS JOIN {table} l ON l.memory = m.value
    WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid)"""
_CHANGESET = "SELECT rid, header, refs FROM changeset WHERE rid <= ? ORDER BY rid DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Stored:
    """A change with where it stands: its row, and what opens its body."""

    change: Change
    rid: int
    space: int
    place: int
    epoch: int
    salt: bytes
    header: bytes
    """record and references: the associated data of the seal"""


class Rows:
    """Turns rows into changes; remembers the numbers of replicas, which never change."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._replicas: dict[int, tuple[int, ReplicaId]] = {}

    def replica(self, number: int) -> tuple[int, ReplicaId]:
        """Return (space number, replica id) of a replica's number."""
        found = self._replicas.get(number)
        if found is None:
            space, replica = self.connection.execute("SELECT space, id FROM replica WHERE no=?", (number,)).get
            found = self._replicas[number] = (space, ReplicaId(replica))
        return found

    def live(self, memory: MemoryId) -> list[Stored]:
        """Return the live changes of one memory, in row order."""
        return [self.stored(rid) for (rid,) in self.connection.execute(_LIVE, (memory,)).fetchall()]

    def live_of_many(self, memories: Sequence[MemoryId]) -> dict[MemoryId, list[int]]:
        """Return the row ids of the live changes of those memories that have any."""
        found: dict[MemoryId, list[int]] = {}
        if memories:
            for table in ("live", "live0"):
                statement = _LIVE_OF_MANY.format(table=table)
                for memory, rid in self.connection.execute(statement, (apsw.carray(tuple(memories)),)):
                    found.setdefault(memory, []).append(rid)
        return found

    def held(self) -> list[Stored]:
        """Return the changes held back because they are dated in the future."""
        return [self.stored(rid) for (rid,) in self.connection.execute("SELECT rid FROM held").fetchall()]

    def stored(self, rid: int) -> Stored:
        """Return the change in a row, with its body where that is kept."""
        record: bytes = self.connection.execute("SELECT record FROM head WHERE rid=?", (rid,)).get
        body: bytes | None = self.connection.execute("SELECT sealed FROM body WHERE rid=?", (rid,)).get
        first, header, refs = self.connection.execute(_CHANGESET, (rid,)).get
        number, seq = split_rid(rid)
        space, replica = self.replica(number)
        stamp, memory, _, kind, *_ = RECORD.unpack_from(record)
        _, epoch, _, _, _, salt, _ = HEADER.unpack(header)
        names = tuple(_references(record, refs, replica))
        change = Change(Dot(replica, seq), Hlc(stamp), MemoryId(memory), Kind(kind), names, body)
        return Stored(change, rid, space, rid - first, epoch, salt, record)

    def history(self, memory: MemoryId) -> Iterator[Stored]:
        """Yield every change of the memory whose header is still kept, oldest row first; scans the log."""
        query = "SELECT rid FROM head WHERE substr(record, 9, 16) = ? ORDER BY rid"
        for (rid,) in self.connection.execute(query, (memory,)).fetchall():
            yield self.stored(rid)


def _references(record: bytes, refs: bytes, own: ReplicaId) -> Iterator[Ref]:
    for packed in packed_references(record):
        place, seq, prefix = unpack_reference(packed)
        start = REPLICA_ID_LENGTH * (place - 1)
        yield Ref(ReplicaId(refs[start : start + REPLICA_ID_LENGTH]) if place else own, seq, prefix)


