"""Beacons: what a node shows on an anchor so that members find it there, and nobody else can tell whose it is.

In each slot of 15 minutes a node has another key, its own one blinded (Tor's rend-spec-v3, appendix A.2): with
h = SHA-512("cis beacon" ‖ discovery key ‖ slot ‖ node) mod L and the node's key A = aB, that is A' = hA = (ha)B. Who
knows the discovery key computes A' from the node's id alone; only the node can sign for it, by Ed25519 with ha; for
anybody else it is 32 random bytes, unlike those of any other slot or node. The tag of a beacon is a hash of its key,
so neither who sees a tag nor who computes it beforehand can register in another's name.

What is registered is the node's signed record, sealed under a key of the discovery key and the tag, at one of three
lengths; as an item of a hash table (BEP 44) always at one::

    beacon = Beacon(identity, discovery_key, slot)
    beacon.claim(challenge, b"anchor.example.net")          # proves to that anchor whose tag it is
    open_record(discovery_key, beacon.tag, seal_record(discovery_key, beacon.tag, record, os.urandom))
    open_item(discovery_key, beacon.tag, seal_item(discovery_key, beacon.tag, record, os.urandom))
"""

from __future__ import annotations

from hashlib import blake2b, sha512

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumError

from cis.errors import Fault, PeerFault
from cis.model import NodeId
from cis.model.record import RECORD_BYTES_MAX
from cis.trust.identity import Entropy, Identity

BEACON_TAG_LENGTH = 16
SLOT_S = 900
KEY_LENGTH = 32
SIGNATURE_LENGTH = 64
SIZES = (512, 1024, RECORD_BYTES_MAX + 64)
"""Lengths a record is padded to before it is sealed."""
ITEM_LENGTH = 996
"""What BEP 44 has room for: 1000 bytes with the bencoded length."""
ITEM_RECORD_MAX = 960
_ITEM_VERSION = b"\1"
_ITEM = b" item"
_NONCE_LENGTH = 12
_MAC_LENGTH = 16
_CLAIM = b"cis/1 beacon claim\0"
_END = b"\x80"


def beacon_slot(now: float) -> int:
    """Return the slot a time (Unix, seconds) falls into."""
    return int(now // SLOT_S)


def beacon_key(discovery_key: bytes, slot: int, node: NodeId) -> bytes | None:
    """Return the public key of a node's beacon in a slot; None for a node whose id is no usable key."""
    try:
        return bindings.crypto_scalarmult_ed25519_noclamp(_blinding(discovery_key, slot, node), node)
    except (SodiumError, TypeError, ValueError):  # not a point of the prime-order group
        return None


def tag_of_key(key: bytes) -> bytes:
    """Return the tag of a beacon with that public key."""
    return blake2b(key, digest_size=BEACON_TAG_LENGTH, person=b"cis beacon tag").digest()


def beacon_tag(discovery_key: bytes, slot: int, node: NodeId) -> bytes | None:
    """Return the tag of a node's beacon in a slot; None for a node whose id is no usable key."""
    key = beacon_key(discovery_key, slot, node)
    return tag_of_key(key) if key is not None else None


class Beacon:
    """This node's own beacon in one slot: the tag, the public key, and the secret that signs for it."""

    def __init__(self, identity: Identity, discovery_key: bytes, slot: int) -> None:
        half = bytearray(sha512(identity.seed).digest()[:32])  # RFC 8032, 5.1.5: how a comes of the seed
        half[0] &= 248
        half[31] = half[31] & 127 | 64
        own = bindings.crypto_core_ed25519_scalar_reduce(bytes(half) + bytes(32))
        blinding = _blinding(discovery_key, slot, identity.node)
        self.discovery_key = discovery_key
        self._secret = bindings.crypto_core_ed25519_scalar_mul(own, blinding)
        self._prefix = identity.derive_key("beacon")
        self.key = bindings.crypto_scalarmult_ed25519_base_noclamp(self._secret)
        self.tag = tag_of_key(self.key)

    def claim(self, challenge: bytes, anchor: bytes) -> bytes:
        """Return what proves, to the anchor of that name that drew the challenge, that the beacon is this node's."""
        return self.sign(_CLAIM + challenge + anchor)

    def sign(self, message: bytes) -> bytes:
        """Return the beacon's Ed25519 signature, which anybody verifies by its key."""
        reduce = bindings.crypto_core_ed25519_scalar_reduce
        # As RFC 8032, 5.1.6: the nonce is a hash of a secret and of all that is signed. With the key in it no nonce is
        # that of another slot: who knows how two scalars differ could compute them from two signatures that share one.
        nonce = reduce(sha512(self._prefix + self.key + message).digest())
        commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        hashed = reduce(sha512(commitment + self.key + message).digest())
        product = bindings.crypto_core_ed25519_scalar_mul(hashed, self._secret)
        return commitment + bindings.crypto_core_ed25519_scalar_add(nonce, product)


def claim_holds(key: bytes, challenge: bytes, anchor: bytes, signature: bytes) -> bool:
    """Tell whether a claim was made by whom the key belongs to; False for anything of a wrong length."""
    if len(key) != KEY_LENGTH or len(signature) != SIGNATURE_LENGTH:
        return False
    try:
        bindings.crypto_sign_open(signature + _CLAIM + challenge + anchor, key)
    except BadSignatureError:
        return False
    return True


def seal_record(discovery_key: bytes, tag: bytes, record: bytes, entropy: Entropy) -> bytes:
    """Return a record as it is registered under the tag."""
    size = next(size for size in SIZES if size > len(record))
    nonce = entropy(_NONCE_LENGTH)
    plain = record + _END + bytes(size - len(record) - 1)
    return nonce + ChaCha20Poly1305(_record_key(discovery_key, tag)).encrypt(nonce, plain, tag)


def open_record(discovery_key: bytes, tag: bytes, sealed: bytes) -> bytes:
    """Return the record in what was registered under a tag; `PeerFault` where it is none of that key."""
    nonce, box = sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:]
    if len(nonce) < _NONCE_LENGTH or len(box) > SIZES[-1] + 16:
        raise PeerFault(Fault.MALFORMED, "a sealed record of an impossible length")
    try:
        plain = ChaCha20Poly1305(_record_key(discovery_key, tag)).decrypt(nonce, box, tag)
    except InvalidTag as error:
        raise PeerFault(Fault.BAD_HASH, "a sealed record that no member made, or made for another tag") from error
    return plain.rstrip(b"\0").removesuffix(_END)


def seal_item(discovery_key: bytes, tag: bytes, record: bytes, entropy: Entropy) -> bytes:
    """Return a record of `ITEM_RECORD_MAX` bytes at most as it is kept in a hash table, `ITEM_LENGTH` bytes."""
    assert len(record) <= ITEM_RECORD_MAX, "a record for an item is made to fit"
    nonce = entropy(_NONCE_LENGTH)
    plain = (_ITEM_VERSION + record + _END).ljust(ITEM_LENGTH - _NONCE_LENGTH - _MAC_LENGTH, b"\0")
    return nonce + ChaCha20Poly1305(_record_key(discovery_key, tag)).encrypt(nonce, plain, tag + _ITEM)


def open_item(discovery_key: bytes, tag: bytes, item: bytes) -> bytes:
    """Return the record in an item found under a beacon's key; `PeerFault` where it is none of that key."""
    if len(item) != ITEM_LENGTH:
        raise PeerFault(Fault.MALFORMED, "a sealed item of an impossible length")
    nonce, box = item[:_NONCE_LENGTH], item[_NONCE_LENGTH:]
    try:
        plain = ChaCha20Poly1305(_record_key(discovery_key, tag)).decrypt(nonce, box, tag + _ITEM)
    except InvalidTag as error:
        raise PeerFault(Fault.BAD_HASH, "a sealed item that no member made, or made for another tag") from error
    if plain[:1] != _ITEM_VERSION:
        raise PeerFault(Fault.MALFORMED, "a sealed item of another version")
    return plain[1:].rstrip(b"\0").removesuffix(_END)


def _record_key(discovery_key: bytes, tag: bytes) -> bytes:
    return blake2b(tag, key=discovery_key, digest_size=32, person=b"cis beacon seal").digest()


def _blinding(discovery_key: bytes, slot: int, node: NodeId) -> bytes:
    hashed = sha512(b"cis beacon" + discovery_key + slot.to_bytes(8, "big") + node).digest()
    return bindings.crypto_core_ed25519_scalar_reduce(hashed)
