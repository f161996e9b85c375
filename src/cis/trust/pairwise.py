"""The keys two members share without ever having spoken: how one that was away meets the others again.

While a member was away the discovery key may have been renewed, and nobody answers to the old one. What the two still
have is each other's X25519 key, from the membership log: K = HKDF-SHA256 (RFC 5869) of the X25519 secret (RFC 7748)
of both, with info = "cis pairwise" ‖ cluster ‖ both node ids in order. It is one more K of the handshake, of two nodes
alone.

::

    pairwise = Pairwise(identity, cluster)
    key = pairwise.key(member.node, member.sealing_key)      # None where the member's key is unusable
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cis.model import NodeId
from cis.trust.identity import Identity

PAIRS_MAX = 256
"""Members whose keys a listener answers to: each costs it one HMAC a handshake."""
_INFO = b"cis pairwise"
_KEY_LENGTH = 32


class Pairwise:
    """The keys this node shares with each other one, derived once."""

    def __init__(self, identity: Identity, cluster: bytes) -> None:
        self._identity = identity
        self._cluster = cluster
        self._derived: dict[tuple[NodeId, bytes], bytes | None] = {}

    def key(self, node: NodeId, sealing_key: bytes) -> bytes | None:
        """Return the key shared with a node whose X25519 public key this is; None where that is unusable."""
        asked = (node, sealing_key)
        if asked not in self._derived:
            if len(self._derived) >= 2 * PAIRS_MAX:
                self._derived.clear()
            self._derived[asked] = self._derive(node, sealing_key)
        return self._derived[asked]

    def _derive(self, node: NodeId, sealing_key: bytes) -> bytes | None:
        try:
            secret = self._identity.sealing_private.exchange(X25519PublicKey.from_public_bytes(sealing_key))
        except ValueError:  # of a wrong length, or of small order
            return None
        both = b"".join(sorted((self._identity.node, node)))
        return HKDF(SHA256(), _KEY_LENGTH, salt=None, info=_INFO + self._cluster + both).derive(secret)
