"""Which replica this store writes as, renewed when the file was copied, restored or moved (RULES of state, 7).

A restored backup that went on numbering where the backup stopped would reuse numbers that peers already hold.
The marker beside the database and the file's own identity give a copy away; what they cannot notice (a whole
machine rolled back) is noticed when a peer holds dots of ours that we lack.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from cis.model import NodeId, ReplicaId, replica_id
from cis.model.ids import INCARNATION_LENGTH
from cis.store.database import transaction
from cis.trust.sealing import Entropy

_MACHINE_ID = Path("/etc/machine-id")


def current_replica(connection: apsw.Connection, path: Path, node: NodeId, entropy: Entropy) -> ReplicaId:
    """Return the replica to write as, a new one where the store is not the one last closed here."""
    marker = path.with_suffix(".incarnation")
    place = _place(path)
    stored = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('place','marker','incarnation')"))
    seen = marker.read_bytes() if marker.exists() else b""
    same = stored.get("place") == place and stored.get("marker") == seen != b""
    incarnation = stored["incarnation"] if same else entropy(INCARNATION_LENGTH)
    token = entropy(16)
    with transaction(connection):
        rows = [("place", place), ("marker", token), ("incarnation", incarnation)]
        connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)
        _write_marker(marker, token)
    return replica_id(node, incarnation)


def renew(connection: apsw.Connection, node: NodeId, entropy: Entropy) -> ReplicaId:
    """Begin a new incarnation: a peer holds dots of ours that this store lacks."""
    incarnation = entropy(INCARNATION_LENGTH)
    connection.execute("INSERT OR REPLACE INTO meta VALUES('incarnation', ?)", (incarnation,))
    return replica_id(node, incarnation)


def _place(path: Path) -> bytes:
    status = path.stat()
    born = getattr(status, "st_birthtime", 0)
    machine = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    return f"{machine}:{status.st_ino}:{born}".encode()


def _write_marker(marker: Path, token: bytes) -> None:
    fresh = marker.with_suffix(".incarnation-new")
    fresh.write_bytes(token)
    fresh.chmod(0o600)
    fresh.replace(marker)
