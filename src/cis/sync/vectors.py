"""Version vectors on the wire, and the digest that tells two nodes in one round trip that they are in step."""

from __future__ import annotations

from hashlib import blake2b

from cis.model import ReplicaId, SpaceId, VersionVector
from cis.wire.messages import Vector


def to_wire(space: SpaceId, vector: VersionVector) -> Vector:
    """Return the message that states the vector of a space."""
    beyond = [
        (replica, first, last) for replica, ranges in sorted(vector.beyond.items()) for first, last in ranges
    ]
    return Vector(space, [(replica, seq) for replica, seq in sorted(vector.seqs.items()) if seq], beyond)


def from_wire(message: Vector) -> VersionVector:
    """Return the vector a message states; later statements of one replica win, ranges out of order are joined."""
    vector = VersionVector({ReplicaId(replica): seq for replica, seq in message.seqs})
    for replica, first, last in message.beyond:
        if first <= last:
            vector = vector.with_range(ReplicaId(replica), first, last)
    return vector


def digest(vector: VersionVector) -> bytes:
    """Return a hash that is equal for equal vectors and for no others."""
    state = blake2b(digest_size=32, person=b"cis/1 vector")
    for replica, seq in sorted(vector.seqs.items()):
        if seq:
            state.update(replica + seq.to_bytes(8, "big"))
    state.update(b"beyond")
    for replica, ranges in sorted(vector.beyond.items()):
        for first, last in ranges:
            state.update(replica + first.to_bytes(8, "big") + last.to_bytes(8, "big"))
    return state.digest()
