"""Entries an admin really signed, with anything inside: each is refused with a fault or taken, and harms no reading."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import PeerFault
from cis.model import SpaceId, replica_id
from cis.trust.entries import hash_attachment, named_space, sign_entry
from cis.trust.keys import ClusterKeys
from cis.trust.membership import Membership
from cis.wire.membership import (
    NO_CLUSTER,
    NO_SPACE,
    Cut,
    Grant,
    NewSpace,
    Revoke,
    Role,
    Rotate,
    Sealed,
    SealedKey,
    Statement,
    decode_cuts,
    decode_new_space,
    decode_revoke,
    decode_rotate,
    decode_sealed,
    encode_part,
)
from tests.unit.trust.cluster import NOW_MS, Cluster, identity

CLUSTER = Cluster()
BOB, CAROL = identity(2), identity(3)
CLUSTER.admit(BOB, "bob", Role.ADMIN)
CLUSTER.admit(CAROL, "carol")
ENTRIES = CLUSTER.log.entries_missing_from()
IDS = CLUSTER.log.ids()
PEOPLE = [CLUSTER.ana, BOB, CAROL, identity(4)]
SPACES = [NO_SPACE, CLUSTER.public, SpaceId(b"o" * 16)]

person = st.sampled_from(PEOPLE)
space = st.sampled_from(SPACES)
some_spaces = st.lists(space, max_size=3).map(tuple)
sealed_key = st.builds(SealedKey, space, st.sampled_from([0, 1, 1 << 31]), st.binary(max_size=200))
sealed = st.builds(Sealed, person.map(lambda one: one.node), sealed_key)
cut = st.builds(
    Cut,
    space,
    person.map(lambda one: replica_id(one.node, bytes(8))),
    st.integers(0, (1 << 40) - 1),
)
bodies = st.one_of(
    st.builds(
        Grant,
        person.map(lambda one: one.node),
        st.binary(min_size=32, max_size=32),
        st.sampled_from(["bob", "eve", "-"]),
        st.sampled_from(list(Role)),
        some_spaces,
    ),
    st.builds(Revoke, person.map(lambda one: one.node), some_spaces),
    st.builds(Rotate, space, st.binary(min_size=32, max_size=32)),
    st.builds(NewSpace, space, st.binary(max_size=80)),
).map(encode_part)
attachments = st.one_of(
    st.just(b""),
    st.binary(max_size=64),
    st.lists(sealed_key, max_size=3).map(lambda some: encode_part(tuple(some))),
    st.lists(sealed, max_size=3).map(lambda some: encode_part(tuple(some))),
    st.lists(cut, max_size=3).map(lambda some: encode_part(tuple(some))),
)
hostile = st.tuples(
    st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([CLUSTER.log.cluster, NO_CLUSTER]),
    st.lists(st.integers(0, 9), max_size=3, unique=True),
    person,
    st.binary(min_size=16, max_size=16),
    st.one_of(bodies, st.binary(max_size=80)),
    attachments,
)


def read_everything(log: Membership) -> None:
    """Ask all that is ever asked of a log."""
    log.digest(), log.heads(), log.lacking(), log.space_names(CLUSTER.keys)
    log.keys_of(BOB, CLUSTER.keys)
    with suppress(PeerFault):
        log.keys_of(CAROL, ClusterKeys.none(CLUSTER.keys.private))
    for one in (*SPACES, *log.spaces()):
        log.epoch(one), log.epochs(one), log.readers(one), log.sharers(one)
        for who in PEOPLE:
            head = log.authority(who.node, one) or bytes(32)
            replica = replica_id(who.node, bytes(8))
            log.may_write(who.node, one, head), log.limit(one, replica), log.refuses(replica, one, head)
            log.chain(who.node), log.judge(who.node, ()), log.revoked(who.node), log.removed_by(who.node)


@given(given_entries=st.lists(hostile, min_size=1, max_size=5))
@settings(max_examples=250, deadline=None)
def test_a_signed_entry_with_anything_inside_is_taken_or_a_fault(given_entries: list[tuple]) -> None:
    log = Membership(CLUSTER.log.cluster, ENTRIES)
    for kind, cluster, places, issuer, nonce, body, attachment in given_entries:
        ids = log.ids()
        parents = tuple(ids[place] if place < len(ids) else bytes([place]) * 32 for place in places)
        statement = Statement(kind, cluster, parents, issuer.node, NOW_MS, nonce, body, hash_attachment(attachment))
        with suppress(PeerFault):
            log.add(sign_entry(issuer, statement, attachment))
    read_everything(log)


@given(name=st.binary(max_size=100), seals=st.lists(sealed, max_size=3), nonce=st.binary(min_size=16, max_size=16))
@settings(max_examples=100, deadline=None)
def test_a_new_space_of_junk_harms_nobody(name: bytes, seals: list[Sealed], nonce: bytes) -> None:
    log = Membership(CLUSTER.log.cluster, ENTRIES)
    made = named_space(log.cluster, BOB.node, nonce)
    attachment = encode_part(tuple(seals))
    body = encode_part(NewSpace(made, name))
    statement = Statement(4, log.cluster, IDS[-1:], BOB.node, NOW_MS, nonce, body, hash_attachment(attachment))
    log.add(sign_entry(BOB, statement, attachment))
    assert made in log.spaces()
    read_everything(log)


@pytest.mark.parametrize("decode", [decode_revoke, decode_rotate, decode_new_space, decode_sealed, decode_cuts])
@given(data=st.one_of(st.binary(max_size=300), bodies, attachments))
@settings(max_examples=100, deadline=None)
def test_a_decoder_returns_a_part_or_a_fault(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(PeerFault):
        decode(data)


@pytest.mark.parametrize("decode", [decode_revoke, decode_rotate, decode_new_space, decode_sealed, decode_cuts])
@pytest.mark.parametrize("bomb", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 16_000])
def test_a_length_that_lies_is_a_fault_at_once(decode: Callable[[bytes], object], bomb: bytes) -> None:
    for data in (bomb, b"\x92\xc4\x20" + bytes(32) + bomb, b"\x91\x92\xc4\x20" + bytes(32) + bomb):
        with pytest.raises(PeerFault):
            decode(data)
