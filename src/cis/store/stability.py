"""What members last reported to hold, and the stable floor that follows (RULES of state, 5).

The floor is the meet of this node's vector and the vectors last reported by all members; one that was silent for
`RETIRED_MS` is left out, and compares whole states when it returns. Silence is counted only while this node was
there to hear: a laptop that slept for half a year, or whose clock jumped, does not take the others for gone.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import apsw

from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.audit import unheld_bodies
from cis.store.database import fetch
from cis.store.read import Reader, owing
from cis.store.replicas import rid_of

if TYPE_CHECKING:
    from collections.abc import Iterable

RETIRED_MS = 90 * 86_400_000
ROUND_MS_MAX = 86_400_000
"""One round counts as no more silence than this, however long ago the last was."""
DROPPED_AT_ONCE = 4096
_ROW = REPLICA_ID_LENGTH + 8


def reportable(reader: Reader, space: SpaceId) -> VersionVector:
    """Return up to where all of a space has been had and counts: no body is missing, nothing is held back.

    What is dated ahead of this node's clock may count elsewhere already, and end there what is alive here.
    """
    seqs = dict(reader.vector(space).seqs)
    number = reader.space_number(space)
    held = (stored.change.dot for stored, _ in reader.rows.held() if stored.space == number)
    for dot in (*unheld_bodies(reader, space), *held):
        seqs[dot.replica] = min(seqs.get(dot.replica, 0), dot.seq - 1)
    return VersionVector({replica: seq for replica, seq in sorted(seqs.items()) if seq > 0})


def save_report(
    connection: apsw.Connection,
    space: SpaceId,
    node: NodeId,
    vector: VersionVector,
    number: bytes = b"",
    known: Iterable[tuple[NodeId, bytes]] = (),
) -> None:
    """Keep what a member reports to hold, in place of what it reported before.

    ``number`` is that of its policy, empty where it keeps everything, and ``known`` are those it has heard of others
    (`cis.store.keeping`).
    """
    rows = b"".join(replica + seq.to_bytes(8, "big") for replica, seq in sorted(vector.seqs.items()))
    connection.execute(
        "INSERT OR REPLACE INTO report SELECT no, ?2, ?3, 0, ?4, ?5 FROM space WHERE id = ?1",
        (space, node, rows, number, b"".join(member + theirs for member, theirs in known)),
    )


def reported(reader: Reader, space: SpaceId, node: NodeId) -> VersionVector | None:
    """Return what a member last reported to hold; None where it never did."""
    query = "SELECT vector FROM report WHERE node = ?2 AND space = (SELECT no FROM space WHERE id = ?1)"
    rows = reader.connection.execute(query, (space, node)).get
    return vector_of(rows) if rows else None


def count_silence(connection: apsw.Connection, space: SpaceId, members: Iterable[NodeId], now_ms: int) -> None:
    """Begin a round: count what has passed since the last as silence of every member, and forget nodes that left."""
    name = f"stability {space.hex()}"
    last = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
    passed_ms = min(ROUND_MS_MAX, max(0, now_ms - int.from_bytes(last, "big"))) if last else 0
    row = (name, max(0, now_ms).to_bytes(8, "big"))
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", row)
    query = "SELECT node FROM report WHERE space = (SELECT no FROM space WHERE id = ?)"
    known = {NodeId(node) for (node,) in fetch(connection, query, (space,))}
    current = set(members)
    for node in sorted(known - current):
        connection.execute(
            "DELETE FROM report WHERE node = ?2 AND space = (SELECT no FROM space WHERE id = ?1)", (space, node)
        )
    for node in sorted(current - known):
        save_report(connection, space, node, VersionVector())
    connection.execute(
        "UPDATE report SET silent_ms = silent_ms + ?2 WHERE space = (SELECT no FROM space WHERE id = ?1)",
        (space, passed_ms),
    )


def stable_floor(connection: apsw.Connection, space: SpaceId, retired_ms: int = RETIRED_MS) -> VersionVector:
    """Return up to where every member that was not silent for so long has reported to hold everything."""
    floor = reportable(Reader(connection, {}), space)
    query = "SELECT vector FROM report WHERE silent_ms <= ?2 AND space = (SELECT no FROM space WHERE id = ?1)"
    for (rows,) in fetch(connection, query, (space, retired_ms)):
        floor = floor.meet(vector_of(rows))
    return floor


def forget_stable(connection: apsw.Connection, space: SpaceId) -> bool:
    """Forget what all members have had: there are new ones, who have not said so. True where there was anything.

    What was collected stays collected: who is new compares whole states.
    """
    before = connection.total_changes()
    query = "UPDATE replica SET stable = 0 WHERE stable > 0 AND space = (SELECT no FROM space WHERE id = ?)"
    connection.execute(query, (space,))
    return connection.total_changes() > before


def drop_hidden(connection: apsw.Connection, space: SpaceId, floor: VersionVector) -> bool:
    """Drop some of the bodies that were kept until what replaced them is stable; True while there may be more."""
    query = "SELECT no, id FROM replica WHERE space = (SELECT no FROM space WHERE id = ?)"
    rids = array("q")
    for number, replica in fetch(connection, query, (space,)):
        bounds = (rid_of(number, 1), rid_of(number, floor.contiguous(ReplicaId(replica))), DROPPED_AT_ONCE)
        query = "SELECT rid FROM hidden WHERE until BETWEEN ? AND ? LIMIT ?"
        rids.extend(rid for (rid,) in fetch(connection, query, bounds))
    for table in ("body", "absent", "name", "hidden") if rids else ():
        connection.execute(f"DELETE FROM {table} WHERE rid IN (SELECT value FROM carray(?))", (apsw.carray(rids),))
    return len(rids) >= DROPPED_AT_ONCE


def give_up_catching_up(connection: apsw.Connection, space: SpaceId) -> None:
    """Take back what was taken over of others' floors and never came: whoever held it is gone for good."""
    connection.execute(
        "UPDATE replica SET floor = min(floor, seq) WHERE space = (SELECT no FROM space WHERE id = ?)", (space,)
    )
    connection.execute("DELETE FROM meta WHERE name = ?", (owing(space),))


def give_up_unbacked(connection: apsw.Connection, space: SpaceId, stated: VersionVector) -> bool:
    """Give up what was taken over of a floor when a peer that states to have all below it has not given it.

    To be called when a session with that peer has ended well. True where there was such a floor.
    """
    reader = Reader(connection, {})
    floor = reader.floor(space)
    if floor.covered_by(reader.vector(space)) or not floor.covered_by(stated):
        return False
    give_up_catching_up(connection, space)
    return True


def vector_of(rows: bytes) -> VersionVector:
    """Return what a report states, as it is kept."""
    starts = range(0, len(rows), _ROW)
    return VersionVector(
        {
            ReplicaId(rows[at : at + REPLICA_ID_LENGTH]): int.from_bytes(
                rows[at + REPLICA_ID_LENGTH : at + _ROW], "big"
            )
            for at in starts
        }
    )
