"""Version vectors on the wire, and the digest that tells two nodes in one round trip they are in step."""

from __future__ import annotations

from hashlib import blake2b

from cis.model import ReplicaId, SpaceId, VersionVector
from cis.wire.messages import RANGES_MAX, Vector


def to_wire(space: SpaceId, vector: VersionVector) -> Vector:
    """Return the message that states the vector of a space.

    Ranges beyond gaps that do not fit are left out: the peer then sends again what is held already.
    """
    seqs: list[tuple[bytes, int]] = [(replica, seq) for replica, seq in sorted(vector.seqs.items()) if seq]
    beyond: list[tuple[bytes, int, int]] = [
        (replica, first, last) for replica, ranges in sorted(vector.beyond.items()) for first, last in ranges
    ]
    return Vector(space, seqs, beyond[:RANGES_MAX])


def from_wire(message: Vector) -> VersionVector:
    """Return the vector a message states; of two statements about one replica the later holds."""
    seqs = {ReplicaId(replica): seq for replica, seq in message.seqs}
    ranges = [(ReplicaId(replica), first, last) for replica, first, last in message.beyond if first <= last]
    return VersionVector.gathered(seqs, ranges)


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
