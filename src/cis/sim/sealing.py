"""HPKE whose ephemeral keys come from the seed (RFC 9180, base mode): what it seals, the real suite opens.

`cis.trust.keys` seals with a suite that draws from the operating system, as it should; a run in which every byte
follows from the seed needs another. Only sealing is done here.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator
from hashlib import sha256
from random import Random
from unittest import mock

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEM = b"KEM\x00\x20"
_HPKE = b"HPKE\x00\x20\x00\x01\x00\x03"


class SeededSuite:
    """X25519, HKDF-SHA256, ChaCha20-Poly1305."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._real = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)

    def encrypt(self, plaintext: bytes, public_key: X25519PublicKey, info: bytes) -> bytes:
        """Return the ephemeral public key and the ciphertext."""
        ephemeral = X25519PrivateKey.from_private_bytes(self._rng.randbytes(32))
        encapsulated = ephemeral.public_key().public_bytes_raw()
        context = encapsulated + public_key.public_bytes_raw()
        shared = _expand(
            _extract(b"", b"eae_prk", ephemeral.exchange(public_key), _KEM), b"shared_secret", context, 32, _KEM
        )
        schedule = b"\0" + _extract(b"", b"psk_id_hash", b"", _HPKE) + _extract(b"", b"info_hash", info, _HPKE)
        secret = _extract(shared, b"secret", b"", _HPKE)
        key = _expand(secret, b"key", schedule, 32, _HPKE)
        nonce = _expand(secret, b"base_nonce", schedule, 12, _HPKE)
        return encapsulated + ChaCha20Poly1305(key).encrypt(nonce, plaintext, b"")

    def decrypt(self, ciphertext: bytes, private_key: X25519PrivateKey, info: bytes) -> bytes:
        """Open as the real suite does."""
        return self._real.decrypt(ciphertext, private_key, info)


@contextlib.contextmanager
def seeded_sealing(rng: Random) -> Iterator[None]:
    """Within it, keys are sealed to members with ephemeral keys from the seed."""
    with mock.patch("cis.trust.keys._SUITE", SeededSuite(rng)):
        yield


def _extract(salt: bytes, label: bytes, material: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, sha256)


def _expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    """One block of HKDF: no key here is longer."""
    block = hmac.digest(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", sha256)
    return block[:length]
