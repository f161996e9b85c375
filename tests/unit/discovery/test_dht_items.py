"""Items of the DHT: only the node writes its own, members alone open them, and all look alike."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.discovery.dht.asking import VALUE_BYTES_MAX, Sought, signature_holds, signed_part
from cis.errors import PeerFault
from cis.model import Candidate
from cis.trust.beacons import ITEM_LENGTH, ITEM_RECORD_MAX, Beacon, beacon_key, open_item, seal_item, seal_record
from cis.trust.identity import Identity
from cis.trust.records import read_record, sign_record

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def identity(number: int = 1) -> Identity:
    return Identity.generate(random.Random(number).randbytes)


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=1200), slot=st.integers(0, 1 << 40))
def test_what_a_beacon_signs_holds_under_the_key_that_members_compute(seed: bytes, message: bytes, slot: int) -> None:
    own = Identity(seed)
    public = beacon_key(KEY, slot, own.node)
    assert public is not None
    assert signature_holds(public, Beacon(own, KEY, slot).sign(message), message)


def test_nobody_else_signs_for_a_beacon_neither_a_member_nor_the_node_in_another_slot() -> None:
    own, member, message = identity(1), identity(2), signed_part(b"3:abc", 1, b"")
    public = beacon_key(KEY, 7, own.node)
    assert public is not None
    for signer in (Beacon(member, KEY, 7), Beacon(own, KEY, 8), Beacon(own, OTHER_KEY, 7)):
        assert not signature_holds(public, signer.sign(message), message)
    signature = Beacon(own, KEY, 7).sign(message)
    assert not signature_holds(public, signature, signed_part(b"3:abc", 2, b"")), "its number is signed"
    assert not signature_holds(public, signature, signed_part(b"3:abc", 1, b"salt"))
    assert not signature_holds(public[:31], signature, message)
    assert not signature_holds(public, signature[:63], message)


def test_two_signatures_of_one_message_in_two_slots_share_no_nonce() -> None:
    own, message = identity(), b"the same"
    assert Beacon(own, KEY, 7).sign(message)[:32] != Beacon(own, KEY, 8).sign(message)[:32]


@pytest.mark.parametrize("length", [1, 500, ITEM_RECORD_MAX])
def test_an_item_is_of_one_length_whatever_is_in_it_and_opens_to_that(length: int) -> None:
    beacon, record = Beacon(identity(), KEY, 7), os.urandom(length - 1) + b"\1"
    item = seal_item(KEY, beacon.tag, record, os.urandom)
    assert len(item) == ITEM_LENGTH == VALUE_BYTES_MAX
    assert open_item(KEY, beacon.tag, item) == record
    assert item != seal_item(KEY, beacon.tag, record, os.urandom)


def test_an_item_opens_under_its_own_key_and_tag_alone_and_an_anchors_record_is_none() -> None:
    beacon, later = Beacon(identity(), KEY, 7), Beacon(identity(), KEY, 8)
    item = seal_item(KEY, beacon.tag, b"record", os.urandom)
    flipped = item[:500] + bytes([item[500] ^ 1]) + item[501:]
    for key, tag, what in (
        (OTHER_KEY, beacon.tag, item),
        (KEY, later.tag, item),
        (KEY, beacon.tag, flipped),
        (KEY, beacon.tag, item[:-1]),
        (KEY, beacon.tag, b""),
        (KEY, beacon.tag, seal_record(KEY, beacon.tag, b"r" * 900, os.urandom)[:ITEM_LENGTH]),
    ):
        with pytest.raises(PeerFault):
            open_item(key, tag, what)


def test_a_record_of_eight_long_addresses_fits() -> None:
    long = Candidate("2001:db8:1111:2222:3333:4444:5555:6666", 65535, "direct")
    record = sign_record(identity(), (long,) * 8, 1_800_000_000_000)
    beacon = Beacon(identity(), KEY, 7)
    assert len(record) <= ITEM_RECORD_MAX
    opened = open_item(KEY, beacon.tag, seal_item(KEY, beacon.tag, record, os.urandom))
    assert len(read_record(opened).candidates) == 8


def test_the_place_of_an_item_follows_from_its_key_and_salt() -> None:
    """The test vectors of BEP 44."""
    key = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
    assert Sought.mutable(key).target.hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert Sought.mutable(key, b"foobar").target.hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"
    plain, salted = signed_part(b"12:Hello World!", 1, b""), signed_part(b"12:Hello World!", 1, b"foobar")
    assert plain == b"3:seqi1e1:v12:Hello World!"
    assert salted == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"
    signatures = {
        plain: "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
        "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
        salted: "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
        "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
    }
    for message, signature in signatures.items():
        assert signature_holds(key, bytes.fromhex(signature), message)
