"""Serving logs to peers: runs of whole changesets as segments, read from one snapshot.

What is served ends with its author's signature: a log that was cut short where none is, with the tail kept of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cis.arrays import np
from cis.model import ReplicaId, SpaceId
from cis.model.change import SEQ_MAX
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.trust.signing import GENESIS, with_tail
from cis.wire.messages import decode
from cis.wire.segment import HASH_LENGTH, HEADER, MISSING_BYTES, RECORD, SEGMENT_BYTES_MAX, Segment, collected_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import apsw

SEGMENT_BYTES = 512 * 1024
"""A segment is closed at the first signature after this many bytes."""
CHANGESETS_PER_FRAME = 1000
"""So it is after this many changesets, unless the reader is told otherwise."""
_CHANGES_AT_ONCE = 4096
"""Rows are read up to the first signature after this many changes."""
_CHANGESETS = """
    SELECT rid, header, refs, hashes, link, signature, previous FROM changeset
    WHERE rid BETWEEN ? AND ? ORDER BY rid"""
_ABSENT = """
    SELECT a.rid FROM absent a CROSS JOIN head h ON h.rid = a.rid WHERE a.rid BETWEEN ? AND ?
    AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = a.rid AND NOT d.until)"""
_KIND_AT = 32


class _Changeset(NamedTuple):
    rid: int
    header: bytes
    refs: bytes
    hashes: bytes
    link: bytes
    signature: bytes | None
    previous: bytes | None

    @property
    def changes(self) -> int:
        return len(self.hashes) // HASH_LENGTH

    def follows(self, other: _Changeset) -> bool:
        return self.rid == other.rid + other.changes and self.previous in {None, other.link}


class LogReader:
    """Reads segments of one space's logs over a connection whose transaction is the snapshot."""

    def __init__(
        self, connection: apsw.Connection, space: SpaceId, changesets_per_frame: int = CHANGESETS_PER_FRAME
    ) -> None:
        self._connection = connection
        self._space = space
        self._changesets_per_frame = changesets_per_frame
        query = "SELECT r.id, r.no, r.base FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?"
        rows = fetch(connection, query, (space,))
        self._numbers = {ReplicaId(replica): number for replica, number, _ in rows}
        self._bases = {number: base for _, number, base in rows}

    def segment(self, replica: ReplicaId, first: int, last: int, unwanted: Collection[int] = ()) -> Segment | None:
        """Return a segment of the log that begins with the changeset holding ``first``, if there is one.

        Bodies of the kinds ``unwanted`` are left out. It ends before the first other body that is elsewhere by choice:
        what is not whole here is not handed on.

        Where what held ``first`` was collected whole, it begins with the first changeset that is kept.
        It goes on to a signature, which may lie behind ``last``: what a receiver holds already it leaves out. There is
        none of what no signature here covers.
        """
        number = self._numbers.get(replica)
        if number is None:
            return None
        first = max(first, self._bases[number] + 1)
        query = "SELECT max(rid) FROM changeset WHERE rid BETWEEN ? AND ?"
        start = self._connection.execute(query, (rid_of(number, 1), rid_of(number, first))).get
        if start is None:
            return None
        changesets, changes = list[_Changeset](), 0
        for row in self._connection.execute(_CHANGESETS, (start, rid_of(number, SEQ_MAX))):
            changeset = _Changeset(*row)
            if changesets and not changeset.follows(changesets[-1]):
                break  # what lies behind a gap, or beyond a fork
            changesets.append(changeset)
            changes += changeset.changes
            many = changes >= _CHANGES_AT_ONCE or len(changesets) >= self._changesets_per_frame
            if (many or start + changes > rid_of(number, last)) and changeset.signature is not None:
                break
        absent = self._first_absent(start, changes, unwanted)
        while changesets and absent is not None and start + changes > absent:
            changes -= changesets.pop().changes
        tail = self._tail(changesets[-1]) if changesets else None
        while changesets and tail is None and changesets[-1].signature is None:
            changes -= changesets.pop().changes
        if start + changes <= rid_of(number, first):
            return None
        return self._assemble(replica, number, changesets, tail, unwanted)

    def _first_absent(self, start: int, changes: int, unwanted: Collection[int]) -> int | None:
        """Return the first row of a run whose body would be sent, and is elsewhere by choice."""
        query = f"{_ABSENT} AND substr(h.record, 33, 1) NOT IN ({','.join('?' * len(unwanted))}) ORDER BY a.rid LIMIT 1"
        kinds = (bytes((kind,)) for kind in unwanted)
        found: int | None = self._connection.execute(query, (start, start + changes - 1, *kinds)).get
        return found

    def _tail(self, last: _Changeset) -> Segment | None:
        """Return what proves an unsigned end of a log that was cut short."""
        if last.signature is not None:
            return None
        frame = self._connection.execute("SELECT segment FROM tail WHERE rid = ?", (last.rid + last.changes,)).get
        tail = decode(frame) if frame is not None else None
        return tail if isinstance(tail, Segment) else None

    def _assemble(
        self,
        replica: ReplicaId,
        number: int,
        changesets: list[_Changeset],
        tail: Segment | None,
        unwanted: Collection[int],
    ) -> Segment:
        base = changesets[0].rid
        heads = self._heads(base, changesets)
        taken = _cut(changesets, heads, whole=tail is not None)
        if taken < len(changesets):
            changesets, tail = changesets[:taken], None
        heads = heads[: sum(changeset.changes for changeset in changesets)]
        hashes = b"".join(changeset.hashes for changeset in changesets)
        query = "SELECT rid - ?, sealed FROM body WHERE rid BETWEEN ? AND ? ORDER BY rid"
        bodies = dict(fetch(self._connection, query, (base, base, base + len(heads) - 1)))
        if unwanted:
            bodies = {at: body for at, body in bodies.items() if heads[at][_KIND_AT] not in unwanted}
        missing: list[int] = []
        if len(bodies) < len(heads):
            missing = [at for at, record in enumerate(heads) if at not in bodies and _body_length(record)]
        plain = all(len(record) == RECORD.size for record in heads)
        signature = changesets[-1].signature
        assert tail is not None or signature is not None, "what no signature covers is not served"
        segment = Segment(
            space=self._space,
            replica=replica,
            first=base - rid_of(number, 0),
            previous=self._previous(number, changesets[0]),
            headers=b"".join(changeset.header for changeset in changesets),
            refs=b"".join(changeset.refs for changeset in changesets),
            records=b"".join(heads if plain else [record[: RECORD.size] for record in heads]),
            extras=b"" if plain else b"".join(record[RECORD.size :] for record in heads),
            missing=np.array(missing, dtype=">u4").tobytes(),
            missing_hashes=b"".join(hashes[HASH_LENGTH * at : HASH_LENGTH * (at + 1)] for at in missing),
            bodies=b"".join(bodies.values()),
            signature=signature or b"",
        )
        return segment if tail is None else with_tail(segment, tail)

    def _heads(self, base: int, changesets: list[_Changeset]) -> list[bytes]:
        """Return the record of each change, with its further references; what stands for it where it was collected."""
        count = sum(changeset.changes for changeset in changesets)
        query = "SELECT rid - ?, record FROM head WHERE rid BETWEEN ? AND ? ORDER BY rid"
        rows = fetch(self._connection, query, (base, base, base + count - 1))
        if len(rows) == count:
            return [record for _, record in rows]
        slots = b"".join(changeset.hashes for changeset in changesets)
        held = dict(rows)
        return [
            held[at] if at in held else collected_record(slots[HASH_LENGTH * at : HASH_LENGTH * (at + 1)])
            for at in range(count)
        ]

    def _previous(self, number: int, changeset: _Changeset) -> bytes:
        if changeset.rid == rid_of(number, 1):
            return GENESIS
        if changeset.previous is not None:
            return changeset.previous
        query = "SELECT link FROM changeset WHERE rid < ? ORDER BY rid DESC LIMIT 1"
        link: bytes = self._connection.execute(query, (changeset.rid,)).get
        return link


def _cut(changesets: list[_Changeset], heads: list[bytes], *, whole: bool) -> int:
    """Return how many changesets to take: up to a signature, near the aimed size and under the limit.

    ``whole`` tells that there is a signature for all of them, if for none of the last.

    A run to the first signature fits, having come in one frame or been written as one changeset.
    """
    size = change = taken = 0
    for at, changeset in enumerate(changesets):
        size += HEADER.size + len(changeset.refs) + _size(heads[change : change + changeset.changes])
        change += changeset.changes
        if size > SEGMENT_BYTES_MAX and taken:
            break
        if changeset.signature is not None or (whole and at == len(changesets) - 1):
            taken = at + 1
            if size >= SEGMENT_BYTES:
                break
    return taken


def _size(heads: Iterable[bytes]) -> int:
    """Return the most bytes those changes take, whether their bodies are sent or left out."""
    lengths = [_body_length(record) for record in heads]
    return sum(map(len, heads)) + sum(max(length, MISSING_BYTES) for length in lengths if length)


def _body_length(record: bytes) -> int:
    return int.from_bytes(record[RECORD.size - 4 : RECORD.size], "big")
