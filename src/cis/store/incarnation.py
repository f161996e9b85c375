"""Which replica this store writes as, renewed when the file was copied or restored (RULES of state, 7).

A restored backup that went on numbering where the backup stopped would reuse numbers that peers already hold.
A marker beside the database gives a copy away: its token is in the database too, new at every opening, so
neither can be put back alone; and its inode change time, which no tool can set, is new in any copy of both.
What cannot be noticed here (a whole machine rolled back) shows when a peer holds dots of ours that we lack.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cis.model import NodeId, ReplicaId, replica_id
from cis.model.ids import INCARNATION_LENGTH
from cis.store.database import fetch, transaction, translated

if TYPE_CHECKING:
    import apsw

    from cis.trust.sealing import Entropy

_MACHINE_ID = Path("/etc/machine-id")
_TOKEN_LENGTH = 16


def current_replica(connection: apsw.Connection, path: Path, node: NodeId, entropy: Entropy) -> ReplicaId:
    """Return the replica to write as, a new one where the store is not the one last opened here."""
    marker = path.with_suffix(".incarnation")
    query = "SELECT name, value FROM meta WHERE name IN ('place', 'marker', 'incarnation')"
    stored = dict(fetch(connection, query))
    with translated(path):
        same = stored.get("place") == _place(path, marker) and stored.get("marker") == _read(marker)
        incarnation = stored["incarnation"] if same else entropy(INCARNATION_LENGTH)
        token = entropy(_TOKEN_LENGTH)
        with transaction(connection):
            _write_marker(marker, token)
            rows = [("place", _place(path, marker)), ("marker", token), ("incarnation", incarnation)]
            connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)
    return replica_id(node, incarnation)


def renew(connection: apsw.Connection, node: NodeId, entropy: Entropy) -> ReplicaId:
    """Begin a new incarnation: a peer holds dots of ours that this store lacks."""
    incarnation = entropy(INCARNATION_LENGTH)
    connection.execute("INSERT OR REPLACE INTO meta VALUES('incarnation', ?)", (incarnation,))
    return replica_id(node, incarnation)


def stored_replica(connection: apsw.Connection, node: NodeId) -> ReplicaId:
    """Return the replica that the store says it writes as."""
    incarnation: bytes = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
    return replica_id(node, incarnation)


def _place(path: Path, marker: Path) -> bytes:
    machine = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    changed_ns = marker.stat().st_ctime_ns if marker.exists() else 0
    return f"{machine}:{path.stat().st_ino}:{changed_ns}".encode()


def _read(marker: Path) -> bytes | None:
    return marker.read_bytes() if marker.exists() else None


def _write_marker(marker: Path, token: bytes) -> None:
    fresh = marker.with_suffix(".incarnation-new")
    try:
        fresh.write_bytes(token)
        fresh.chmod(0o600)
        fresh.replace(marker)
    except OSError:  # the disk may be full
        fresh.unlink(missing_ok=True)
        raise
