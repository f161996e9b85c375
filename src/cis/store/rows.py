"""Reading rows of memory.db as changes, on whichever connection: the writer's own or a reader's snapshot."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from cis.model import Change, Dot, Hlc, Kind, MemoryId, Ref, ReplicaId
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.database import fetch, one_state
from cis.store.names import names_of_absent
from cis.store.replicas import split_rid
from cis.wire.segment import HEADER, RECORD, record_references, unpack_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LIVE = """
    SELECT rid FROM
        (SELECT rid FROM live WHERE memory = ?1 UNION ALL SELECT rid FROM live0 WHERE memory = ?1) l
    WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid) ORDER BY rid"""
_LIVE_OF_MANY = """
    SELECT m.value, l.rid FROM carray(?1) m CROSS JOIN {table} l ON l.memory = m.value
    WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid)"""
_HEADS = """
    SELECT h.rid, h.record, (SELECT max(c.rid) FROM changeset c WHERE c.rid <= h.rid)
    FROM carray(?1) n CROSS JOIN head h ON h.rid = n.value"""
_CHANGESETS = "SELECT c.rid, c.header, c.refs FROM carray(?1) n CROSS JOIN changeset c ON c.rid = n.value"
_PUT = bytes((Kind.PUT,))
_BODIES = "SELECT b.rid, b.sealed FROM carray(?1) n CROSS JOIN body b ON b.rid = n.value"


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
    name: bytes = b""
    """what is kept of a body that is elsewhere by choice (`cis.store.names`)"""


class Rows:
    """Turns rows into changes; remembers the numbers of replicas, which never change."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._replicas: dict[int, tuple[int, ReplicaId]] = {}

    def replica(self, number: int) -> tuple[int, ReplicaId]:
        """Return (space number, replica id) of a replica's number."""
        found = self._replicas.get(number)
        if found is None:
            space, replica = fetch(self.connection, "SELECT space, id FROM replica WHERE no=?", (number,))[0]
            found = self._replicas[number] = (space, ReplicaId(replica))
        return found

    def dot(self, rid: int) -> Dot:
        """Return the dot a row stands for."""
        number, seq = split_rid(rid)
        return Dot(self.replica(number)[1], seq)

    def live(self, memory: MemoryId) -> list[Stored]:
        """Return the live changes of one memory, in row order."""
        return self.stored([rid for (rid,) in fetch(self.connection, _LIVE, (memory,))])

    def live_of_many(self, memories: Sequence[MemoryId]) -> dict[MemoryId, list[int]]:
        """Return the row ids of the live changes of those memories that have any."""
        found: dict[MemoryId, list[int]] = {}
        if memories:
            for table in ("live", "live0"):
                statement = _LIVE_OF_MANY.format(table=table)
                for memory, rid in fetch(self.connection, statement, (apsw.carray(tuple(memories)),)):
                    found.setdefault(MemoryId(memory), []).append(rid)
        return found

    def held_of_many(self, memories: Sequence[MemoryId]) -> dict[MemoryId, list[Dot]]:
        """Return the dots held back of those memories that have any."""
        found: dict[MemoryId, list[Dot]] = {}
        statement = "SELECT m.value, h.rid FROM carray(?1) m CROSS JOIN held h ON h.memory = m.value"
        for memory, rid in fetch(self.connection, statement, (apsw.carray(tuple(memories)),)) if memories else ():
            number, seq = split_rid(rid)
            found.setdefault(MemoryId(memory), []).append(Dot(self.replica(number)[1], seq))
        return found

    def held(self) -> list[tuple[Stored, bool]]:
        """Return the changes held back because they are dated in the future, and whether each is replaced."""
        rows = fetch(self.connection, "SELECT rid, dead FROM held ORDER BY rid")
        return list(zip(self.stored([rid for rid, _ in rows]), [bool(dead) for _, dead in rows], strict=True))

    def stored(self, rids: Iterable[int], *, bodies: bool = True) -> list[Stored]:
        """Return the changes in rows, in row order, with their bodies where those are kept and wanted."""
        wanted = array("q", sorted(rids))
        if not wanted:
            return []
        with one_state(self.connection):  # rows may be withdrawn meanwhile
            heads = fetch(self.connection, _HEADS, (apsw.carray(wanted),))
            if not heads:
                return []
            firsts = array("q", sorted({first for _, _, first in heads}))
            rows = fetch(self.connection, _CHANGESETS, (apsw.carray(firsts),))
            sealed = dict(fetch(self.connection, _BODIES, (apsw.carray(wanted),))) if bodies else {}
            puts = array("q", [rid for rid, record, _ in heads if rid not in sealed and record[32:33] == _PUT])
            names = names_of_absent(self.connection, puts) if bodies else {}
        changesets = {rid: (HEADER.unpack(header), refs) for rid, header, refs in rows}
        return [
            self._stored(rid, record, first, *changesets[first], sealed.get(rid), names.get(rid, b""))
            for rid, record, first in heads
        ]

    def _stored(
        self, rid: int, record: bytes, first: int, header: tuple[int, int, int, int, int, bytes, bytes],
        refs: bytes, body: bytes | None, name: bytes,
    ) -> Stored:  # fmt: skip
        number, seq = split_rid(rid)
        space, replica = self.replica(number)
        stamp, memory, _, kind, *_ = RECORD.unpack_from(record)
        _, epoch, _, _, _, salt, _ = header
        names = tuple(_references(record, refs, replica))
        change = Change(Dot(replica, seq), Hlc(stamp), MemoryId(memory), Kind(kind), names, body)
        return Stored(change, rid, space, rid - first, epoch, salt, record, name)

    def history(self, memory: MemoryId) -> list[Stored]:
        """Return every change of the memory whose header is still kept, oldest row first; scans the log."""
        query = "SELECT rid FROM head WHERE substr(record, 9, 16) = ? ORDER BY rid"
        return self.stored([rid for (rid,) in fetch(self.connection, query, (memory,))])


def _references(record: bytes, refs: bytes, own: ReplicaId) -> Iterator[Ref]:
    for packed in record_references(record):
        place, seq, prefix = unpack_reference(packed)
        start = REPLICA_ID_LENGTH * (place - 1)
        yield Ref(ReplicaId(refs[start : start + REPLICA_ID_LENGTH]) if place else own, seq, prefix)
