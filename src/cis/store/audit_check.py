"""The check of one space by itself: that the log is what was signed, and that the tables show what follows from it.

What is alive is derived here a second time, in columns and from headers alone, apart from the code that merges; where
the two differ, the memory is a suspect for `cis.store.repair.mend`. All is read from one snapshot, so that the writer
goes on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cis.arrays import np
from cis.model import CHANGE_FUTURE_LIMIT_MS, MemoryId, ReplicaId, SpaceId
from cis.model.change import SEQ_BITS, SEQ_MAX
from cis.model.hlc import COUNTER_BITS
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.store.audit_log import Chain, LogRows
from cis.store.database import fetch
from cis.wire.segment import (
    RECORD,
    REF_PREFIX,
    REF_REPLICA_MAX,
    REF_REPLICA_SHIFT,
    REFERENCE,
    record_references,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from cis.store.audit_log import Changeset, Piece
    from cis.store.read import Reader

    Integers = npt.NDArray[np.int64]

_RECORD_COLUMNS = [("hlc", ">u8"), ("memory", "S16"), ("ref", ">u8"), ("kind", "u1"), ("rest", "V7")]
_PAIR_COLUMNS = [("memory", "S16"), ("rid", ">u8")]


@dataclass(frozen=True)
class Checked:
    """What a check found; ``changes`` is how many headers were looked at."""

    changes: int
    damaged: tuple[tuple[ReplicaId, int, int], ...]
    """of a log, numbers first to last: changesets whose rows are missing or not what was signed"""
    suspects: tuple[MemoryId, ...]
    """memories of which the tables show what does not follow from the log"""
    ends: tuple[tuple[int, int, bytes], ...]
    """of replica no, at seq, the link its row should have"""


def check_space(reader: Reader, space: SpaceId, now_ms: int) -> Checked:
    """Check all logs of a space and what is shown of it, in the reader's snapshot."""
    connection = reader.connection
    logs = LogRows.of_space(connection, space)
    derivation = _Derivation({bytes(log.replica): log.number for log in logs})
    damaged: list[tuple[ReplicaId, int, int]] = []
    ends: list[tuple[int, int, bytes]] = []
    blurred: set[bytes] = set()
    for log in logs:
        chain = Chain(log)
        for piece in log.pieces():
            for row in chain.follow(piece):
                blurred.update(_memories(row, piece))
            derivation.add(log.number, piece)
        chain.close()
        damaged += [(log.replica, first, last) for first, last in chain.damaged]
        if chain.end is not None and chain.end != log.link:
            ends.append((log.number, log.seq, chain.end))
    suspects = derivation.suspects(reader, now_ms) - blurred  # what is damaged is derived anew when it is repaired
    return Checked(derivation.changes, tuple(damaged), tuple(MemoryId(one) for one in sorted(suspects)), tuple(ends))


def _memories(row: Changeset, piece: Piece) -> Iterable[bytes]:
    heads = (piece.heads.get(row.rid + place, b"") for place in range(row.changes))
    return (head[8 : 8 + MEMORY_ID_LENGTH] for head in heads if len(head) >= RECORD.size)


class _Derivation:
    """Gathers changes and what they name in columns; `suspects` compares what follows with what the tables show."""

    def __init__(self, numbers: dict[bytes, int]) -> None:
        self.changes = 0
        self._numbers = numbers
        self._rids: list[Integers] = [np.zeros(0, np.int64)]
        self._records: list[npt.NDArray[Any]] = [np.zeros(0, _record())]
        self._namers: list[Integers] = [np.zeros(0, np.int64)]
        """row of the change that names, for each name"""
        self._highs: list[Integers] = [np.zeros(0, np.int64)]
        self._prefix: list[npt.NDArray[np.bool_]] = [np.zeros(0, np.bool_)]

    def add(self, number: int, piece: Piece) -> None:
        """Take the changes of some changesets of a log."""
        whole = {rid: head for rid, head in piece.heads.items() if len(head) >= RECORD.size}
        rids = np.array(sorted(whole), dtype=np.int64)
        firsts = np.array([row.rid for row in piece.changesets], dtype=np.int64)
        ends = firsts + np.array([row.changes for row in piece.changesets], dtype=np.int64)
        of = np.searchsorted(firsts, rids, side="right") - 1
        rids, of = rids[rids < ends[of]], of[rids < ends[of]]  # without a changeset a header says nothing
        lists = [self._listed(number, row) for row in piece.changesets]
        starts = np.cumsum([0, *map(len, lists)])[:-1]
        listed = np.array([one for each in lists for one in each], dtype=np.int64)
        counts = np.array([len(each) for each in lists], dtype=np.int64)
        namers, packed = [], []
        for at, rid in enumerate(rids.tolist()):
            head = whole[rid]
            for reference in record_references(head[: len(head) - len(head) % REFERENCE.size]):
                namers.append(at)
                packed.append(reference)
        names, owners = np.array(packed, dtype=np.uint64), np.array(namers, dtype=np.int64)
        places = (names >> np.uint64(REF_REPLICA_SHIFT) & np.uint64(REF_REPLICA_MAX)).astype(np.int64)
        known = places < counts[of[owners]]
        names, owners, places = names[known], owners[known], places[known]
        self.changes += len(rids)
        self._rids.append(rids)
        self._records.append(np.frombuffer(b"".join(whole[rid][: RECORD.size] for rid in rids.tolist()), _record()))
        self._namers.append(rids[owners])
        replicas = listed[starts[of[owners]] + places] if len(owners) else places
        self._highs.append(replicas << SEQ_BITS | (names & np.uint64(SEQ_MAX)).astype(np.int64))
        self._prefix.append((names & np.uint64(REF_PREFIX)).astype(bool))

    def _listed(self, number: int, row: Changeset) -> list[int]:
        """Return the numbers of the replicas a changeset refers to, its own first; 0 for one that is unknown."""
        names = (row.refs[at : at + REPLICA_ID_LENGTH] for at in range(0, len(row.refs), REPLICA_ID_LENGTH))
        return [number, *(self._numbers.get(name, 0) for name in names)]

    def suspects(self, reader: Reader, now_ms: int) -> set[bytes]:
        """Return the memories of which the tables show what does not follow from the headers."""
        rids, records = np.concatenate(self._rids), np.concatenate(self._records)
        order = np.argsort(rids)
        rids, records = rids[order], records[order]
        shown = _shown(reader, sorted(self._numbers.values()))
        waiting = np.isin(rids, _column(reader, "SELECT rid FROM held"))
        ahead = (records["hlc"] >> COUNTER_BITS).astype(np.int64) > now_ms + CHANGE_FUTURE_LIMIT_MS
        ended = "SELECT rid FROM collectable UNION ALL SELECT rid FROM dead"
        past = np.concatenate([shown["rid"].astype(np.int64), _column(reader, ended)])
        forgotten = ahead & ~waiting & ~np.isin(rids, past)  # what once took effect is not held again
        dead = self._named(rids, records["memory"], ~(waiting | forgotten))
        alive = np.flatnonzero(~(dead | waiting | forgotten))
        derived = np.zeros(len(alive), _pair())
        derived["memory"], derived["rid"] = records["memory"][alive], rids[alive].astype(np.uint64)
        differing = np.setxor1d(derived.view("S24"), shown.view("S24")).view(_pair())["memory"]
        headless = shown["memory"][~np.isin(shown["rid"].astype(np.int64), rids)]  # nothing follows from what is lost
        return (_ids(differing) | _ids(records["memory"][forgotten])) - _ids(headless)

    def _named(
        self, rids: Integers, memories: npt.NDArray[np.bytes_], effective: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Return which changes are named by one of the same memory that is in effect."""
        dead = np.zeros(len(rids), np.bool_)
        namers, highs = np.concatenate(self._namers), np.concatenate(self._highs)
        prefix = np.concatenate(self._prefix)
        if not len(namers):
            return dead
        _, numbers = np.unique(memories, return_inverse=True)
        owner = np.searchsorted(rids, namers)
        counts = effective[owner]
        owner, highs, prefix = owner[counts], highs[counts], prefix[counts]
        exact = np.minimum(np.searchsorted(rids, highs), len(rids) - 1)
        hit = ~prefix & (rids[exact] == highs) & (numbers[exact] == numbers[owner])
        dead[exact[hit]] = True
        width = int(max(rids.max(), highs.max(initial=0)) >> SEQ_BITS) + 1
        keys, inverse = np.unique(numbers[owner[prefix]] * width + (highs[prefix] >> SEQ_BITS), return_inverse=True)
        if len(keys):
            reach = np.zeros(len(keys), np.int64)
            np.maximum.at(reach, inverse, highs[prefix])
            mine = numbers * width + (rids >> SEQ_BITS)
            at = np.minimum(np.searchsorted(keys, mine), len(keys) - 1)
            dead |= (keys[at] == mine) & (rids <= reach[at])
        return dead


@cache
def _record() -> np.dtype[Any]:
    dtype = np.dtype(_RECORD_COLUMNS)
    assert dtype.itemsize == RECORD.size
    return dtype


@cache
def _pair() -> np.dtype[Any]:
    return np.dtype(_PAIR_COLUMNS)


def _ids(memories: npt.NDArray[np.bytes_]) -> set[bytes]:
    raw = memories.tobytes()
    return {raw[at : at + MEMORY_ID_LENGTH] for at in range(0, len(raw), MEMORY_ID_LENGTH)}


def _column(reader: Reader, query: str) -> Integers:
    return np.array([rid for (rid,) in fetch(reader.connection, query)], np.int64)


def _shown(reader: Reader, numbers: list[int]) -> npt.NDArray[Any]:
    """Return what the tables of living changes hold of those logs."""
    query = (
        "SELECT memory, rid FROM (SELECT * FROM live UNION ALL SELECT * FROM live0) l "
        "WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid)"
    )
    rows = fetch(reader.connection, query)
    pairs = np.zeros(len(rows), _pair())
    pairs["memory"], pairs["rid"] = [memory for memory, _ in rows], [rid for _, rid in rows]
    kept: npt.NDArray[Any] = pairs[np.isin((pairs["rid"] >> SEQ_BITS).astype(np.int64), np.array(numbers, np.int64))]
    return kept
