"""Version vectors on the wire, and the digest that tells two nodes in one round trip they are in step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

from cis.model import ReplicaId, SpaceId, VersionVector
from cis.sync.floors import Standing
from cis.wire.messages import Vector

PAGE = 2048
"""Replicas, and ranges, stated in one message."""


def to_wire(space: SpaceId, standing: Standing) -> list[Vector]:
    """Return the messages that state the vector of a space and its floor, as many as it takes."""
    vector, floor = standing.vector, sorted(standing.floor.seqs.items())
    seqs = [(replica, seq, vector.heads.get(replica, b"")) for replica, seq in sorted(vector.seqs.items()) if seq]
    beyond = [(replica, first, last) for replica, ranges in sorted(vector.beyond.items()) for first, last in ranges]
    pages = max(1, *(-(-len(rows) // PAGE) for rows in (seqs, beyond, floor)))
    return [
        Vector(
            space,
            list(seqs[page * PAGE : (page + 1) * PAGE]),
            list(beyond[page * PAGE : (page + 1) * PAGE]),
            list(floor[page * PAGE : (page + 1) * PAGE]),
            more=page < pages - 1,
            owes=standing.owes,
            partial=standing.partial,
            unwanted=list(standing.unwanted),
        )
        for page in range(pages)
    ]


def from_wire(pages: Iterable[Vector]) -> Standing:
    """Return what messages state; the later of two statements of one replica holds, ranges are joined."""
    floor: dict[ReplicaId, int] = {}
    owes = partial = False
    unwanted: set[int] = set()
    seqs: dict[ReplicaId, int] = {}
    heads: dict[ReplicaId, bytes] = {}
    ranges: list[tuple[ReplicaId, int, int]] = []
    for page in pages:
        seqs.update((ReplicaId(replica), seq) for replica, seq, _ in page.seqs)
        heads.update((ReplicaId(replica), head) for replica, _, head in page.seqs if head)
        owes |= page.owes
        partial |= page.partial
        unwanted.update(page.unwanted)
        floor.update((ReplicaId(replica), seq) for replica, seq in page.floor)
        ranges += [(ReplicaId(replica), first, last) for replica, first, last in page.beyond if first <= last]
    vector = replace(VersionVector.gathered(seqs, ranges), heads=heads)
    return Standing(vector, VersionVector(floor), owes, partial, tuple(sorted(unwanted)))


def forks(mine: VersionVector, theirs: VersionVector) -> list[ReplicaId]:
    """Return the replicas whose logs end at the same number here and there, but not with the same link."""
    level = [replica for replica in mine.heads if mine.contiguous(replica) == theirs.contiguous(replica)]
    return [one for one in level if theirs.heads.get(one, mine.heads[one]) != mine.heads[one]]


def digest(vector: VersionVector) -> bytes:
    """Return a hash that is equal for equal vectors and for no others."""
    state = blake2b(digest_size=32, person=b"cis/1 vector")
    for replica, seq in sorted(vector.seqs.items()):
        if seq:
            state.update(replica + seq.to_bytes(8, "big") + vector.heads.get(replica, b""))
    state.update(b"beyond")
    for replica, ranges in sorted(vector.beyond.items()):
        for first, last in ranges:
            state.update(replica + first.to_bytes(8, "big") + last.to_bytes(8, "big"))
    return state.digest()


def summarised(standing: Standing) -> bytes:
    """Return what a summary states: the vector's digest, another where a comparison is owed, so that it comes about."""
    plain = digest(standing.vector)
    return blake2b(plain, digest_size=32, person=b"cis/1 owes").digest() if standing.owes else plain
