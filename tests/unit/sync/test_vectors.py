"""What a vector's digest is made of: both ends, and every version, must come to the same."""

from __future__ import annotations

from hashlib import blake2b

from cis.model import ReplicaId, VersionVector
from cis.sync.vectors import digest

ONE, TWO = ReplicaId(b"1" * 40), ReplicaId(b"2" * 40)
HEAD = b"h" * 32


def hashed(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=32, person=b"cis/1 vector").digest()


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def test_a_digest_is_of_numbers_heads_and_ranges_in_order() -> None:
    vector = VersionVector({TWO: 4, ONE: 3}, heads={TWO: HEAD})
    assert digest(vector) == hashed(ONE, number(3), TWO, number(4), HEAD, b"beyond")
    scattered = VersionVector.gathered({ONE: 3}, [(ONE, 6, 8)])
    assert digest(scattered) == hashed(ONE, number(3), b"beyond", ONE, number(6), number(8))
    assert digest(VersionVector({ONE: 0})) == digest(VersionVector()) == hashed(b"beyond")
