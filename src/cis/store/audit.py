"""What an audit reads of the store: living items, why one is not alive here, bodies not held, segments checked whole.

Nothing here trusts what is derived: headers are found by a scan of the log, and what is damaged is left out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import apsw

from cis.crdt.state import replaces
from cis.model import Change, Dot, Hlc, Kind, MemoryId, Ref, ReplicaId, SpaceId
from cis.model.change import BODILESS, SEQ_BITS
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.store.audit_log import LogRows
from cis.store.database import fetch
from cis.store.log import LogReader
from cis.store.replicas import split_rid
from cis.trust.signing import verify
from cis.wire.messages import encode
from cis.wire.segment import RECORD, REFERENCE, record_references, unpack_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cis.store.read import Reader

_log = logging.getLogger(__name__)

_CHANGES_OF = """
    SELECT h.rid, h.record, c.refs FROM head h
    JOIN changeset c ON c.rid = (SELECT max(rid) FROM changeset WHERE rid <= h.rid)
    JOIN replica r ON r.no = h.rid >> ?3
    WHERE r.space = ?1 AND h.rid < c.rid + length(c.hashes) / 32
    AND substr(h.record, 9, 16) IN (SELECT value FROM carray(?2)) ORDER BY h.rid"""
_UNHELD = """
    SELECT r.id, l.rid & ((1 << ?2) - 1) FROM
        (SELECT rid FROM live UNION SELECT rid FROM live0 UNION SELECT rid FROM held WHERE NOT dead) l
    JOIN replica r ON r.no = l.rid >> ?2 JOIN space s ON s.no = r.space JOIN head h ON h.rid = l.rid
    WHERE s.id = ?1 AND substr(h.record, 37, 4) <> x'00000000'
    AND NOT EXISTS (SELECT 1 FROM body b WHERE b.rid = l.rid)
    AND NOT EXISTS (SELECT 1 FROM absent a WHERE a.rid = l.rid AND NOT a.wanted)
    AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid) ORDER BY r.id, l.rid"""
_SEQ_AT = MEMORY_ID_LENGTH + REPLICA_ID_LENGTH


class Row(NamedTuple):
    """A change whose header is held, and its row."""

    rid: int
    change: Change


class Explanation(NamedTuple):
    """Why an item is not alive here: is its header held, its body, and which held changes replace it.

    Of the changes of one replica that do, the first stands for all.
    """

    item: bytes
    header: bool
    body: bool
    killers: tuple[Dot, ...]
    collected: bool
    """whether this store had it and collected it, as the chain of its log proves"""


def items(reader: Reader, space: SpaceId) -> bytes:
    """Return the living items of a space in order, 64 bytes each.

    Those are counted that are alive as long as what is held back is left out, and those held back themselves: where
    clocks differ so may what is in effect, but what was ended below a floor shows.
    """
    return b"".join(sorted(_living(reader, space)))


def _living(reader: Reader, space: SpaceId) -> set[bytes]:
    held = (change for change, dead in reader.held_back(space) if not dead and change.kind not in BODILESS)
    waiting = (one.memory + one.dot.replica + one.dot.seq.to_bytes(8, "big") for one in held)
    return {*reader.in_effect(space), *waiting}


def unheld_bodies(reader: Reader, space: SpaceId) -> list[Dot]:
    """Return the living changes whose body is not here: whoever passed them on called them replaced, or lacked it.

    What is elsewhere by choice is none of these, until it is wanted back.
    """
    rows = fetch(reader.connection, _UNHELD, (space, SEQ_BITS))
    return [Dot(ReplicaId(replica), seq) for replica, seq in rows]


def explain(reader: Reader, space: SpaceId, asked: Sequence[bytes]) -> list[Explanation]:
    """Return for each item why it is not alive here."""
    number = reader.space_number(space)
    assert number is not None
    by_memory: dict[MemoryId, list[Row]] = {}
    for row in changes_of(reader.connection, number, {_memory_of(item) for item in asked}):
        by_memory.setdefault(row.change.memory, []).append(row)
    logs = {log.replica: log for log in LogRows.of_space(reader.connection, space)}
    return [_explained(item, by_memory.get(_memory_of(item), []), logs) for item in asked]


def count_wrong(reader: Reader, space: SpaceId, lost: Sequence[bytes], replaced: Sequence[tuple[bytes, Dot]]) -> int:
    """Count the items that are neither alive nor replaced, and those still alive that are said to be replaced.

    Where what replaces one is held back here, as it is dated ahead of this clock, nothing is wrong.
    """
    living = _living(reader, space)
    absent = [item for item in lost if item not in living]
    unexplained = [one for one in explain(reader, space, absent) if not one.killers] if absent else []
    held = {change.dot for change, _ in reader.held_back(space)}
    return len(unexplained) + sum(item in living and killer not in held for item, killer in replaced)


def supply(reader: Reader, space: SpaceId, replica: ReplicaId, first: int, last: int) -> tuple[bytes | None, int]:
    """Return the frame of a segment that holds ``first`` and goes on to ``last`` where it can.

    Where that is not whole here, return None, and the number up to which nothing can be had.
    """
    frame = _segment(reader, space, replica, first, last) or _segment(reader, space, replica, first, first)
    if frame is not None:
        return frame, last
    for log in LogRows.of_space(reader.connection, space):
        if log.replica == replica:
            held = log.changesets(first, last)
            if held:
                return None, min(last, held[0].last if held[0].first <= first else held[0].first - 1)
    return None, last


def _segment(reader: Reader, space: SpaceId, replica: ReplicaId, first: int, last: int) -> bytes | None:
    try:
        segment = LogReader(reader.connection, space).segment(replica, first, last)
        if segment is None or segment.first > first:  # collected whole here, since it was asked for
            return None
        verify(segment)
    except Exception:  # noqa: BLE001 - damaged rows break reading in any way; whoever asked is told it is not here
        _log.warning("a part of a log cannot be supplied: it is damaged here; `cis p2p sync --full` mends it")
        return None
    return encode(segment)


def changes_of(connection: apsw.Connection, space: int, memories: Iterable[bytes]) -> Iterator[Row]:
    """Yield every change of those memories whose header is held, in row order; scans the log."""
    wanted = tuple(sorted(memories))
    if not wanted:
        return
    replicas = dict(fetch(connection, "SELECT no, id FROM replica WHERE space = ?", (space,)))
    for rid, record, refs in fetch(connection, _CHANGES_OF, (space, apsw.carray(wanted), SEQ_BITS)):
        number, seq = split_rid(rid)
        change = change_of(Dot(ReplicaId(replicas[number]), seq), record, refs)
        if change is not None:
            yield Row(rid, change)


def change_of(dot: Dot, record: bytes, refs: bytes) -> Change | None:
    """Return the change of a row, None where the row is damaged."""
    if len(record) < RECORD.size or (len(record) - RECORD.size) % REFERENCE.size:
        return None
    stamp, memory, _, kind, *_ = RECORD.unpack_from(record)
    names = []
    for packed in record_references(record):
        place, seq, prefix = unpack_reference(packed)
        name = refs[REPLICA_ID_LENGTH * (place - 1) : REPLICA_ID_LENGTH * place] if place else dot.replica
        if len(name) != REPLICA_ID_LENGTH:
            return None
        names.append(Ref(ReplicaId(name), seq, prefix))
    return Change(dot, Hlc(stamp), MemoryId(memory), Kind(kind), tuple(names)) if kind <= max(Kind) else None


def _explained(item: bytes, rows: list[Row], logs: Mapping[ReplicaId, LogRows]) -> Explanation:
    dot = Dot(ReplicaId(item[MEMORY_ID_LENGTH:_SEQ_AT]), int.from_bytes(item[_SEQ_AT:], "big"))
    rid = next((row.rid for row in rows if row.change.dot == dot), None)
    killers: dict[ReplicaId, Dot] = {}
    for row in rows:
        if any(replaces(ref, dot) for ref in row.change.replaces):
            killers.setdefault(row.change.dot.replica, row.change.dot)
    log = logs.get(dot.replica)
    body = rid is not None and log is not None and log.has_body(rid)
    collected = rid is None and log is not None and log.collected(dot.seq)
    return Explanation(item, rid is not None, body, tuple(killers.values()), collected)


def _memory_of(item: bytes) -> MemoryId:
    return MemoryId(item[:MEMORY_ID_LENGTH])
