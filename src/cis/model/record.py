"""A node record: a signed, expiring, numbered statement of how to reach a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cis.model.ids import NodeId

CANDIDATES_MAX = 16
RECORD_BYTES_MAX = 2048


class Candidate(NamedTuple):
    """An address to try; ``path`` is what a connection over it runs on: lan, direct, mapped or relayed."""

    host: str
    port: int
    path: str


@dataclass(frozen=True)
class NodeRecord:
    """Of two records of one node the higher number holds; one past ``expires_ms`` holds no more."""

    node: NodeId
    number: int
    expires_ms: int
    candidates: tuple[Candidate, ...]
    signature: bytes
