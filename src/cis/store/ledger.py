"""What the store keeps beside memories: the cluster's keys, the membership log, invitations.

Functions over a connection, run as tasks of the writer, so that what belongs together is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.model import SpaceId
from cis.model.change import SEQ_MAX
from cis.store.collection import forget_log
from cis.store.database import fetch
from cis.store.replicas import rid_of

if TYPE_CHECKING:
    import apsw


@dataclass(frozen=True)
class ClusterRecord:
    """What is stored of the cluster: its id, its keys as `cis.trust.ClusterKeys` encodes them, its log."""

    cluster: bytes
    keys: bytes
    entries: tuple[bytes, ...]
    former_keys: bytes | None
    """Keys of the cluster this node left by joining another, until its memories are written again there."""


def load_cluster(connection: apsw.Connection) -> ClusterRecord | None:
    """Return what is stored of the cluster, None before `save_cluster`."""
    meta = dict(fetch(connection, "SELECT name, value FROM meta WHERE name IN ('cluster','keys','former_keys')"))
    if "cluster" not in meta:
        return None
    entries = tuple(entry for (entry,) in fetch(connection, "SELECT entry FROM membership ORDER BY no"))
    return ClusterRecord(meta["cluster"], meta["keys"], entries, meta.get("former_keys"))


def save_cluster(
    connection: apsw.Connection, cluster: bytes, keys: bytes, entries: Iterable[tuple[bytes, bytes]]
) -> None:
    """Store a new cluster in place of any other; the keys of the other stay as former keys."""
    connection.execute("DELETE FROM membership")
    connection.execute("DELETE FROM invitation")
    connection.execute("INSERT OR REPLACE INTO meta SELECT 'former_keys', value FROM meta WHERE name = 'keys'")
    rows = [("cluster", cluster), ("keys", keys)]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)
    save_entries(connection, entries)


def forget_former(connection: apsw.Connection, spaces: Iterable[SpaceId]) -> None:
    """Drop the former keys, and the logs of the spaces they were for; the index follows by the journal.

    Whoever calls this renews the incarnation: peers of the former cluster may still hold this replica's log.
    """
    query = "SELECT r.no, r.space FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?"
    for number, space in [row for one in spaces for row in fetch(connection, query, (one,))]:
        bounds = (rid_of(number, 0), rid_of(number + 1, 0))
        for table in ("live", "live0"):
            connection.execute(
                "INSERT INTO journal(space, replica, memories) "
                f"SELECT ?3, ?4, memory FROM {table} WHERE rid BETWEEN ?1 AND ?2",
                (*bounds, space, number),
            )
        forget_log(connection, number, SEQ_MAX)
        reset = "UPDATE replica SET seq = 0, link = zeroblob(32), floor = 0, base = 0 WHERE no = ?"
        connection.execute(reset, (number,))
    connection.execute("DELETE FROM meta WHERE name = 'former_keys'")


def save_entries(connection: apsw.Connection, entries: Iterable[tuple[bytes, bytes]]) -> None:
    """Append membership entries as (id, bytes), in order."""
    connection.executemany(
        "INSERT OR IGNORE INTO membership SELECT ?1, ?2, 1 + coalesce(max(no), 0) FROM membership", entries
    )


def load_invitations(connection: apsw.Connection) -> list[bytes]:
    """Return all invitations as they were encoded."""
    return [record for (record,) in fetch(connection, "SELECT record FROM invitation")]


def save_invitation(connection: apsw.Connection, invitation: bytes, record: bytes) -> None:
    """Store an invitation under its ticket's id."""
    connection.execute("INSERT OR REPLACE INTO invitation VALUES(?,?)", (invitation, record))


def drop_invitations(connection: apsw.Connection, invitations: Iterable[bytes]) -> None:
    """Forget invitations, expired long enough to be of no use in explaining a refusal."""
    connection.executemany("DELETE FROM invitation WHERE id = ?", [(invitation,) for invitation in invitations])
