"""The keys of a cluster, and how one member hands them to another.

The discovery key, one per epoch, shows that a node knows the cluster. Each space has a key for its memory ids,
which never changes, and one key per epoch, which seals bodies. The epochs after the founding one are numbered by
the hash of their key, so a key that does not belong is noticed. A key travels sealed by HPKE (RFC 9180, base
mode, X25519, HKDF-SHA256, ChaCha20-Poly1305), info = cluster ‖ space ‖ epoch ‖ recipient ‖ issuer, so it opens
only where and for whom it was meant. HPKE draws its ephemeral key from the operating system, not from ``entropy``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.errors import Fault, PeerFault, StoreError
from cis.model import NodeId, SpaceId
from cis.trust.identity import Entropy, Identity
from cis.trust.sealing import SpaceKeys
from cis.wire.decoding import Bytes32
from cis.wire.membership import NAME_PATTERN, NO_SPACE, SEALED_KEYS_MAX, SealedKey

KEY_LENGTH = 32
PUBLIC = "public"
PRIVATE = "private"

_NAME_LENGTH = 32
_NONCE_LENGTH = 12
_PROBE = X25519PrivateKey.from_private_bytes(bytes(KEY_LENGTH))
"""Any key shows whether another is usable; this one, which hides nothing, gives the same answer everywhere."""
_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class ClusterKeys(msgspec.Struct, array_like=True, frozen=True):
    """What a member holds: discovery keys by epoch, the keys of its spaces, and those of its private space.

    ``current`` is the epoch of the discovery key in use. ``private`` is this node's own; standing apart, it is
    in no bundle.
    """

    discovery: dict[int, Bytes32]
    spaces: dict[SpaceId, SpaceKeys]
    private: SpaceKeys
    current: int = 0

    @classmethod
    def none(cls, private: SpaceKeys) -> ClusterKeys:
        """Return what a node holds of a cluster whose log it has not opened yet: its private space alone."""
        return cls({}, {}, private)

    @property
    def discovery_key(self) -> bytes:
        """The discovery key in use."""
        return self.discovery[self.current]

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
                f"the cluster's keys in this store are damaged, or in the form of an earlier version ({error}): "
                "restore the store from a backup, or join the cluster again"
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
    return SpaceKeys(space, entropy(KEY_LENGTH), {0: entropy(KEY_LENGTH)}, 0)


def private_keys(cluster: bytes, entropy: Entropy) -> SpaceKeys:
    """Make the keys of this node's own private space: at `cis init`, and again on joining."""
    return new_space_keys(space_id(cluster, PRIVATE), entropy)


def found_keys(cluster: bytes, entropy: Entropy) -> ClusterKeys:
    """Make the keys of a new cluster: discovery, the public space, and this node's private one."""
    public = new_space_keys(space_id(cluster, PUBLIC), entropy)
    return ClusterKeys({0: entropy(KEY_LENGTH)}, {public.space: public}, private_keys(cluster, entropy))


def usable(sealing_key: bytes) -> bool:
    """Tell whether something can be sealed to an X25519 key: not to one of low order, with which nothing is secret.

    RFC 7748, section 6.1: an agreement with such a point gives zero, whatever the other key.
    """
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(sealing_key))
    except ValueError:
        return False
    return True


def hash_key(key: bytes) -> bytes:
    """Return what a rotation states of its key; the first four bytes number the epoch."""
    return blake2b(key, digest_size=32, person=b"cis epoch key").digest()


def draw_key(taken: Collection[int], entropy: Entropy) -> bytes:
    """Draw the key of a new epoch, whose number is neither 0 nor taken."""
    while True:
        key = entropy(KEY_LENGTH)
        number = epoch_of(hash_key(key))
        if number != 0 and number not in taken:
            return key


def epoch_of(key_hash: bytes) -> int:
    """Return the number of the epoch whose key has this hash."""
    return int.from_bytes(key_hash[:4], "big")


def seal_key(space: SpaceId, epoch: int, plain: bytes, parties: Parties, sealing_key: bytes) -> SealedKey:
    """Seal the key of one epoch, behind the key of memory ids if that goes along, to the recipient's X25519 key.

    Raises `PeerFault` MALFORMED when ``sealing_key``, which the recipient sent, is no usable X25519 key.
    """
    try:
        public = X25519PublicKey.from_public_bytes(sealing_key)
        return SealedKey(space, epoch, _SUITE.encrypt(plain, public, _info(space, epoch, parties)))
    except ValueError as error:
        raise PeerFault(Fault.MALFORMED, f"not a usable X25519 key: {error}") from error


def seal_keys(
    keys: ClusterKeys,
    spaces: Iterable[SpaceId],
    parties: Parties,
    sealing_key: bytes,
    *,
    first: Collection[tuple[SpaceId, int]] = (),
) -> tuple[SealedKey, ...]:
    """Seal the discovery key, and all epochs of those of ``spaces`` held here, to the recipient's X25519 key.

    Of more than SEALED_KEYS_MAX, ``first`` and the current ones go before others. Raises `PeerFault` MALFORMED when
    ``sealing_key`` is unusable.
    """
    sealed = [seal_key(NO_SPACE, keys.current, keys.discovery_key, parties, sealing_key)]
    given = [keys.spaces[space] for space in sorted(set(spaces) & set(keys.spaces))]
    each = [(held, epoch) for held in given for epoch in sorted(held.epochs)]
    each.sort(key=lambda one: ((one[0].space, one[1]) not in first, one[1] != one[0].current))
    for held, epoch in each[: SEALED_KEYS_MAX - 1]:
        sealed.append(seal_key(held.space, epoch, held.memory_key + held.epochs[epoch], parties, sealing_key))
    return tuple(sealed)


class Offer(NamedTuple):
    """A key sealed to somebody, and the hash that its epoch's rotation states, None where none is known."""

    parties: Parties
    key: SealedKey
    key_hash: bytes | None = None


def open_keys(identity: Identity, offers: Iterable[Offer], held: ClusterKeys) -> ClusterKeys:
    """Add to what is held the keys that others sealed to this identity; the first that opens and fits counts.

    Which epochs are current is left as it was. Raises `PeerFault` MALFORMED when there is no discovery key.
    """
    discovery = dict(held.discovery)
    memory = {space: keys.memory_key for space, keys in held.spaces.items()}
    epochs: dict[SpaceId, dict[int, bytes]] = {space: dict(keys.epochs) for space, keys in held.spaces.items()}
    for parties, key, key_hash in offers:
        of_space = discovery if key.space == NO_SPACE else epochs.setdefault(key.space, {})
        if key.epoch in of_space and (key.space == NO_SPACE or key.space in memory):
            continue
        plain = _open(identity, parties, key)
        if plain is None or not _fits(plain[-KEY_LENGTH:], key.epoch, key_hash):
            continue
        of_space.setdefault(key.epoch, plain[-KEY_LENGTH:])
        if len(plain) > KEY_LENGTH:
            memory.setdefault(key.space, plain[:KEY_LENGTH])
    if not discovery:
        raise PeerFault(Fault.MALFORMED, "the grant holds no discovery key for this node")
    spaces = {
        space: SpaceKeys(space, memory[space], known, held.spaces[space].current if space in held.spaces else 0)
        for space, known in epochs.items()
        if space in memory
    }
    return ClusterKeys(discovery, spaces, held.private, held.current)


def seal_name(keys: SpaceKeys, name: str) -> bytes:
    """Seal the name of a space under the key of its epoch 0; all names have one length when sealed."""
    plain = name.encode().ljust(_NAME_LENGTH, b"\0")
    return _name_cipher(keys).encrypt(bytes(_NONCE_LENGTH), plain, keys.space)


def open_name(keys: SpaceKeys, sealed: bytes) -> str | None:
    """Return the name of a space; None where its key of epoch 0 is not held, or it is no name."""
    if 0 not in keys.epochs:
        return None
    try:
        plain = _name_cipher(keys).decrypt(bytes(_NONCE_LENGTH), sealed, keys.space)
    except (InvalidTag, ValueError):
        return None
    name = plain.rstrip(b"\0").decode(errors="replace")
    return name if re.search(NAME_PATTERN, name) else None


def _name_cipher(keys: SpaceKeys) -> AESGCM:
    """Each key seals one name, so the nonce may be fixed."""
    key = blake2b(keys.space, key=keys.epochs[0], digest_size=KEY_LENGTH, person=b"cis space name").digest()
    return AESGCM(key)


def _open(identity: Identity, parties: Parties, key: SealedKey) -> bytes | None:
    try:
        plain = _SUITE.decrypt(key.sealed, identity.sealing_private, _info(key.space, key.epoch, parties))
    except (InvalidTag, ValueError):
        return None
    lengths = (KEY_LENGTH,) if key.space == NO_SPACE else (KEY_LENGTH, 2 * KEY_LENGTH)
    return plain if len(plain) in lengths else None


def _fits(key: bytes, epoch: int, key_hash: bytes | None) -> bool:
    """Tell whether this is the key of the epoch; of the founding one there is no hash to tell by."""
    found = hash_key(key)
    return epoch == 0 or (epoch_of(found) == epoch and key_hash in (None, found))


def _info(space: SpaceId, epoch: int, parties: Parties) -> bytes:
    return parties.cluster + space + epoch.to_bytes(8, "big") + parties.recipient + parties.issuer
