"""What is named dies: references become rows of ``dead``, or wait in ``pending`` for what they name.

A reference names rows low..high of one memory in one replica's log: an exact dot, or with the prefix bit all
from the first (docs/adr/002-prefix-references.md). Rows are found by joins over columns, never one by one.

What another node's change replaces may come back when that change is cut off (RULES of state, 3 of authority), so its
body is kept until then is over: ``until`` names the row up to which the replacing log must be stable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import apsw

from cis.arrays import np
from cis.model import ReplicaId, node_of
from cis.model.change import SEQ_BITS, SEQ_MAX
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.wire.segment import (
    REF_PREFIX,
    REF_REPLICA_MAX,
    REF_REPLICA_SHIFT,
    record_references,
    reference_columns,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from cis.store.replicas import LogEnd, Replicas
    from cis.trust.signing import Verified
    from cis.wire.segment import Integers

    Packed = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]
    Memories = npt.NDArray[np.void]

_KILL = """
    INSERT OR IGNORE INTO dead SELECT l.rid, ?3 FROM carray(?1) n CROSS JOIN {table} l
    ON l.memory = substr(?2, 16 * n.rowid - 15, 16) AND l.rid BETWEEN {low} AND n.value"""
_LOW = {False: "n.value", True: "((n.value >> 40 << 40) | 1)"}
assert (SEQ_BITS, MEMORY_ID_LENGTH) == (40, 16), "the statement above spells them out"


class Replacer:
    """Kills what changes name, inside the caller's transaction; `reload` after one that was rolled back."""

    def __init__(self, connection: apsw.Connection, replicas: Replicas) -> None:
        self._connection = connection
        self._replicas = replicas
        self.reload()

    def reload(self) -> None:
        """Read from the tables again whose changes are awaited, and whether any are held back."""
        self._awaited = {row[0] for row in fetch(self._connection, "SELECT DISTINCT replica FROM pending")}
        self.holding = self._connection.execute("SELECT 1 FROM held LIMIT 1").get is not None

    def awaits(self, number: int) -> bool:
        """Tell whether changes have named what of this log has not arrived."""
        return number in self._awaited

    def kill_named(self, verified: Verified, end: LogEnd, memories: Memories, effective: Flags) -> None:
        """Kill what those changes of a segment name that take effect now."""
        changes, packed = reference_columns(verified.segment, verified.layout)
        if not effective.all():
            keep = effective[changes]
            changes, packed = changes[keep], packed[keep]
        if len(changes):
            starts = np.cumsum(verified.layout.ref_counts) - verified.layout.ref_counts
            at = starts[verified.layout.changeset_of[changes]]
            place = _Place(verified.segment.refs, end, rid_of(end.number, verified.last))
            self._kill_packed(memories[changes], packed, at, place)

    def kill_by_row(self, rid: int, memory: bytes, end: LogEnd) -> None:
        """Kill what one stored change names."""
        record: bytes = self._connection.execute("SELECT record FROM head WHERE rid=?", (rid,)).get
        query = "SELECT refs FROM changeset WHERE rid <= ? ORDER BY rid DESC LIMIT 1"
        refs: bytes = self._connection.execute(query, (rid,)).get
        packed = np.array(list(record_references(record)), dtype=np.uint64)
        if len(packed):
            memories = np.frombuffer(memory * len(packed), "V16")
            self._kill_packed(memories, packed, np.zeros(len(packed), dtype=np.int64), _Place(refs, end, rid))

    def kill_awaited(self, end: LogEnd) -> None:
        """Kill what has arrived of this log after it was named."""
        if end.number not in self._awaited:
            return
        for table in ("live0", "held"):
            self._connection.execute(
                f"INSERT OR IGNORE INTO dead SELECT l.rid, p.until FROM pending p CROSS JOIN {table} l "
                "ON l.memory = p.memory AND l.rid BETWEEN p.low AND p.high WHERE p.replica = ?",
                (end.number,),
            )
        self._mark_held()
        bound = (end.number, rid_of(end.number, end.seq))
        self._connection.execute("DELETE FROM pending WHERE replica = ? AND high <= ?", bound)
        if self._connection.execute("SELECT 1 FROM pending WHERE replica = ? LIMIT 1", bound[:1]).get is None:
            self._awaited.discard(end.number)

    def _kill_packed(self, memories: Memories, packed: Packed, at: Integers, place: _Place) -> None:
        """Kill by packed references; ``at`` is where the list of each one's changeset begins."""
        node = node_of(place.end.replica)
        starts = range(0, len(place.refs), REPLICA_ID_LENGTH)
        listed = [ReplicaId(place.refs[start : start + REPLICA_ID_LENGTH]) for start in starts]
        ends = [place.end, *(self._replicas.end(place.end.space, replica) for replica in listed)]
        places = (packed >> np.uint64(REF_REPLICA_SHIFT) & np.uint64(REF_REPLICA_MAX)).astype(np.int64)
        of = np.where(places == 0, 0, at + places)
        highs = np.array([end.number for end in ends], dtype=np.int64)[of] << SEQ_BITS
        highs |= (packed & np.uint64(SEQ_MAX)).astype(np.int64)
        foreign = np.array([False, *(node_of(replica) != node for replica in listed)])
        prefix = (packed & np.uint64(REF_PREFIX)).astype(bool)
        self._kill(memories, highs, prefix, np.where(foreign[of], place.row, 0))

    def _kill(self, memories: Memories, highs: Integers, prefix: Flags, untils: Integers) -> None:
        order = np.argsort(np.ascontiguousarray(memories).view(">u8")[::2], kind="stable")
        for until in sorted({int(untils.min()), int(untils.max())}):
            for is_prefix in (False, True):
                chosen = order[(prefix[order] == is_prefix) & (untils[order] == until)]
                if len(chosen):
                    named, ids = apsw.carray(np.ascontiguousarray(highs[chosen])), memories[chosen].tobytes()
                    for table in ("live", "live0", *(("held",) if self.holding else ())):
                        statement = _KILL.format(table=table, low=_LOW[is_prefix])
                        self._connection.execute(statement, (named, ids, until))
        self._mark_held()
        self._await_unheld(memories, highs, prefix, untils)

    def _mark_held(self) -> None:
        """A held change that was replaced is never shown, but still replaces what it names, in its time."""
        if self.holding:
            self._connection.execute("UPDATE held SET dead = 1 WHERE dead = 0 AND rid IN (SELECT rid FROM dead)")

    def _await_unheld(self, memories: Memories, highs: Integers, prefix: Flags, untils: Integers) -> None:
        numbers = highs >> SEQ_BITS
        known = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
        for number in np.unique(numbers).tolist():
            known[number] = self._replicas.by_number[number].seq
        for at in np.flatnonzero((highs & SEQ_MAX) > known[numbers]).tolist():
            number, high = int(numbers[at]), int(highs[at])
            low = rid_of(number, 1) if prefix[at] else high
            row = (number, high, memories[at].tobytes(), low, int(untils[at]))
            self._connection.execute("INSERT OR IGNORE INTO pending VALUES(?,?,?,?,?)", row)
            self._awaited.add(number)


class _Place(NamedTuple):
    """Where names come from: the replicas that changesets list, their author's log, and its last row that names."""

    refs: bytes
    end: LogEnd
    row: int
