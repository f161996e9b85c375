"""Merging verified segments in bulk: checks in Python per changeset, rows in SQL per column.

No body is read and no row is looked at one by one: columns go in through ``carray`` in statements that run
without the interpreter's lock. `placing` says what of a segment is new, `replacing` what it replaces; the
room `cis.crdt` says what the outcome must be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from cis.arrays import np
from cis.errors import PeerFault
from cis.model import CHANGE_FUTURE_LIMIT_MS, Hlc
from cis.model.change import BODILESS, SEQ_BITS
from cis.model.hlc import COUNTER_BITS
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.store.database import fetch
from cis.store.keeping import keep_of, leave_out
from cis.store.placing import Placer
from cis.store.replacing import Replacer
from cis.store.replicas import rid_of
from cis.store.severing import collect_again
from cis.wire.messages import encode
from cis.wire.segment import HASH_LENGTH, HEADER, RECORD, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from cis.model import ReplicaId, SpaceId
    from cis.store.ordering import Turn
    from cis.store.replicas import LogEnd, Replicas
    from cis.trust.signing import Verified

_MEMORY_AT = 8
_LIVE = f"""
    INSERT INTO live0 SELECT substr(?2, {RECORD.size} * value + {_MEMORY_AT + 1}, 16) AS memory, ?1 + value
    FROM carray(?3) ORDER BY memory"""
_HEADS = f"""
    INSERT INTO head SELECT ?1 + value, substr(?2, {RECORD.size} * value + 1, {RECORD.size})
    FROM carray(?3)"""
_TOMBSTONES = _LIVE.replace("live0", "collectable", 1)
_BODIES = """
    INSERT INTO body SELECT ?1 + (value >> 45), substr(?2, (value >> 20 & 0x1ffffff) + 1, value & 0xfffff)
    FROM carray(?3)"""
_OFFSET_SHIFT, _PLACE_SHIFT = 20, 45
_ALL = slice(None)
_TOMBSTONE_KINDS = sorted(BODILESS)


@dataclass(frozen=True, slots=True)
class Applied:
    """What merging one segment did; ``changes`` is 0 where everything was held already."""

    space: SpaceId
    replica: ReplicaId
    first: int
    last: int
    changes: int
    latest: Hlc
    """The greatest stamp among the changes that take effect now, 0 where all are held back."""
    gap: bool = False
    """Changes before these are missing."""


class Merger:
    """Puts segments into the tables, inside the caller's transaction."""

    def __init__(self, connection: apsw.Connection, replicas: Replicas, beyond_max: Callable[[], int]) -> None:
        self._connection = connection
        self._replicas = replicas
        self._placer = Placer(connection, replicas, beyond_max)
        self._replacer = Replacer(connection, replicas)
        self._unwanted: dict[int, tuple[int, ...]] = {}
        """by space number, kinds whose bodies this device does not keep"""

    @property
    def holding(self) -> bool:
        """Tell whether changes are held back because they are dated in the future."""
        return self._replacer.holding

    def awaits(self, number: int) -> bool:
        """Tell whether changes have named what of this log has not arrived."""
        return self._replacer.awaits(number)

    def reload(self) -> None:
        """Forget what a rolled-back transaction taught."""
        self._replicas.reload()
        self._replacer.reload()
        self._unwanted.clear()

    def merge(
        self, batch: Sequence[Verified], now_ms: int, turns: Iterable[Turn | None] = itertools.repeat(None)
    ) -> list[Applied | PeerFault]:
        """Merge segments in order; a faulty one is answered with its fault and changes nothing.

        ``turns`` say where each came in a session, None for one that came by itself.
        """
        outcomes: list[Applied | PeerFault] = []
        pieces: list[tuple[Verified, LogEnd, npt.NDArray[np.bool_]]] = []
        touched: dict[int, LogEnd] = {}
        for verified, turn in zip(batch, turns, strict=False):
            try:
                end, parts = self._placer.place(verified, turn)
            except PeerFault as fault:
                if turn is not None:
                    turn.refused((verified.space, verified.replica))
                outcomes.append(fault)
                continue
            pieces += [(piece, end, self._insert(piece, end, now_ms)) for piece in parts]
            touched[end.number] = end
            outcomes.append(_applied(verified, parts, now_ms, gap=end.seq < verified.last))
        for piece, end, effective in pieces:
            memories = np.frombuffer(_memories(piece.segment.records), "V16")
            self._replacer.kill_named(piece, end, memories, effective)
        for end in touched.values():
            self._replacer.kill_awaited(end)
            collect_again(self._connection, end)
            self._replicas.save(end)
        return outcomes

    def promote(self, now_ms: int) -> tuple[int, Hlc]:
        """Let held changes whose time has come take effect; returns how many did, and the latest's stamp."""
        if not self.holding:
            return 0, Hlc(0)
        query = "SELECT memory, rid, hlc, dead FROM held WHERE hlc < ? ORDER BY hlc, rid"
        due = fetch(self._connection, query, (_first_held(now_ms),))
        for memory, rid, _, dead in due:
            self._connection.execute("DELETE FROM held WHERE memory=? AND rid=?", (memory, rid))
            if not dead:
                self._connection.execute("INSERT OR IGNORE INTO live0 VALUES(?,?)", (memory, rid))
            end = self._replicas.by_number[rid >> SEQ_BITS]
            self._journal(end, memory)
            self._replacer.kill_by_row(rid, memory, end)
        if due:
            self._replacer.reload()
        return len(due), Hlc(due[-1][2] if due else 0)

    def _insert(self, verified: Verified, end: LogEnd, now_ms: int) -> npt.NDArray[np.bool_]:
        """Insert log, bodies and live rows; return which changes take effect now."""
        base = rid_of(end.number, verified.segment.first)
        self._insert_changesets(verified, base, end)
        self._insert_heads(verified, base)
        self._insert_bodies(verified, base)
        self._leave_out(verified, base, end)
        layout, records = verified.layout, verified.segment.records
        effective: npt.NDArray[np.bool_] = layout.hlcs < _first_held(now_ms)
        effective[: max(0, end.floor - verified.segment.first + 1)] = True  # below the floor it is in effect everywhere
        tombstones = np.isin(layout.kinds, _TOMBSTONE_KINDS)
        for statement, chosen in ((_LIVE, effective & ~layout.collected), (_TOMBSTONES, tombstones)):
            places = np.flatnonzero(chosen)
            if len(places):
                self._connection.execute(statement, (base, records, apsw.carray(places)))
        for place in np.flatnonzero(~effective).tolist():
            start = RECORD.size * place + _MEMORY_AT
            memory = records[start : start + MEMORY_ID_LENGTH]
            row = (memory, base + place, int(layout.hlcs[place]))
            self._connection.execute("INSERT INTO held(memory, rid, hlc) VALUES(?,?,?)", row)
            self._replacer.holding = True
        if verified.tail is not None:
            proof = (base + layout.changes, encode(verified.tail))
            self._connection.execute("INSERT OR REPLACE INTO tail VALUES(?,?)", proof)
        self._journal(end, _memories(records, ~layout.collected))
        if verified.last > end.seq:
            self._placer.absorb(end)
        return effective

    def _insert_changesets(self, verified: Verified, base: int, end: LogEnd) -> None:
        segment, layout = verified.segment, verified.layout
        follows = segment.first <= end.seq + 1 and segment.first > end.base + 1
        rows, change, ref = [], 0, 0
        for at, (count, refs) in enumerate(zip(layout.counts.tolist(), layout.ref_counts.tolist(), strict=True)):
            rows.append((
                base + change,
                segment.headers[HEADER.size * at : HEADER.size * (at + 1)],
                segment.refs[REPLICA_ID_LENGTH * ref : REPLICA_ID_LENGTH * (ref + refs)],
                verified.slots[HASH_LENGTH * change : HASH_LENGTH * (change + count)],
                verified.links[at],
                segment.signature if verified.signed and at == len(verified.links) - 1 else None,
                None if follows or at > 0 else segment.previous,
            ))  # fmt: skip
            change, ref = change + count, ref + refs
        self._connection.executemany("INSERT INTO changeset VALUES(?,?,?,?,?,?,?)", rows)

    def _insert_heads(self, verified: Verified, base: int) -> None:
        segment, layout = verified.segment, verified.layout
        if not segment.extras:
            places = np.flatnonzero(~layout.collected)
            if len(places):
                self._connection.execute(_HEADS, (base, segment.records, apsw.carray(places)))
            return
        ends = (np.cumsum(layout.extra_counts) * REFERENCE.size).tolist()
        starts = [0, *ends[:-1]]
        self._connection.executemany(
            "INSERT INTO head VALUES(?,?)",
            (
                (
                    base + at,
                    segment.records[RECORD.size * at : RECORD.size * (at + 1)] + segment.extras[start:stop],
                )
                for at, (start, stop) in enumerate(zip(starts, ends, strict=True))
                if not layout.collected[at]
            ),
        )

    def _insert_bodies(self, verified: Verified, base: int) -> None:
        layout = verified.layout
        present = np.flatnonzero(layout.lengths)
        if len(present):
            offsets = layout.offsets[present] << _OFFSET_SHIFT
            packed = present << _PLACE_SHIFT | offsets | layout.lengths[present]
            self._connection.execute(_BODIES, (base, verified.segment.bodies, apsw.carray(packed)))

    def _leave_out(self, verified: Verified, base: int, end: LogEnd) -> None:
        """Note which bodies were not sent because this device wants none of their kind."""
        if verified.segment.missing:
            if end.space not in self._unwanted:
                self._unwanted[end.space] = keep_of(self._connection, verified.space).unwanted
            places = np.frombuffer(verified.segment.missing, ">u4").astype(np.int64)
            chosen = places[np.isin(verified.layout.kinds[places], self._unwanted[end.space])]
            leave_out(self._connection, (base + chosen).tolist())

    def _journal(self, end: LogEnd, memories: bytes) -> None:
        row = (end.space, end.number, memories)
        self._connection.execute("INSERT INTO journal(space, replica, memories) VALUES(?,?,?)", row)


def _first_held(now_ms: int) -> int:
    """Return the least stamp that is too far ahead to take effect."""
    return now_ms + CHANGE_FUTURE_LIMIT_MS + 1 << COUNTER_BITS


def _memories(records: bytes, chosen: npt.NDArray[np.bool_] | slice = _ALL) -> bytes:
    rows = np.frombuffer(records, np.uint8).reshape(-1, RECORD.size)
    return rows[chosen, _MEMORY_AT : _MEMORY_AT + MEMORY_ID_LENGTH].tobytes()


def _applied(verified: Verified, parts: list[Verified], now_ms: int, *, gap: bool) -> Applied:
    hlcs = verified.layout.hlcs
    latest = Hlc(int(hlcs.max(initial=0, where=hlcs < _first_held(now_ms))))
    changes = sum(piece.layout.changes for piece in parts)
    return Applied(verified.space, verified.replica, verified.segment.first, verified.last, changes, latest, gap)
