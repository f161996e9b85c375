"""Serving logs to peers: runs of whole changesets as segments, read from one snapshot."""

from __future__ import annotations

import apsw
import numpy as np

from cis.model import ReplicaId, SpaceId
from cis.store.replicas import rid_of
from cis.trust.signing import GENESIS
from cis.wire.segment import HASH_LENGTH, HEADER, RECORD, Segment

SEGMENT_BYTES = 512 * 1024
"""A segment is closed at the first signature after this many bytes."""
SEGMENT_BYTES_MAX = (1 << 20) - 4096
_CHANGES_AT_ONCE = 4096
"""Rows are read up to the first signature after this many changes."""


class LogReader:
    """Reads segments of one space's logs over a connection whose transaction is the snapshot."""

    def __init__(self, connection: apsw.Connection, space: SpaceId) -> None:
        self._connection = connection
        self._space = space
        rows = connection.execute(
            "SELECT r.id, r.no FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?", (space,)
        )
        self._numbers = {ReplicaId(replica): number for replica, number in rows}

    def segment(self, replica: ReplicaId, first: int, last: int) -> Segment | None:
        """Return a segment of the replica's log that begins with the changeset holding ``first``, if there is one."""
        number = self._numbers.get(replica)
        if number is None:
            return None
        start = self._connection.execute(
            "SELECT max(rid) FROM changeset WHERE rid BETWEEN ? AND ?", (rid_of(number, 1), rid_of(number, first))
        ).get
        query = (
            "SELECT rid, header, refs, hashes, link, signature, previous FROM changeset "
            "WHERE rid BETWEEN ? AND ? ORDER BY rid"
        )
        rows, changes = [], 0
        for row in self._connection.execute(query, (start or 0, rid_of(number, last))):
            rows.append(row)
            changes += len(row[3]) // HASH_LENGTH
            if changes >= _CHANGES_AT_ONCE and row[5] is not None:
                break
        return self._assemble(replica, number, rows) if rows else None

    def _assemble(self, replica: ReplicaId, number: int, rows: list[tuple]) -> Segment:  # type: ignore[type-arg] # rows of SQLite
        rows = _unbroken(rows)
        base = rows[0][0]
        counts = [len(row[3]) // HASH_LENGTH for row in rows]
        heads = self._column("head", "record", base, base + sum(counts) - 1)
        taken = self._cut(rows, counts, heads)
        rows, total = rows[:taken], sum(counts[:taken])
        heads = heads[:total]
        hashes = b"".join(row[3] for row in rows)
        bodies = dict(self._rows("body", "sealed", base, base + total - 1))
        missing = [
            place
            for place, record in enumerate(heads)
            if base + place not in bodies and int.from_bytes(record[RECORD.size - 4 : RECORD.size], "big")
        ] if len(bodies) < total else []
        plain = all(len(record) == RECORD.size for record in heads)
        return Segment(
            space=self._space,
            replica=replica,
            first=base - rid_of(number, 0),
            previous=self._previous(number, rows[0]),
            headers=b"".join(row[1] for row in rows),
            refs=b"".join(row[2] for row in rows),
            records=b"".join(heads if plain else [record[: RECORD.size] for record in heads]),
            extras=b"" if plain else b"".join(record[RECORD.size :] for record in heads),
            missing=np.array(missing, dtype=">u4").tobytes(),
            missing_hashes=b"".join(hashes[HASH_LENGTH * at : HASH_LENGTH * (at + 1)] for at in missing),
            bodies=b"".join(bodies.values()),
            signature=rows[-1][5],
        )

    def _cut(self, rows: list[tuple], counts: list[int], heads: list[bytes]) -> int:  # type: ignore[type-arg] # rows of SQLite
        """Return how many changesets to take: up to a signature, near the aimed size and under the limit."""
        size = change = taken = 0
        for at, (row, count) in enumerate(zip(rows, counts, strict=True)):
            size += HEADER.size + len(row[2])
            for record in heads[change : change + count]:
                size += len(record) + int.from_bytes(record[RECORD.size - 4 : RECORD.size], "big")
            change += count
            if size > SEGMENT_BYTES_MAX and taken:
                break
            if row[5] is not None:
                taken = at + 1
                if size >= SEGMENT_BYTES:
                    break
        return taken or len(rows)

    def _previous(self, number: int, row: tuple) -> bytes:  # type: ignore[type-arg] # a row of SQLite
        if row[0] == rid_of(number, 1):
            return GENESIS
        if row[6] is not None:
            previous: bytes = row[6]
            return previous
        query = "SELECT link FROM changeset WHERE rid < ? ORDER BY rid DESC LIMIT 1"
        link: bytes = self._connection.execute(query, (row[0],)).get
        return link

    def _column(self, table: str, column: str, low: int, high: int) -> list[bytes]:
        query = f"SELECT {column} FROM {table} WHERE rid BETWEEN ? AND ? ORDER BY rid"
        return [value for (value,) in self._connection.execute(query, (low, high))]

    def _rows(self, table: str, column: str, low: int, high: int) -> list[tuple[int, bytes]]:
        query = f"SELECT rid, {column} FROM {table} WHERE rid BETWEEN ? AND ? ORDER BY rid"
        return self._connection.execute(query, (low, high)).fetchall()


def _unbroken(rows: list[tuple]) -> list[tuple]:  # type: ignore[type-arg] # rows of SQLite
    """Drop what lies behind a gap, and what follows the last signature."""
    end = len(rows)
    for at in range(1, len(rows)):
        if rows[at][0] != rows[at - 1][0] + len(rows[at - 1][3]) // HASH_LENGTH:
            end = at
            break
    signed = max((at + 1 for at in range(end) if rows[at][5] is not None), default=end)
    return rows[:signed]


