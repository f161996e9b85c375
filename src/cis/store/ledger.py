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
    former: bytes | None = None
    """the id of that cluster"""


def load_cluster(connection: apsw.Connection) -> ClusterRecord | None:
    """Return what is stored of the cluster, None before `save_cluster`."""
    names = "'cluster','keys','former_keys','former'"
    meta = dict(fetch(connection, f"SELECT name, value FROM meta WHERE name IN ({names})"))
    if "cluster" not in meta:
        return None
    entries = tuple(entry for (entry,) in fetch(connection, "SELECT entry FROM membership ORDER BY no"))
    return ClusterRecord(meta["cluster"], meta["keys"], entries, meta.get("former_keys"), meta.get("former"))


def save_cluster(
    connection: apsw.Connection, cluster: bytes, keys: bytes, entries: Iterable[tuple[bytes, bytes]]
) -> None:
    """Store a new cluster in place of any other; the keys of the other stay as former keys."""
    connection.execute("DELETE FROM membership")
    connection.execute("DELETE FROM invitation")
    for name, former in (("keys", "former_keys"), ("cluster", "former")):
        connection.execute("INSERT OR REPLACE INTO meta SELECT ?, value FROM meta WHERE name = ?", (former, name))
    rows = [("cluster", cluster), ("keys", keys)]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)
    save_entries(connection, entries)


def forget_former(connection: apsw.Connection, spaces: Iterable[SpaceId]) -> None:
    """Drop the former keys, what a move noted, and the logs of the spaces named; the index follows by the journal.

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
        connection.execute("DELETE FROM severed WHERE replica = ?", (number,))
        ends = "seq = 0, link = zeroblob(32), floor = 0, base = 0, stable = 0"
        reset = f"UPDATE replica SET {ends} WHERE no = ?"
        connection.execute(reset, (number,))
    connection.execute("DELETE FROM meta WHERE name IN ('former_keys', 'former', 'moving')")


def save_move(connection: apsw.Connection, plan: bytes) -> None:
    """Store how far the move out of the former cluster has come, until `forget_former`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES('moving', ?)", (plan,))


def load_move(connection: apsw.Connection) -> bytes | None:
    """Return how far it has come; None where it has not begun."""
    plan: bytes | None = connection.execute("SELECT value FROM meta WHERE name = 'moving'").get
    return plan


def space_names(connection: apsw.Connection) -> dict[SpaceId, str]:
    """Return what spaces were called when they were last made known."""
    return {SpaceId(space): name for space, name in fetch(connection, "SELECT id, name FROM space")}


def save_entries(connection: apsw.Connection, entries: Iterable[tuple[bytes, bytes]]) -> None:
    """Append membership entries as (id, bytes), in order."""
    connection.executemany(
        "INSERT OR IGNORE INTO membership SELECT ?1, ?2, 1 + coalesce(max(no), 0) FROM membership", entries
    )


def save_keys(connection: apsw.Connection, keys: bytes) -> None:
    """Store the cluster's keys in place of what was held of them."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES('keys', ?)", (keys,))


def owe_withdrawal(connection: apsw.Connection) -> None:
    """Note that entries were stored whose effect on the logs is still to come."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES('withdrawal', x'01')")


def owes_withdrawal(connection: apsw.Connection) -> bool:
    """Tell whether a withdrawal was cut short by the end of the process."""
    return bool(fetch(connection, "SELECT 1 FROM meta WHERE name = 'withdrawal'"))


def settle_withdrawal(connection: apsw.Connection) -> None:
    """Note that it is done."""
    connection.execute("DELETE FROM meta WHERE name = 'withdrawal'")


def logs_of(connection: apsw.Connection, node: bytes) -> list[tuple[bytes, bytes, int]]:
    """Return (space, replica, last number) of every log of a node in a replicated space."""
    query = (
        "SELECT s.id, r.id, r.seq FROM replica r JOIN space s ON s.no = r.space "
        "WHERE s.replicated AND substr(r.id, 1, 32) = ? AND r.seq > 0 ORDER BY s.id, r.id"
    )
    return [(bytes(space), bytes(log), seq) for space, log, seq in fetch(connection, query, (node,))]


def load_invitations(connection: apsw.Connection) -> list[bytes]:
    """Return all invitations as they were encoded."""
    return [record for (record,) in fetch(connection, "SELECT record FROM invitation")]


def save_invitation(connection: apsw.Connection, invitation: bytes, record: bytes) -> None:
    """Store an invitation under its ticket's id."""
    connection.execute("INSERT OR REPLACE INTO invitation VALUES(?,?)", (invitation, record))


def drop_invitations(connection: apsw.Connection, invitations: Iterable[bytes]) -> None:
    """Forget invitations, expired long enough to be of no use in explaining a refusal."""
    connection.executemany("DELETE FROM invitation WHERE id = ?", [(invitation,) for invitation in invitations])
