"""What is hashed, signed and derived under which label: no two uses share one, and no version changes one unseen.

Each is worked out here a second time, from the standard's primitives.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b, sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.trust.handshake import _mac, offer
from cis.trust.keys import epoch_of, hash_key, new_space_keys, open_name, seal_name, space_id
from cis.trust.recovery import _check
from tests.unit.trust.cluster import CERTIFICATE_HASH, entropy

CLUSTER, NONCE = bytes(range(32)), bytes(range(100, 132))


def test_a_dialler_offers_its_nonce_and_versions_to_the_certificate_it_sees() -> None:
    assert offer(CERTIFICATE_HASH, NONCE, (1, 258)) == b"D" + CERTIFICATE_HASH + NONCE + b"\0\1\1\2"
    assert _mac(CLUSTER, b"said") == hmac.new(CLUSTER, b"said", sha256).digest()


def test_a_space_is_named_by_its_cluster_and_name() -> None:
    expected = blake2b(CLUSTER + b"team", digest_size=16, person=b"cis space").digest()
    assert space_id(CLUSTER, "team") == expected


def test_an_epoch_is_numbered_by_the_hash_of_its_key() -> None:
    expected = blake2b(NONCE, digest_size=32, person=b"cis epoch key").digest()
    assert hash_key(NONCE) == expected
    assert epoch_of(expected) == int.from_bytes(expected[:4], "big")


def test_the_name_of_a_space_is_sealed_under_a_key_for_names_alone() -> None:
    keys = new_space_keys(space_id(CLUSTER, "team"), entropy(5))
    key = blake2b(keys.space, key=keys.epochs[0], digest_size=32, person=b"cis space name").digest()
    plain = AESGCM(key).decrypt(bytes(12), seal_name(keys, "team"), keys.space)
    assert plain.rstrip(b"\0") == b"team"
    assert open_name(keys, seal_name(keys, "team")) == "team"


def test_a_recovery_key_is_checked_by_a_hash_of_its_own() -> None:
    assert _check(CLUSTER) == blake2b(CLUSTER, digest_size=4, person=b"cis recovery").digest()
