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

from cis.model import Kind, NodeId, ReplicaId, SpaceId, VersionVector, node_of
from cis.model.change import SEQ_BITS
from cis.model.ids import NODE_ID_LENGTH
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.store.stability import vector_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cis.trust.sealing import Entropy

NUMBER_LENGTH = 8
HOLDER_SILENT_MS_MAX = 30 * 86_400_000
"""What a member silent for longer has reported is not leant on."""
LET_GO_AT_ONCE = 4096
"""Rows per step, so that a step holds the writer for some ten milliseconds."""
_LETTABLE = """
    SELECT h.rid, substr(h.record, 9, 16) AS m FROM carray(?) n CROSS JOIN head h ON h.rid = n.value
    WHERE EXISTS (SELECT 1 FROM body b WHERE b.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM absent a WHERE a.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = h.rid)
    AND NOT EXISTS (SELECT 1 FROM hidden k WHERE k.rid = h.rid)
    AND (EXISTS (SELECT 1 FROM live l WHERE l.memory = m AND l.rid = h.rid)
        OR EXISTS (SELECT 1 FROM live0 l WHERE l.memory = m AND l.rid = h.rid))"""
_VECTORS = """
    SELECT rid FROM head h WHERE rid BETWEEN ? AND ? AND substr(record, 33, 1) = ?
    AND EXISTS (SELECT 1 FROM body b WHERE b.rid = h.rid) ORDER BY rid"""


class Keep(msgspec.Struct, array_like=True, frozen=True):
    """A device's policy for one space; the default keeps everything. ``number`` is drawn with each that does not."""

    number: bytes = b""
    vectors: bool = True

    @property
    def partial(self) -> bool:
        """Whether anything is left out."""
        return not self.vectors

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
    """Take up a policy, under a new number; what it keeps that is not here is wanted. False where nothing changes."""
    before = keep_of(connection, space)
    if msgspec.structs.replace(before, number=b"") == msgspec.structs.replace(keep, number=b""):
        return False
    number = entropy(NUMBER_LENGTH) if keep.partial else b""
    row = (_name(space), msgspec.msgpack.encode(msgspec.structs.replace(keep, number=number)))
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", row)
    connection.execute(
        "UPDATE absent SET wanted = ?3 WHERE rid >> ?2 IN "
        "(SELECT r.no FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?1)",
        (space, SEQ_BITS, keep.vectors),
    )
    return True


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
    """Return the rows whose body the policy does not keep and that may go; scans the headers of the space."""
    found: list[int] = []
    if keep_of(connection, space).partial:
        for number, last in _bounds(connection, space, own).items():
            bounds = (rid_of(number, 1), last, bytes((Kind.VECTOR,)))
            found += [rid for (rid,) in fetch(connection, _VECTORS, bounds)]
    return found


def let_go(connection: apsw.Connection, space: SpaceId, own: NodeId, rids: Sequence[int]) -> None:
    """Let the bodies of rows go that were found `lettable`, as far as they still are, in the caller's transaction."""
    if not keep_of(connection, space).partial:
        return
    bounds = _bounds(connection, space, own)
    chosen = array("q", [rid for rid in rids if rid <= bounds.get(rid >> SEQ_BITS, 0)])
    found = fetch(connection, _LETTABLE, (apsw.carray(chosen),)) if chosen else []
    if found:
        _part_with(connection, space, found)


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
