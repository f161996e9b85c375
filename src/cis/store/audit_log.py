"""Whether the rows of one log still are what its author signed: leaves, links and signatures recomputed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from cis.model import ReplicaId, node_of
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.database import fetch
from cis.store.replicas import rid_of, split_rid
from cis.trust.signing import CHANGESET_LABEL, GENESIS, hash_body, hash_leaf, link_after
from cis.wire.segment import HASH_LENGTH, HEADER, RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import apsw

_ROWS = (
    "SELECT rid, header, refs, hashes, link, signature, previous FROM changeset WHERE rid BETWEEN ? AND ? ORDER BY rid"
)
_SLICE_CHANGES = 4096


class Changeset(NamedTuple):
    """A row of the changeset table."""

    rid: int
    header: bytes
    refs: bytes
    slots: bytes
    link: bytes
    signature: bytes | None
    previous: bytes | None

    @property
    def first(self) -> int:
        """The number of its first change."""
        return split_rid(self.rid)[1]

    @property
    def changes(self) -> int:
        """How many changes it has, by its slots."""
        return len(self.slots) // HASH_LENGTH

    @property
    def last(self) -> int:
        """The number of its last change."""
        return self.first + self.changes - 1

    @property
    def sound(self) -> bool:
        """Tell whether its columns fit together."""
        if len(self.header) != HEADER.size or len(self.slots) % HASH_LENGTH:
            return False
        header: tuple[int, int, int, int, int, bytes, bytes] = HEADER.unpack(self.header)
        first, _, count, refs, *_ = header
        return 0 < count == self.changes and first == self.first and refs * REPLICA_ID_LENGTH == len(self.refs)

    def slot(self, place: int) -> bytes:
        """Return the hash of a change's body, or the leaf of a change that was collected."""
        return self.slots[HASH_LENGTH * place : HASH_LENGTH * (place + 1)]

    def signs(self, place: int, sealed: bytes) -> bool:
        """Tell whether that is the body its author signed for a change that was not collected."""
        return hash_body(sealed) == self.slot(place)


class Piece(NamedTuple):
    """Some changesets of a log, with the headers held of their changes."""

    changesets: list[Changeset]
    heads: dict[int, bytes]


@dataclass(frozen=True)
class LogRows:
    """The rows of one log."""

    connection: apsw.Connection
    number: int
    space: bytes
    replica: ReplicaId
    seq: int
    link: bytes
    floor: int
    base: int

    @classmethod
    def of_space(cls, connection: apsw.Connection, space: bytes) -> list[LogRows]:
        """Return all logs of a space."""
        query = (
            "SELECT r.no, s.id, r.id, r.seq, r.link, r.floor, r.base FROM replica r JOIN space s ON s.no = r.space "
            "WHERE s.id = ? ORDER BY r.no"
        )
        return [cls(connection, *row) for row in fetch(connection, query, (space,))]

    def changesets(self, first: int, last: int) -> list[Changeset]:
        """Return the changesets held of which a change lies between those numbers."""
        query = "SELECT max(rid) FROM changeset WHERE rid BETWEEN ? AND ?"
        bounds = (rid_of(self.number, 0), rid_of(self.number, first))
        start = self.connection.execute(query, bounds).get or bounds[1]
        rows = [Changeset(*row) for row in fetch(self.connection, _ROWS, (start, rid_of(self.number, last)))]
        return [row for row in rows if row.last >= first]

    def pieces(self) -> Iterator[Piece]:
        """Yield the whole log, some thousand changes at a time."""
        changesets: list[Changeset] = []
        changes = 0
        for row in self.connection.execute(_ROWS, (rid_of(self.number, 0), rid_of(self.number + 1, 0) - 1)):
            changesets.append(Changeset(*row))
            changes += changesets[-1].changes
            if changes >= _SLICE_CHANGES:
                yield self._piece(changesets)
                changesets, changes = [], 0
        if changesets:
            yield self._piece(changesets)

    def _piece(self, changesets: list[Changeset]) -> Piece:
        return Piece(changesets, self.heads(changesets[0].rid, changesets[-1].rid + changesets[-1].changes - 1))

    def heads(self, low: int, high: int) -> dict[int, bytes]:
        """Return the headers held of those rows."""
        return dict(fetch(self.connection, "SELECT rid, record FROM head WHERE rid BETWEEN ? AND ?", (low, high)))

    def has_body(self, rid: int) -> bool:
        """Tell whether the body of a row is held, or elsewhere by choice."""
        query = "SELECT 1 FROM body WHERE rid = ?1 UNION ALL SELECT 1 FROM absent WHERE rid = ?1 AND NOT wanted"
        return self.connection.execute(query, (rid,)).get is not None

    def collected(self, seq: int) -> bool:
        """Tell whether a change without a header was collected here and not lost: its changeset then is whole."""
        if seq <= self.base:
            return True
        rows = self.changesets(seq, seq)
        return seq <= self.floor and bool(rows) and self.intact(rows[0])

    def damaged_body(self, row: Changeset) -> bool:
        """Tell whether a body held differs from the hash that was signed; one about to be dropped may."""
        query = (
            "SELECT rid, sealed FROM body b WHERE rid BETWEEN ? AND ? "
            "AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = b.rid)"
        )
        bodies = fetch(self.connection, query, (row.rid, row.rid + row.changes - 1))
        return any(not row.signs(rid - row.rid, sealed) for rid, sealed in bodies)

    def is_signed(self, seq: int, sealed: bytes) -> bool | None:
        """Tell whether this is the body of a change; None where its header is not held."""
        rid = rid_of(self.number, seq)
        rows = self.changesets(seq, seq) if self.heads(rid, rid) else []
        return rows[0].signs(seq - rows[0].first, sealed) if rows and rows[0].first <= seq else None

    def links_before(self, row: Changeset) -> list[bytes]:
        """Return the link the changeset says to follow, and the one it does follow here, where they are known."""
        if row.first == 1:
            return [GENESIS]
        before = self.changesets(row.first - 1, row.first - 1)
        known = [before[0].link] if before and before[0].last == row.first - 1 else []
        return known if row.previous is None else [*known, row.previous]

    def computed(self, row: Changeset, heads: Mapping[int, bytes], previous: Iterable[bytes]) -> list[bytes]:
        """Return the links the rows of a changeset give after each of those links; none where rows are missing."""
        if not row.sound:
            return []
        leaves = []
        for place in range(row.changes):
            record = heads.get(row.rid + place)
            if record is not None:
                leaves.append(hash_leaf(record[: RECORD.size], record[RECORD.size :], row.slot(place)))
            elif row.first + place <= self.floor:
                leaves.append(row.slot(place))
            else:
                return []
        place_of_log = self.space + self.replica
        return [link_after(one, place_of_log, row.header, row.refs, b"".join(leaves)) for one in previous]

    def intact(self, row: Changeset, previous: Iterable[bytes] | None = None) -> bool:
        """Tell whether the rows of a changeset give the link it has."""
        heads = self.heads(row.rid, row.rid + row.changes - 1)
        before = self.links_before(row) if previous is None else previous
        return row.link in self.computed(row, heads, before)

    def signed(self, link: bytes, signature: bytes) -> bool:
        """Tell whether a signature is the author's over a link."""
        try:
            crypto_sign_open(signature + CHANGESET_LABEL + link, node_of(self.replica))
        except (BadSignatureError, ValueError):
            return False
        return True


class Chain:
    """Follows a log from its beginning and gathers, as (first, last), where it is damaged."""

    def __init__(self, log: LogRows) -> None:
        self.log = log
        self.damaged: list[tuple[int, int]] = []
        self.end: bytes | None = None
        """the link at the log's end, once it was recomputed from sound rows"""
        self._next = log.base + 1
        self._before: list[bytes] = [GENESIS] if not log.base else []

    def follow(self, piece: Piece) -> list[Changeset]:
        """Take the next rows; returns those whose headers cannot be trusted."""
        return [row for row in piece.changesets if not self._follows(row, piece.heads)]

    def close(self) -> None:
        """Take note of what is missing at the end."""
        self._miss(self.log.seq + 1)

    def _follows(self, row: Changeset, heads: Mapping[int, bytes]) -> bool:
        if row.first != self._next:
            self._miss(row.first)
            self._before = []
        stated = [row.previous] if row.previous is not None else []
        before = [*self._before, *stated]
        links = self.log.computed(row, heads, before)
        # Behind a lost changeset nothing shows whether a row is what was signed: it is wanted with the lost one.
        sound = row.sound and self._all_there(row, heads) and row.link in links
        sound = sound and (row.signature is None or self.log.signed(row.link, row.signature))
        sound = sound and row.first >= self._next
        if not sound or self.log.damaged_body(row):
            self.damaged.append((row.first, max(row.last, row.first)))
        elif row.last == self.log.seq:
            self.end = row.link
        self._next = max(self._next, row.last + 1)
        self._before = [row.link, *(link for link in links if link != row.link)]
        return sound

    def _all_there(self, row: Changeset, heads: Mapping[int, bytes]) -> bool:
        return all(row.rid + place in heads for place in range(max(0, self.log.floor - row.first + 1), row.changes))

    def _miss(self, reached: int) -> None:
        """Rows up to a number are not there; those the log claims are lost."""
        last = min(reached - 1, self.log.seq)
        if last >= self._next:
            self.damaged.append((self._next, last))
