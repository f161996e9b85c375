"""Sealing of signals: what two members say to each other through others before they have a connection.

A signal is sealed with a key that both derive from the one they share (`cis.trust.pairwise`): HKDF-SHA256 (RFC 5869)
with info = "cis signal", then ChaCha20-Poly1305 (RFC 8439) under a random nonce. The associated data names sender,
recipient and the sender's tag, so that a signal can neither be turned back on its sender nor shown again under a tag of
a later time. The sealed form is tag ‖ nonce ‖ ciphertext: whoever carries it learns sizes alone.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cis.errors import Fault, PeerFault
from cis.model import NodeId
from cis.trust.sealing import Entropy
from cis.wire.messages import SEALED_SIGNAL_BYTES_MAX

TAG_LENGTH = 16
NONCE_LENGTH = 12
_INFO = b"cis signal"
_OVERHEAD = TAG_LENGTH + NONCE_LENGTH + 16


def seal_signal(
    shared: bytes, sender: NodeId, recipient: NodeId, tag: bytes, plaintext: bytes, entropy: Entropy
) -> bytes:
    """Return a signal sealed with the key two members share; ``tag`` is the sender's of the moment."""
    assert len(tag) == TAG_LENGTH, "a tag has one length"
    assert len(plaintext) + _OVERHEAD <= SEALED_SIGNAL_BYTES_MAX, "signals are bounded where they are made"
    nonce = entropy(NONCE_LENGTH)
    return tag + nonce + _cipher(shared).encrypt(nonce, plaintext, sender + recipient + tag)


def tag_in(sealed: bytes) -> bytes:
    """Return the tag its sender shows; raises `PeerFault` where it is no sealed signal."""
    if not _OVERHEAD <= len(sealed) <= SEALED_SIGNAL_BYTES_MAX:
        raise PeerFault(Fault.MALFORMED, f"a sealed signal of {len(sealed)} bytes")
    return sealed[:TAG_LENGTH]


def open_signal(shared: bytes, sender: NodeId, recipient: NodeId, sealed: bytes) -> bytes:
    """Return what a member sealed for another; raises `PeerFault` where it did not."""
    tag = tag_in(sealed)
    nonce, ciphertext = sealed[TAG_LENGTH : TAG_LENGTH + NONCE_LENGTH], sealed[TAG_LENGTH + NONCE_LENGTH :]
    try:
        return _cipher(shared).decrypt(nonce, ciphertext, sender + recipient + tag)
    except InvalidTag:
        raise PeerFault(Fault.BAD_SIGNATURE, "a signal that its sender did not seal for this node") from None


@lru_cache(maxsize=256)
def _cipher(shared: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=None, info=_INFO).derive(shared))
