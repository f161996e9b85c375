"""Withdrawing what a removal voids (RULES of authority, 3): logs are cut back, and what only that had replaced returns.

A log ends before the first changeset that lies beyond its cut, or whose authority no longer gives the right; nothing
below this node's stable floor goes, for all members have had it. Where the log then ends without a signature, what
followed is kept as leaves, so that its author still vouches for the rest. What is alive of the memories touched is
derived anew from the headers left (`cis.store.repair`), so it is as if what was voided had never come.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from cis.errors import Fault
from cis.model import MemoryId, NodeId, ReplicaId, SpaceId, node_of
from cis.model.change import SEQ_MAX
from cis.store.audit_log import Changeset
from cis.store.database import fetch
from cis.store.repair import mend
from cis.store.replicas import LogEnd, Replicas, rid_of, split_rid
from cis.store.severing import sever, sever_all
from cis.trust.signing import GENESIS, hash_leaf, with_tail
from cis.wire.messages import decode, encode
from cis.wire.segment import HASH_LENGTH, RECORD, Segment, collected_record

if TYPE_CHECKING:
    from cis.store.admission import Judge, Limit

_ROWS = "SELECT rid, header, refs, hashes, link, signature, previous FROM changeset WHERE"
_RID_TABLES = ("changeset", "head", "body", "absent", "name", "dead", "hidden", "tail")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What was voided: how many changes, of how many memories, in whose logs."""

    changes: int
    memories: int
    replicas: tuple[ReplicaId, ...]


def withdraw(
    connection: apsw.Connection, judge: Judge, limit: Limit, nodes: Collection[NodeId] | None, now_ms: int
) -> Withdrawn:
    """Cut back the logs of those nodes, of all if None, in the caller's transaction."""
    replicas = Replicas(connection)
    shared = {number: space for space, number in replicas.space_numbers.items() if space in replicas.shared}
    changes, cut_back = 0, list[ReplicaId]()
    touched: dict[int, dict[MemoryId, None]] = {number: {} for number in sorted(shared)}
    for _, end in sorted(replicas.by_number.items()):
        if end.space not in shared or (nodes is not None and node_of(end.replica) not in nodes):
            continue
        log = _Log(connection, end, shared[end.space])
        first = log.first_void(judge, limit)
        if first is not None:
            touched[end.space].update((memory, None) for memory in log.memories_from(first))
            changes += log.cut_before(first)
            replicas.save(end)
            cut_back.append(end.replica)
        hollow = log.is_hollow(limit, first)
        if hollow:
            sever_all(connection, end)
            end.seq, end.base, end.link = 0, 0, GENESIS
            replicas.save(end)
        if (hollow or first is not None) and end.seq < end.floor:
            touched[end.space].update((memory, None) for memory in log.memories_naming())
    for number, memories in touched.items():
        _forget_awaited(connection, memories)
        mend(connection, shared[number], memories, now_ms)
    return Withdrawn(changes, sum(map(len, touched.values())), tuple(cut_back))


class _Log:
    """One log being cut back."""

    def __init__(self, connection: apsw.Connection, end: LogEnd, space: SpaceId) -> None:
        self._connection = connection
        self._end = end
        self._space = space

    def first_void(self, judge: Judge, limit: Limit) -> int | None:
        """Return the number of the first change that is voided, None where all stand."""
        end, cut = self._end, limit(self._space, self._end.replica)
        query = (
            "SELECT rid, length(hashes) / ?3, substr(header, -?3) FROM changeset "
            "WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid"
        )
        bounds = (rid_of(end.number, end.stable + 1), rid_of(end.number, SEQ_MAX))
        standing: set[bytes] = set()
        for rid, count, authority in fetch(self._connection, query, (*bounds, HASH_LENGTH)):
            first = split_rid(rid)[1]
            if cut is not None and first + count - 1 > cut.seq:
                return first
            if authority not in standing:
                if judge(end.replica, self._space, authority, first) not in {None, Fault.BUSY}:
                    return first
                standing.add(authority)
        return None

    def is_hollow(self, limit: Limit, voided: int | None) -> bool:
        """Tell whether all that is left of a log that counts for nothing is what a peer called collected.

        No cut need name it: what came before something ``voided`` by its author's removal was written no later.
        """
        end, cut = self._end, limit(self._space, self._end.replica)
        counts_for_nothing = voided is not None if cut is None else cut.seq == 0
        return counts_for_nothing and end.stable == 0 < end.seq == end.base

    def memories_from(self, first: int) -> list[MemoryId]:
        """Return the memories of which changes from that number on speak."""
        query = "SELECT DISTINCT substr(record, 9, 16) FROM head WHERE rid BETWEEN ? AND ?"
        return [MemoryId(memory) for (memory,) in fetch(self._connection, query, self._from(first))]

    def memories_naming(self) -> list[MemoryId]:
        """Return the memories of which changes in other logs may name this one's: of collected ones nothing else tells.

        Should the log come again, what is named there is dead, and has to be awaited.
        """
        query = (
            "SELECT DISTINCT substr(h.record, 9, 16) FROM changeset c JOIN head h "
            "ON h.rid BETWEEN c.rid AND c.rid + length(c.hashes) / ? - 1 WHERE instr(c.refs, ?)"
        )
        return [MemoryId(memory) for (memory,) in fetch(self._connection, query, (HASH_LENGTH, self._end.replica))]

    def cut_before(self, first: int) -> int:
        """Remove the rows from that number on, and move the log's end; return how many changes went."""
        connection, end = self._connection, self._end
        bounds = self._from(first)
        query = "SELECT coalesce(sum(length(hashes)), 0) / ? FROM changeset WHERE rid BETWEEN ? AND ?"
        changes: int = connection.execute(query, (HASH_LENGTH, *bounds)).get
        tail = self._tail(first)
        previous = connection.execute("SELECT previous FROM changeset WHERE rid = ?", bounds[:1]).get
        sever(connection, end, first)
        for table in _RID_TABLES:
            connection.execute(f"DELETE FROM {table} WHERE rid BETWEEN ? AND ?", bounds)
        if tail is not None:
            connection.execute("INSERT INTO tail VALUES(?,?)", (bounds[0], encode(tail)))
        if first <= end.seq:
            query = "SELECT link FROM changeset WHERE rid BETWEEN ? AND ? ORDER BY rid DESC LIMIT 1"
            link = connection.execute(query, (rid_of(end.number, 1), bounds[0])).get
            end.seq, end.link = first - 1, link or previous or GENESIS
        return changes

    def _from(self, first: int) -> tuple[int, int]:
        return rid_of(self._end.number, first), rid_of(self._end.number, SEQ_MAX)

    def _tail(self, first: int) -> Segment | None:
        """Return the leaves of what follows up to a signature, where what stays ends without one."""
        query = f"{_ROWS} rid < ? ORDER BY rid DESC LIMIT 1"
        before = [Changeset(*row) for row in fetch(self._connection, query, self._from(first)[:1])]
        if not before or before[0].rid + before[0].changes != self._from(first)[0] or before[0].signature is not None:
            return None
        rows = before
        for found in self._connection.execute(f"{_ROWS} rid BETWEEN ? AND ? ORDER BY rid", self._from(first)):
            row, last = Changeset(*found), rows[-1]
            if row.rid != last.rid + last.changes or row.previous not in {None, last.link}:
                break
            rows.append(row)
            if row.signature is not None:
                return self._bare(rows)
        query = "SELECT segment FROM tail WHERE rid = ?"
        former = self._connection.execute(query, (rows[-1].rid + rows[-1].changes,)).get
        proof = decode(former) if former is not None else None
        return with_tail(self._bare(rows), proof) if isinstance(proof, Segment) else None

    def _bare(self, rows: list[Changeset]) -> Segment:
        """Return the leaves of those changesets but for the first, which they follow."""
        following, end = rows[1:], rows[-1]
        query = "SELECT rid, record FROM head WHERE rid BETWEEN ? AND ?"
        heads = dict(fetch(self._connection, query, (following[0].rid, end.rid + end.changes - 1)))
        leaves = (_leaf(heads.get(row.rid + at), row.slot(at)) for row in following for at in range(row.changes))
        return Segment(
            space=self._space,
            replica=self._end.replica,
            first=following[0].first,
            previous=rows[0].link,
            headers=b"".join(row.header for row in following),
            refs=b"".join(row.refs for row in following),
            records=b"".join(map(collected_record, leaves)),
            extras=b"", missing=b"", missing_hashes=b"", bodies=b"",
            signature=end.signature or b"",
        )  # fmt: skip


def _leaf(head: bytes | None, slot: bytes) -> bytes:
    """Return the leaf of a change; where it was collected, its slot holds it."""
    return slot if head is None else hash_leaf(head[: RECORD.size], head[RECORD.size :], slot)


def _forget_awaited(connection: apsw.Connection, memories: Collection[MemoryId]) -> None:
    """Await nothing for these memories any more: what named it may be gone, and `mend` awaits the rest again."""
    if memories:
        ids = apsw.carray(tuple(sorted(memories)))
        connection.execute("DELETE FROM pending WHERE memory IN (SELECT value FROM carray(?))", (ids,))
