"""A node's identity: one 32-byte seed, from which its signing, sealing and wrapping keys follow.

Signatures are Ed25519 by libsodium alone (pynacl's bindings), for signing and verifying, everywhere: two
verifiers disagree on edge keys and would split a cluster (Chalkias et al., "Taming the many EdDSAs", 2020;
tests/golden/test_ed25519_edges.py holds the answers). What is signed begins with the label of its type.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl import bindings
from nacl.exceptions import BadSignatureError

from cis.model import NodeId, did_of

Entropy = Callable[[int], bytes]
"""Returns that many bytes no one can guess: `os.urandom`, or a seeded source in the simulator."""

SEED_LENGTH = bindings.crypto_sign_SEEDBYTES
SIGNATURE_LENGTH = bindings.crypto_sign_BYTES


class Label(bytes, enum.Enum):
    """The first bytes of everything signed, one per type; ending in NUL, none begins another."""

    LISTENER = b"cis/1 listener\0"
    DIALLER = b"cis/1 dialler\0"
    MEMBERSHIP = b"cis/1 membership\0"
    CHANGESET = b"cis/1 changeset\0"
    RECORD = b"cis/1 record\0"
    BULLETIN = b"cis/1 bulletin\0"


class Identity:
    """The keys of one node; keep it out of logs. ``node`` and ``sealing_public`` are for everyone to see."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_LENGTH:
            raise ValueError(f"an identity grows from {SEED_LENGTH} bytes, not {len(seed)}")
        self._seed = seed
        public, self._signing = bindings.crypto_sign_seed_keypair(seed)
        self.node = NodeId(public)
        self.did = did_of(self.node)
        self.sealing_private = X25519PrivateKey.from_private_bytes(self.derive_key("sealing"))
        self.sealing_public = self.sealing_private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Entropy) -> Identity:
        """Make a new identity."""
        return cls(entropy(SEED_LENGTH))

    @property
    def seed(self) -> bytes:
        """The secret everything follows from, for the key file."""
        return self._seed

    def sign(self, label: Label, data: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over label ‖ data."""
        return bindings.crypto_sign(label.value + data, self._signing)[:SIGNATURE_LENGTH]

    def derive_key(self, purpose: str) -> bytes:
        """Return a 32-byte secret for one purpose: BLAKE2b keyed by the seed."""
        return blake2b(purpose.encode(), key=self._seed, digest_size=32, person=b"cis derive").digest()

    def __repr__(self) -> str:
        return f"Identity({self.did})"


def verify(node: NodeId, label: Label, data: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is the node's over label ‖ data; False for anything of a wrong length."""
    return _verify(node, label.value + data, signature)


def _verify(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(signature) != SIGNATURE_LENGTH or len(public) != bindings.crypto_sign_PUBLICKEYBYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True
