"""The keys of a cluster, and how one member hands them to another.

The discovery key shows that a node knows the cluster. Each space has a key for its memory ids, which never
changes, and one key per epoch, which seals bodies. A key travels sealed by HPKE (RFC 9180, base mode, X25519,
HKDF-SHA256, ChaCha20-Poly1305), info = cluster ‖ space ‖ epoch ‖ recipient ‖ issuer, so it opens only where
and for whom it was meant. HPKE draws its ephemeral key from the operating system, not from ``entropy``.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from cis.errors import Fault, PeerFault, StoreError
from cis.model import NodeId, SpaceId
from cis.trust.identity import Entropy, Identity
from cis.trust.sealing import SpaceKeys
from cis.wire.decoding import Bytes32
from cis.wire.membership import NO_SPACE, SealedKey

KEY_LENGTH = 32
PUBLIC = "public"
PRIVATE = "private"

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class ClusterKeys(msgspec.Struct, array_like=True, frozen=True):
    """What a member holds. ``private`` is this node's own; standing apart, it is in no bundle."""

    discovery: Bytes32
    spaces: dict[SpaceId, SpaceKeys]
    private: SpaceKeys

    def encode(self) -> bytes:
        """Return the keys as bytes, in clear: for the encrypted store only."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> ClusterKeys:
        """Return the keys an encrypted store holds; `StoreError` when they are damaged."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreError(
                f"the cluster's keys in this store are damaged ({error}): restore the store from a backup, "
                "or join the cluster again"
            ) from error


class Parties(NamedTuple):
    """Whom a sealed key is for, and from whom, in which cluster (zeros in the founding grant)."""

    cluster: bytes
    recipient: NodeId
    issuer: NodeId


def space_id(cluster: bytes, name: str) -> SpaceId:
    """Return the id of a named space: BLAKE2b, 16 bytes, of the cluster and the name."""
    return SpaceId(blake2b(cluster + name.encode(), digest_size=16, person=b"cis space").digest())


def new_space_keys(space: SpaceId, entropy: Entropy) -> SpaceKeys:
    """Make the keys of a new space, in its epoch 0."""
    return SpaceKeys(space, entropy(KEY_LENGTH), {0: entropy(KEY_LENGTH)})


def private_keys(cluster: bytes, entropy: Entropy) -> SpaceKeys:
    """Make the keys of this node's own private space: at `cis init`, and again on joining."""
    return new_space_keys(space_id(cluster, PRIVATE), entropy)


def found_keys(cluster: bytes, entropy: Entropy) -> ClusterKeys:
    """Make the keys of a new cluster: discovery, the public space, and this node's private one."""
    public = new_space_keys(space_id(cluster, PUBLIC), entropy)
    return ClusterKeys(entropy(KEY_LENGTH), {public.space: public}, private_keys(cluster, entropy))


def seal_keys(
    keys: ClusterKeys, spaces: Iterable[SpaceId], parties: Parties, sealing_key: bytes
) -> tuple[SealedKey, ...]:
    """Seal the discovery key, and all epochs of those of ``spaces`` held here, to the recipient's X25519 key.

    Raises `PeerFault` MALFORMED when ``sealing_key``, which the recipient sent, is no usable X25519 key.
    """
    sealed = [_seal(NO_SPACE, 0, keys.discovery, parties, sealing_key)]
    for space in sorted(set(spaces) & set(keys.spaces)):
        held = keys.spaces[space]
        for epoch, key in sorted(held.epochs.items()):
            sealed.append(_seal(space, epoch, held.memory_key + key, parties, sealing_key))
    return tuple(sealed)


def open_keys(identity: Identity, sealed: Iterable[tuple[Parties, SealedKey]], private: SpaceKeys) -> ClusterKeys:
    """Open the keys sealed to this identity by one or more grants.

    Raises `PeerFault` MALFORMED when one does not open, or when no discovery key is among them.
    """
    discovery: bytes | None = None
    memory_keys: dict[SpaceId, bytes] = {}
    epochs: dict[SpaceId, dict[int, bytes]] = {}
    for parties, key in sealed:
        plain = _open(identity, parties, key)
        if key.space == NO_SPACE:
            discovery = plain
        else:
            memory_keys[key.space] = plain[:KEY_LENGTH]
            epochs.setdefault(key.space, {})[key.epoch] = plain[KEY_LENGTH:]
    if discovery is None:
        raise PeerFault(Fault.MALFORMED, "the grant holds no discovery key for this node")
    spaces = {space: SpaceKeys(space, memory_keys[space], epochs[space]) for space in sorted(epochs)}
    return ClusterKeys(discovery, spaces, private)


def _seal(space: SpaceId, epoch: int, plain: bytes, parties: Parties, sealing_key: bytes) -> SealedKey:
    try:
        public = X25519PublicKey.from_public_bytes(sealing_key)
        return SealedKey(space, epoch, _SUITE.encrypt(plain, public, _info(space, epoch, parties)))
    except ValueError as error:
        raise PeerFault(Fault.MALFORMED, f"not a usable X25519 key: {error}") from error


def _open(identity: Identity, parties: Parties, key: SealedKey) -> bytes:
    try:
        info = _info(key.space, key.epoch, parties)
        plain = _SUITE.decrypt(key.sealed, identity.sealing_private, info)
    except (InvalidTag, ValueError) as error:
        raise PeerFault(Fault.MALFORMED, "a key sealed to this node does not open") from error
    if len(plain) != (KEY_LENGTH if key.space == NO_SPACE else 2 * KEY_LENGTH):
        raise PeerFault(Fault.MALFORMED, f"a sealed key of {len(plain)} bytes")
    return plain


def _info(space: SpaceId, epoch: int, parties: Parties) -> bytes:
    return parties.cluster + space + epoch.to_bytes(8, "big") + parties.recipient + parties.issuer
