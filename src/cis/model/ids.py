"""Identities: nodes, replicas, spaces and memories, and the text form of a node (W3C did:key).

A node is its Ed25519 public key. A replica is one incarnation of a node and the author of a numbered log:
a restored backup or a cloned disk writes under a new incarnation, so that no number is used twice.
"""

from __future__ import annotations

from typing import NewType

from cis.errors import UsageError

NodeId = NewType("NodeId", bytes)
"""32 bytes: an Ed25519 public key."""
ReplicaId = NewType("ReplicaId", bytes)
"""40 bytes: the node id, then a random incarnation of 8 bytes."""
SpaceId = NewType("SpaceId", bytes)
"""16 bytes, derived from the cluster and the name of the space."""
MemoryId = NewType("MemoryId", bytes)
"""16 bytes: a keyed BLAKE2b of a memory's key, so that nodes that cannot read can still merge."""

NODE_ID_LENGTH = 32
INCARNATION_LENGTH = 8
REPLICA_ID_LENGTH = NODE_ID_LENGTH + INCARNATION_LENGTH
SPACE_ID_LENGTH = 16
MEMORY_ID_LENGTH = 16

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519_MULTICODEC = b"\xed\x01"
_DID_PREFIX = "did:key:z"
_DID_LENGTH_MAX = 80


def replica_id(node: NodeId, incarnation: bytes) -> ReplicaId:
    """Join a node and an 8-byte incarnation."""
    if len(node) != NODE_ID_LENGTH or len(incarnation) != INCARNATION_LENGTH:
        raise ValueError("a replica is 32 bytes of node id and 8 of incarnation")
    return ReplicaId(node + incarnation)


def node_of(replica: ReplicaId) -> NodeId:
    """Return the node a replica belongs to."""
    return NodeId(replica[:NODE_ID_LENGTH])


def did_of(node: NodeId) -> str:
    """Return ``did:key:z6Mk…`` (multibase base58btc of the multicodec-tagged key)."""
    return _DID_PREFIX + _base58(_ED25519_MULTICODEC + node)


def short_id(node: NodeId) -> str:
    """Return the first ten distinguishing characters, for tables where a name is missing."""
    return did_of(node)[len("did:key:") :][:14]


def parse_did(text: str) -> NodeId:
    """Return the node named by a ``did:key`` text; `UsageError` when it is not one of an Ed25519 key."""
    if not text.startswith(_DID_PREFIX) or len(text) > _DID_LENGTH_MAX:
        raise UsageError(f"{text[:_DID_LENGTH_MAX]!r} is not a DID: expected did:key:z6Mk…")
    raw = _unbase58(text[len(_DID_PREFIX) :])
    if len(raw) != len(_ED25519_MULTICODEC) + NODE_ID_LENGTH or not raw.startswith(_ED25519_MULTICODEC):
        raise UsageError(f"{text!r} does not hold an Ed25519 key: expected did:key:z6Mk…")
    return NodeId(raw[len(_ED25519_MULTICODEC) :])


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def _unbase58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise UsageError(f"{character!r} does not occur in a DID: copy it again, whole")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
