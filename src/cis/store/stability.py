"""What members last reported to hold, and the stable floor that follows (RULES of state, 5).

The floor is the meet of this node's vector and the vectors last reported by all members; one that was silent for
`RETIRED_MS` is left out, and compares whole states when it returns. Silence is counted only while this node was
there to hear: a laptop that slept for half a year, or whose clock jumped, does not take the others for gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.model.ids import REPLICA_ID_LENGTH
from cis.store.audit import unheld_bodies
from cis.store.collection import raise_floor
from cis.store.database import fetch
from cis.store.read import Reader, owing

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

RETIRED_MS = 90 * 86_400_000
ROUND_MS_MAX = 86_400_000
"""One round counts as no more silence than this, however long ago the last was."""
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


def save_report(connection: apsw.Connection, space: SpaceId, node: NodeId, vector: VersionVector) -> None:
    """Keep what a member reports to hold, in place of what it reported before."""
    rows = b"".join(replica + seq.to_bytes(8, "big") for replica, seq in sorted(vector.seqs.items()))
    connection.execute(
        "INSERT OR REPLACE INTO report SELECT no, ?2, ?3, 0 FROM space WHERE id = ?1", (space, node, rows)
    )


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
        floor = floor.meet(_vector(rows))
    return floor


def advance(connection: apsw.Connection, space: SpaceId, retired_ms: int = RETIRED_MS) -> bool:
    """Raise the floor of a space to what is stable by now; True where that brought anything new to collect."""
    return raise_floor(connection, space, stable_floor(connection, space, retired_ms))


def give_up_catching_up(connection: apsw.Connection, space: SpaceId) -> None:
    """Take back what was taken over of others' floors and never came: whoever held it is gone for good."""
    connection.execute(
        "UPDATE replica SET floor = min(floor, seq) WHERE space = (SELECT no FROM space WHERE id = ?)", (space,)
    )
    connection.execute("DELETE FROM meta WHERE name = ?", (owing(space),))


def _vector(rows: bytes) -> VersionVector:
    starts = range(0, len(rows), _ROW)
    return VersionVector(
        {
            ReplicaId(rows[at : at + REPLICA_ID_LENGTH]): int.from_bytes(
                rows[at + REPLICA_ID_LENGTH : at + _ROW], "big"
            )
            for at in starts
        }
    )
