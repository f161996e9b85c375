"""Beacons: members compute each other's tags, only the node itself signs for them, and nobody links them."""

from __future__ import annotations

import random
from hashlib import sha256, sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from cis.errors import PeerFault
from cis.model import NodeId
from cis.model.record import RECORD_BYTES_MAX
from cis.trust.beacons import (
    SIZES,
    SLOT_S,
    Beacon,
    beacon_key,
    beacon_slot,
    beacon_tag,
    claim_holds,
    open_record,
    seal_record,
    tag_of_key,
)
from cis.trust.identity import Identity

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
CHALLENGE, ANCHOR = b"c" * 32, b"anchor.example.net"


def identity(number: int = 1) -> Identity:
    return Identity.generate(random.Random(number).randbytes)


@given(seed=st.binary(min_size=32, max_size=32), key=st.binary(min_size=32, max_size=32), slot=st.integers(0, 2**40))
def test_who_knows_the_discovery_key_and_the_id_computes_the_tag_the_node_shows(
    seed: bytes, key: bytes, slot: int
) -> None:
    own = Identity(seed)
    beacon = Beacon(own, key, slot)
    assert beacon_key(key, slot, own.node) == beacon.key
    assert beacon_tag(key, slot, own.node) == beacon.tag == tag_of_key(beacon.key)


def test_a_tag_is_another_in_each_slot_for_each_node_and_under_each_key() -> None:
    node, other = identity(1).node, identity(2).node
    tags = {beacon_tag(key, slot, one) for key in (KEY, OTHER_KEY) for slot in (1, 2) for one in (node, other)}
    assert len(tags) == 8


def test_a_claim_holds_for_that_beacon_challenge_and_anchor_alone() -> None:
    beacon, later = Beacon(identity(), KEY, 7), Beacon(identity(), KEY, 8)
    claim = beacon.claim(CHALLENGE, ANCHOR)
    assert claim_holds(beacon.key, CHALLENGE, ANCHOR, claim)
    assert not claim_holds(later.key, CHALLENGE, ANCHOR, claim)
    assert not claim_holds(beacon.key, b"d" * 32, ANCHOR, claim)
    assert not claim_holds(beacon.key, CHALLENGE, b"anchor.example.org", claim)
    assert not claim_holds(identity().node, CHALLENGE, ANCHOR, claim)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_bytes_claim_what_they_were_not_made_for(key: bytes, signature: bytes) -> None:
    assert not claim_holds(key, CHALLENGE, ANCHOR, signature)


def test_a_member_that_knows_the_discovery_key_signs_with_a_key_of_its_own_in_vain() -> None:
    victim, member = identity(1), identity(2)
    public = beacon_key(KEY, 7, victim.node)
    assert public is not None
    assert not claim_holds(public, CHALLENGE, ANCHOR, Beacon(member, KEY, 7).claim(CHALLENGE, ANCHOR))


def test_what_a_claim_signs_with_is_no_multiple_of_the_nodes_key_for_who_lacks_the_discovery_key() -> None:
    """The public key of a beacon is hA: without h it is as far from A as any other point."""
    own = identity()
    blinding = bindings.crypto_core_ed25519_scalar_reduce(
        sha512(b"cis beacon" + KEY + (7).to_bytes(8, "big") + own.node).digest()
    )
    assert beacon_key(KEY, 7, own.node) == bindings.crypto_scalarmult_ed25519_noclamp(blinding, own.node)


@pytest.mark.parametrize("node", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_an_id_that_is_no_usable_key_has_no_beacon(node: bytes) -> None:
    assert beacon_tag(KEY, 7, NodeId(node)) is None


@pytest.mark.parametrize("size", [0, 1, SIZES[0] - 1, SIZES[0], SIZES[1], RECORD_BYTES_MAX])
def test_a_record_comes_back_as_it_was_sealed_at_one_of_three_lengths(size: int) -> None:
    record = bytes(random.Random(size).randbytes(size)) + b"\x01"
    sealed = seal_record(KEY, b"t" * 16, record, random.Random(3).randbytes)
    assert len(sealed) - 28 in SIZES
    assert open_record(KEY, b"t" * 16, sealed) == record


def test_a_record_opens_under_its_key_and_tag_alone() -> None:
    sealed = seal_record(KEY, b"t" * 16, b"record", random.Random(3).randbytes)
    for key, tag, box in (
        (OTHER_KEY, b"t" * 16, sealed),
        (KEY, b"u" * 16, sealed),
        (KEY, b"t" * 16, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (KEY, b"t" * 16, sealed[:8]),
        (KEY, b"t" * 16, b""),
        (KEY, b"t" * 16, bytes(5000)),
    ):
        with pytest.raises(PeerFault):
            open_record(key, tag, box)


def test_slots_are_quarters_of_an_hour() -> None:
    assert SLOT_S == 900
    assert [beacon_slot(at) for at in (0.0, 899.9, 900.0)] == [0, 0, 1]


def test_beacons_are_what_they_were() -> None:
    """Members of different versions compute each other's tags: these bytes stay as they are."""
    beacon = Beacon(Identity(bytes(range(32))), KEY, 7)
    assert beacon.key.hex() == "c2e4e6887305c23aa1d4572e8be7eadeebd011295fd25cc6929cc2151a3ec302"
    assert beacon.tag.hex() == "b3c1813fd26ab3cabe80ac034851085a"
    assert beacon.claim(CHALLENGE, ANCHOR).hex() == (
        "928ffb741fe10abebb6900c85de787c881760b5a78762384fd9357f787c8954a"
        "632199d9663009c1bec3fb2e32774b5bc8fd2ade73eb7ce52e23af99f5fddc0e"
    )
    sealed = seal_record(KEY, beacon.tag, b"record", bytes)
    assert sha256(sealed).hexdigest() == "6dcad0a2102f793d02688b7ca8cd911e38f0ebbbf16b6fa94a9205ae993da991"
