"""Frozen values every room speaks of: identities, clocks, version vectors, changes, node records.

Nothing here decides anything; the rules live in `cis.crdt`, `cis.sync` and `cis.trust`.
"""

from cis.model.change import CHANGE_FUTURE_LIMIT_MS, Change, Dot, Kind, Ref
from cis.model.hlc import Hlc, hlc, hlc_ms
from cis.model.ids import (
    MemoryId,
    NodeId,
    ReplicaId,
    SpaceId,
    did_of,
    node_of,
    parse_did,
    replica_id,
    short_id,
)
from cis.model.record import Candidate, NodeRecord
from cis.model.vector import VersionVector

__all__ = [
    "CHANGE_FUTURE_LIMIT_MS",
    "Candidate",
    "Change",
    "Dot",
    "Hlc",
    "Kind",
    "MemoryId",
    "NodeId",
    "NodeRecord",
    "Ref",
    "ReplicaId",
    "SpaceId",
    "VersionVector",
    "did_of",
    "hlc",
    "hlc_ms",
    "node_of",
    "parse_did",
    "replica_id",
    "short_id",
]
