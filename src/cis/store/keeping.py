"""Which bodies this device keeps of a space, and the letting go of the others (docs/adr/017-partial-replicas.md).

Headers always stay; a body that is elsewhere by choice leaves a row in ``absent``. A row that is ``wanted`` is missing
like any other body: it is to come back.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING

import apsw
import msgspec

from cis.errors import UsageError
from cis.model import Kind, NodeId, ReplicaId, SpaceId, VersionVector, node_of
from cis.model.change import SEQ_BITS
from cis.model.ids import NODE_ID_LENGTH
from cis.store.database import fetch
from cis.store.names import Name, named, names_here, unnamed
from cis.store.replicas import rid_of
from cis.store.stability import vector_of
from cis.wire.content import KEY_BYTES_MAX, WORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cis.trust.sealing import Entropy

NUMBER_LENGTH = 8
HOLDER_SILENT_MS_MAX = 30 * 86_400_000
"""What a member silent for longer has reported is not leant on."""
LET_GO_AT_ONCE = 4096
"""Rows per step, so that a step holds the writer for some ten milliseconds."""
CHOICES_MAX = 64
"""Prefixes, and categories, of one policy."""
_LETTABLE = """
    SELECT h.rid, substr(h.record, 9, 16) AS m, substr(h.record, 33, 1), (SELECT name FROM name WHERE rid = h.rid)
    FROM carray(?) n CROSS JOIN head h ON h.rid = n.value
    WHERE EXISTS (SELECT 1 FROM body b WHERE b.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM absent a WHERE a.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM hidden k WHERE k.rid = h.rid)
    AND (EXISTS (SELECT 1 FROM live l WHERE l.memory = m AND l.rid = h.rid)
        OR EXISTS (SELECT 1 FROM live0 l WHERE l.memory = m AND l.rid = h.rid))"""
_VECTORS = """
    SELECT rid FROM head h WHERE rid BETWEEN ? AND ? AND substr(record, 33, 1) = ?
    AND EXISTS (SELECT 1 FROM body b WHERE b.rid = h.rid) ORDER BY rid"""


_ABSENT = """
    SELECT a.rid, substr(h.record, 33, 1), n.name FROM absent a JOIN head h ON h.rid = a.rid
    LEFT JOIN name n ON n.rid = a.rid WHERE a.rid >> ?2 IN
    (SELECT r.no FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?1)"""
_USELESS_NAMES = """
    DELETE FROM name WHERE rid >> ?2 IN (SELECT r.no FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?1)
    AND NOT EXISTS (SELECT 1 FROM absent a WHERE a.rid = name.rid)"""


class Keep(msgspec.Struct, array_like=True, frozen=True):
    """A device's policy for one space; the default keeps everything. ``number`` is drawn with each that does not.

    With ``names`` no value is kept, only what is listed of it; with ``prefixes`` or ``categories`` those values alone
    whose memory's key begins with one, or whose category is one. That is of whole values: what counters and sets are
    made of is kept in any case.
    """

    number: bytes = b""
    vectors: bool = True
    names: bool = False
    prefixes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether anything is left out."""
        return not self.vectors or self.selective

    @property
    def selective(self) -> bool:
        """Whether values are left out."""
        return self.names or bool(self.prefixes or self.categories)

    def wants(self, kind: int, name: Name | None) -> bool:
        """Tell whether the body of a change is kept; of which there is no name, it is."""
        if kind == Kind.VECTOR:
            return self.vectors
        if kind != Kind.PUT or not self.selective or name is None:
            return True
        return name.key.startswith(self.prefixes) or name.category in self.categories

    @property
    def unwanted(self) -> tuple[int, ...]:
        """The kinds of changes whose bodies need not be sent."""
        return () if self.vectors else (Kind.VECTOR,)


EVERYTHING = Keep()
_decode = msgspec.msgpack.Decoder(Keep).decode


def keep_of(connection: apsw.Connection, space: SpaceId) -> Keep:
    """Return the policy for a space."""
    stored = connection.execute("SELECT value FROM meta WHERE name = ?", (_name(space),)).get
    return _decode(stored) if stored is not None else EVERYTHING


def without_vectors(connection: apsw.Connection) -> list[SpaceId]:
    """Return the spaces of which this device keeps no vectors."""
    query = "SELECT s.id, m.value FROM space s JOIN meta m ON m.name = 'keep ' || lower(hex(s.id)) ORDER BY s.no"
    return [SpaceId(space) for space, policy in fetch(connection, query) if not _decode(policy).vectors]


def set_keep(connection: apsw.Connection, space: SpaceId, keep: Keep, entropy: Entropy) -> bool:
    """Take up a policy, under a new number; what it keeps that is not here is wanted. False where nothing changes.

    Raises `UsageError` where a prefix or a category is none, or there are too many.
    """
    _check(keep)
    before = keep_of(connection, space)
    if msgspec.structs.replace(before, number=b"") == msgspec.structs.replace(keep, number=b""):
        return False
    number = entropy(NUMBER_LENGTH) if keep.partial else b""
    row = (_name(space), msgspec.msgpack.encode(msgspec.structs.replace(keep, number=number)))
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", row)
    absent = fetch(connection, _ABSENT, (space, SEQ_BITS))
    wanted = [(keep.wants(kind[0], named(name or b"")), rid) for rid, kind, name in absent]
    connection.executemany("UPDATE absent SET wanted = ? WHERE rid = ?", wanted)
    if not keep.selective:
        connection.execute(_USELESS_NAMES, (space, SEQ_BITS))
    return True


def _check(keep: Keep) -> None:
    for what, words, bytes_max in (
        ("prefix", keep.prefixes, KEY_BYTES_MAX),
        ("category", keep.categories, WORD_BYTES_MAX),
    ):
        if len(words) > CHOICES_MAX:
            raise UsageError(f"{len(words)} of one kind: a policy has at most {CHOICES_MAX} prefixes, and categories")
        for word in words:
            if not (word.isprintable() and 0 < len(word.encode()) <= bytes_max):
                raise UsageError(f"{what} {word[:40]!r}: give 1 to {bytes_max} bytes of printable UTF-8")


def stated_number(connection: apsw.Connection, space: SpaceId) -> bytes:
    """Return what a report states of the policy: empty for everything, else another for each policy and incarnation."""
    keep = keep_of(connection, space)
    incarnation = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").get or b""
    if not keep.partial:
        return b""
    return blake2b(keep.number + incarnation, digest_size=NUMBER_LENGTH, person=b"cis keep").digest()


def known_partial(connection: apsw.Connection, space: SpaceId) -> list[tuple[NodeId, bytes]]:
    """Return the members that last reported not to keep everything, and the number each stated."""
    query = (
        "SELECT node, number FROM report WHERE number <> x'' "
        "AND space = (SELECT no FROM space WHERE id = ?) ORDER BY node"
    )
    return [(NodeId(node), number) for node, number in fetch(connection, query, (space,))]


def holders(
    connection: apsw.Connection, space: SpaceId, own: NodeId, silent_ms_max: int = HOLDER_SILENT_MS_MAX
) -> dict[NodeId, VersionVector]:
    """Return what the members reported to hold that keep everything, and know that this device does not.

    Where this device keeps everything, all that do.
    """
    number = stated_number(connection, space)
    query = (
        "SELECT node, vector, known FROM report WHERE number = x'' AND silent_ms <= ?2 "
        "AND space = (SELECT no FROM space WHERE id = ?1) ORDER BY node"
    )
    rows = fetch(connection, query, (space, silent_ms_max))
    return {NodeId(node): vector_of(vector) for node, vector, known in rows if not number or _names(known, own, number)}


def held_elsewhere(
    connection: apsw.Connection, space: SpaceId, own: NodeId, silent_ms_max: int = HOLDER_SILENT_MS_MAX
) -> VersionVector:
    """Return up to where each log is held in full by some member that may be leant on."""
    joined = VersionVector()
    for vector in holders(connection, space, own, silent_ms_max).values():
        joined = joined.join(vector)
    return joined


def lettable(connection: apsw.Connection, space: SpaceId, own: NodeId) -> list[int]:
    """Return the rows whose body the policy does not keep and that may go; scans the headers of the space.

    Of values those alone that have a name here (`cis.store.names`).
    """
    keep, found = keep_of(connection, space), list[int]()
    bounds = _bounds(connection, space, own) if keep.partial else {}
    if not keep.vectors:
        for number, last in bounds.items():
            found += [rid for (rid,) in fetch(connection, _VECTORS, (rid_of(number, 1), last, bytes((Kind.VECTOR,))))]
    if keep.selective:
        found += [rid for rid, name in names_here(connection, bounds) if not keep.wants(Kind.PUT, name)]
    return found


def nameable(connection: apsw.Connection, space: SpaceId, own: NodeId) -> list[int]:
    """Return the values that may go, should the policy not keep them, and have no name yet by which to tell."""
    selective = keep_of(connection, space).selective
    return unnamed(connection, _bounds(connection, space, own)) if selective else []


def let_go(connection: apsw.Connection, space: SpaceId, own: NodeId, rids: Sequence[int]) -> None:
    """Let the bodies of rows go that were found `lettable`, as far as they still are, in the caller's transaction."""
    keep = keep_of(connection, space)
    if not keep.partial:
        return
    bounds = _bounds(connection, space, own)
    chosen = array("q", [rid for rid in rids if rid <= bounds.get(rid >> SEQ_BITS, 0)])
    found = fetch(connection, _LETTABLE, (apsw.carray(chosen),)) if chosen else []
    going = [(rid, memory) for rid, memory, kind, name in found if not keep.wants(kind[0], named(name or b""))]
    if going:
        _part_with(connection, space, going)


def leave_out(connection: apsw.Connection, rids: Iterable[int]) -> None:
    """Note that these bodies were left out by who sent the changes, as was asked."""
    connection.executemany("INSERT OR IGNORE INTO absent(rid) VALUES(?)", [(rid,) for rid in rids])


def count_absent(connection: apsw.Connection, space: SpaceId) -> int:
    """Count the bodies of living changes that are elsewhere by choice."""
    query = (
        "SELECT count(*) FROM absent a JOIN replica r ON r.no = a.rid >> ?2 WHERE NOT a.wanted "
        "AND r.space = (SELECT no FROM space WHERE id = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = a.rid) "
        "AND NOT EXISTS (SELECT 1 FROM hidden k WHERE k.rid = a.rid)"
    )
    count: int = connection.execute(query, (space, SEQ_BITS)).get
    return count


def _bounds(connection: apsw.Connection, space: SpaceId, own: NodeId) -> dict[int, int]:
    """Return by others' logs the row up to which bodies may go: what was written here never does."""
    elsewhere = held_elsewhere(connection, space, own)
    query = "SELECT r.no, r.id FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ? AND s.replicated"
    logs = [(number, ReplicaId(replica)) for number, replica in fetch(connection, query, (space,))]
    return {number: rid_of(number, elsewhere.contiguous(log)) for number, log in logs if node_of(log) != own}


def _part_with(connection: apsw.Connection, space: SpaceId, rows: Sequence[tuple[int, bytes]]) -> None:
    leave_out(connection, (rid for rid, _ in rows))
    gone = apsw.carray(array("q", [rid for rid, _ in rows]))
    connection.execute("DELETE FROM body WHERE rid IN (SELECT value FROM carray(?))", (gone,))
    memories = b"".join(sorted({memory for _, memory in rows}))
    query = "INSERT INTO journal(space, replica, memories) SELECT no, 0, ?2 FROM space WHERE id = ?1"
    connection.execute(query, (space, memories))


def _names(known: bytes, node: NodeId, number: bytes) -> bool:
    width = NODE_ID_LENGTH + NUMBER_LENGTH
    return node + number in (known[at : at + width] for at in range(0, len(known), width))


def _name(space: SpaceId) -> str:
    return f"keep {space.hex()}"
