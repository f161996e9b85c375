"""Sealing of bodies (RULES of signing and sealing, 2): AES-256-GCM under a key of one changeset.

The salt of a changeset takes in its plaintexts beside 32 random bytes, so that a restored or cloned store,
even with a random generator that repeats, cannot seal two different bodies under one key and nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.errors import CisError
from cis.model import MemoryId, SpaceId
from cis.wire.segment import SALT_LENGTH

Entropy = Callable[[int], bytes]

KEY_LENGTH = 32
TAG_LENGTH = 16
_NONCE_LENGTH = 12
_MEMORY_ID_LENGTH = 16


class Unreadable(CisError):
    """A body cannot be opened with the keys this node holds, or is not what its header says."""


@dataclass(frozen=True)
class SpaceKeys:
    """What a reader of a space holds: the key of its memory ids, which never rotates, and the epoch keys.

    ``current`` is the epoch new bodies are sealed under. Epochs are numbered at random, so which one that is
    the membership log says (`cis.trust.Membership.epoch`), never the numbers.
    """

    space: SpaceId
    memory_key: bytes
    epochs: Mapping[int, bytes]
    current: int

    def memory_id(self, key: str) -> MemoryId:
        """Return the id under which a memory of this key merges."""
        data = key.encode(errors="surrogatepass")  # refused later, with its reason
        return MemoryId(blake2b(data, digest_size=_MEMORY_ID_LENGTH, key=self.memory_key).digest())


class Sealer:
    """Seals the bodies of one changeset; made for its plaintexts and then used once."""

    def __init__(self, keys: SpaceKeys, plaintexts: Sequence[bytes], entropy: Entropy) -> None:
        digest = blake2b(digest_size=KEY_LENGTH)
        for plaintext in plaintexts:
            digest.update(len(plaintext).to_bytes(8, "big"))
            digest.update(plaintext)
        self.epoch = keys.current
        material = b"salt" + entropy(32) + digest.digest()
        self.salt = blake2b(material, digest_size=SALT_LENGTH, key=keys.epochs[self.epoch]).digest()
        self._encrypt = AESGCM(_body_key(keys, self.epoch, self.salt)).encrypt

    def seal(self, place: int, plaintext: bytes, header: bytes) -> bytes:
        """Seal the body of the change at ``place``; ``header`` is its record and references."""
        return self._encrypt(place.to_bytes(_NONCE_LENGTH, "big"), plaintext, header)


class Opener:
    """Opens the bodies of one changeset."""

    def __init__(self, keys: SpaceKeys, epoch: int, salt: bytes) -> None:
        if epoch not in keys.epochs:
            raise Unreadable(f"sealed under epoch {epoch}, whose key this node does not hold")
        self._decrypt = AESGCM(_body_key(keys, epoch, salt)).decrypt

    def open(self, place: int, body: bytes, header: bytes) -> bytes:
        """Return the plaintext, or raise `Unreadable`."""
        try:
            return self._decrypt(place.to_bytes(_NONCE_LENGTH, "big"), body, header)
        except InvalidTag:
            raise Unreadable("the body does not belong to its header: its writer is faulty or hostile") from None


def _body_key(keys: SpaceKeys, epoch: int, salt: bytes) -> bytes:
    material = b"body" + keys.space + epoch.to_bytes(4, "big") + salt
    return blake2b(material, digest_size=KEY_LENGTH, key=keys.epochs[epoch]).digest()
