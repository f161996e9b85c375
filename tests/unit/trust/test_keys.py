from __future__ import annotations

import pytest

from cis.errors import PeerFault, StoreError
from cis.model import NodeId
from cis.trust.keys import ClusterKeys, Parties, found_keys, open_keys, seal_keys, space_id
from cis.wire.membership import NO_SPACE, SealedKey
from tests.unit.trust.cluster import entropy, identity

CLUSTER = bytes(range(32))
ANA, BOB = identity(1), identity(2)
PARTIES = Parties(CLUSTER, BOB.node, ANA.node)
KEYS = found_keys(CLUSTER, entropy(3))


def sealed() -> tuple[SealedKey, ...]:
    return seal_keys(KEYS, list(KEYS.spaces), PARTIES, BOB.sealing_public)


def test_keys_are_stored_and_read_back() -> None:
    assert ClusterKeys.decode(KEYS.encode()) == KEYS


@pytest.mark.parametrize("damaged", [b"", b"\x00", KEYS.encode()[:-1], b"\x93" + KEYS.encode()])
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
    assert open_keys(BOB, [(PARTIES, key) for key in sealed()], KEYS.private) == KEYS
    with pytest.raises(PeerFault, match="does not open"):
        open_keys(BOB, [(parties, key) for key in sealed()], KEYS.private)


def test_a_sealed_key_does_not_open_for_another_space_or_epoch_or_node() -> None:
    discovery, public = sealed()
    for moved in (
        SealedKey(NO_SPACE, 0, public.sealed),
        SealedKey(public.space, 1, public.sealed),
        SealedKey(public.space, 0, discovery.sealed),
        SealedKey(public.space, 0, b""),
    ):
        with pytest.raises(PeerFault):
            open_keys(BOB, [(PARTIES, moved)], KEYS.private)
    with pytest.raises(PeerFault):
        open_keys(ANA, [(PARTIES, discovery)], KEYS.private)


def test_a_bundle_without_a_discovery_key_makes_no_member() -> None:
    _, public = sealed()
    with pytest.raises(PeerFault, match="discovery"):
        open_keys(BOB, [(PARTIES, public)], KEYS.private)
