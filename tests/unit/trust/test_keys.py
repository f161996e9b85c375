from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from cis.errors import PeerFault, StoreError
from cis.model import NodeId, SpaceId
from cis.trust import keys as keys_module
from cis.trust.keys import (
    PRIVATE,
    PUBLIC,
    ClusterKeys,
    Offer,
    Parties,
    draw_key,
    epoch_of,
    found_keys,
    hash_key,
    new_space_keys,
    open_keys,
    open_name,
    seal_key,
    seal_keys,
    seal_name,
    space_id,
)
from cis.wire.membership import NO_SPACE, SealedKey
from tests.unit.trust.cluster import entropy, identity

CLUSTER = bytes(range(32))
ANA, BOB = identity(1), identity(2)
PARTIES = Parties(CLUSTER, BOB.node, ANA.node)
KEYS = found_keys(CLUSTER, entropy(3))
NOTHING = ClusterKeys.none(KEYS.private)


def sealed() -> tuple[SealedKey, ...]:
    return seal_keys(KEYS, list(KEYS.spaces), PARTIES, BOB.sealing_public)


def test_a_new_cluster_has_keys_of_its_own_for_discovery_and_for_both_spaces() -> None:
    keys = found_keys(CLUSTER, entropy(3))
    public, private = keys.spaces[space_id(CLUSTER, PUBLIC)], keys.private
    assert list(keys.spaces) == [public.space]
    assert (public.space, private.space) == (space_id(CLUSTER, PUBLIC), space_id(CLUSTER, PRIVATE))
    drawn = {keys.discovery_key, *(key for one in (public, private) for key in (one.memory_key, one.epochs[0]))}
    assert len(drawn) == 5
    assert {len(key) for key in drawn} == {32}


def test_keys_are_stored_and_read_back() -> None:
    assert ClusterKeys.decode(KEYS.encode()) == KEYS


EARLIER = msgspec.msgpack.encode((KEYS.discovery_key, {}, KEYS.private))


@pytest.mark.parametrize("damaged", [EARLIER, b"", b"\x00", KEYS.encode()[:-1], b"\x93" + KEYS.encode()])
def test_damaged_keys_are_an_error_of_the_store(damaged: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        ClusterKeys.decode(damaged)


def test_a_space_has_one_id_per_cluster_and_name() -> None:
    ids = {space_id(cluster, name) for cluster in (CLUSTER, bytes(32)) for name in ("public", "private", "team")}
    assert len(ids) == 6
    assert all(len(space) == 16 for space in ids)


def test_the_private_space_is_in_no_bundle_even_when_asked_for() -> None:
    asked = [*KEYS.spaces, KEYS.private.space]
    bundle = seal_keys(KEYS, asked, PARTIES, BOB.sealing_public)
    assert {key.space for key in bundle} == {NO_SPACE, *KEYS.spaces}


@pytest.mark.parametrize(
    "parties",
    [
        Parties(bytes(32), BOB.node, ANA.node),
        Parties(CLUSTER, ANA.node, ANA.node),
        Parties(CLUSTER, BOB.node, NodeId(bytes(32))),
    ],
)
def test_a_sealed_key_opens_only_between_the_two_it_was_sealed_between(parties: Parties) -> None:
    assert open_keys(BOB, [Offer(PARTIES, key) for key in sealed()], NOTHING) == KEYS
    with pytest.raises(PeerFault, match="no discovery key"):
        open_keys(BOB, [Offer(parties, key) for key in sealed()], NOTHING)


def test_a_sealed_key_does_not_open_for_another_space_or_epoch_or_node() -> None:
    discovery, public = sealed()
    for moved in (
        SealedKey(NO_SPACE, 0, public.sealed),
        SealedKey(public.space, 1, public.sealed),
        SealedKey(public.space, 0, discovery.sealed),
        SealedKey(public.space, 0, b""),
    ):
        opened = open_keys(BOB, [Offer(PARTIES, discovery), Offer(PARTIES, moved)], NOTHING)
        assert (opened.discovery, opened.spaces) == (KEYS.discovery, {})
    with pytest.raises(PeerFault, match="no discovery key"):
        open_keys(ANA, [Offer(PARTIES, discovery)], NOTHING)


def test_a_bundle_without_a_discovery_key_makes_no_member() -> None:
    _, public = sealed()
    with pytest.raises(PeerFault, match="discovery"):
        open_keys(BOB, [Offer(PARTIES, public)], NOTHING)


def test_what_is_held_is_not_replaced_by_what_is_offered() -> None:
    other = found_keys(CLUSTER, entropy(4))
    bundle = seal_keys(other, list(other.spaces), PARTIES, BOB.sealing_public)
    assert open_keys(BOB, [Offer(PARTIES, key) for key in bundle], KEYS) == KEYS


def test_a_key_that_is_not_the_one_its_rotation_states_is_not_taken() -> None:
    key = draw_key((), entropy(5))
    epoch = epoch_of(hash_key(key))
    for stated, offered, taken in (
        (hash_key(key), key, True),
        (None, key, True),
        (hash_key(key)[:4] + bytes(28), key, False),
        (None, bytes(32), False),
    ):
        rotated = seal_key(NO_SPACE, epoch, offered, PARTIES, BOB.sealing_public)
        assert (epoch in open_keys(BOB, [Offer(PARTIES, rotated, stated)], KEYS).discovery) is taken


def test_a_rotated_key_of_a_space_waits_for_the_key_of_its_memory_ids() -> None:
    (space,) = KEYS.spaces
    key = draw_key((), entropy(5))
    epoch = epoch_of(hash_key(key))
    rotated = Offer(PARTIES, seal_key(space, epoch, key, PARTIES, BOB.sealing_public), hash_key(key))
    discovery, public = (Offer(PARTIES, one) for one in sealed())
    assert open_keys(BOB, [discovery, rotated], NOTHING).spaces == {}
    opened = open_keys(BOB, [discovery, rotated, public], NOTHING).spaces[space]
    assert opened.memory_key == KEYS.spaces[space].memory_key
    assert opened.epochs == {0: KEYS.spaces[space].epochs[0], epoch: key}


def test_an_epoch_is_numbered_by_its_key_and_never_0_nor_as_another() -> None:
    first = draw_key((), entropy(6))
    taken = epoch_of(hash_key(first))
    again = draw_key((taken,), entropy(6))
    assert epoch_of(hash_key(again)) not in (0, taken)


def test_of_too_many_keys_those_that_are_lacked_and_the_current_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "SEALED_KEYS_MAX", 3)
    (public,) = KEYS.spaces.values()
    many = replace(public, epochs={number: bytes([number]) * 32 for number in range(8)}, current=5)
    keys = ClusterKeys(KEYS.discovery, {public.space: many}, KEYS.private)
    bundle = seal_keys(keys, [public.space], PARTIES, BOB.sealing_public, first={(public.space, 2)})
    assert [(key.space, key.epoch) for key in bundle] == [(NO_SPACE, 0), (public.space, 2), (public.space, 5)]


def test_the_name_of_a_space_is_for_who_holds_its_first_key() -> None:
    keys = new_space_keys(SpaceId(bytes(16)), entropy(8))
    sealed_name = seal_name(keys, "team")
    assert open_name(keys, sealed_name) == "team"
    assert len(sealed_name) == len(seal_name(keys, "x" * 32))
    assert open_name(new_space_keys(keys.space, entropy(9)), sealed_name) is None
    assert open_name(replace(keys, epochs={1: bytes(32)}), sealed_name) is None
    assert open_name(keys, seal_name(keys, "../x")) is None
