"""Pairwise keys: both members have the same one, and nobody else has it."""

from __future__ import annotations

from random import Random

from cis.trust import Identity
from cis.trust.pairwise import Pairwise

RNG = Random(1)
ANA, BEN, EVE = (Identity.generate(RNG.randbytes) for _ in range(3))
CLUSTER = bytes(32)


def key(own: Identity, other: Identity, cluster: bytes = CLUSTER) -> bytes | None:
    return Pairwise(own, cluster).key(other.node, other.sealing_public)


def test_both_members_derive_the_same_key() -> None:
    shared = key(ANA, BEN)
    assert shared is not None
    assert len(shared) == 32
    assert key(BEN, ANA) == shared


def test_no_other_pair_and_no_other_cluster_has_it() -> None:
    assert len({key(ANA, BEN), key(ANA, EVE), key(EVE, BEN), key(ANA, BEN, b"x" * 32)}) == 4


def test_a_sealing_key_of_small_order_or_wrong_length_gives_none() -> None:
    pairwise = Pairwise(ANA, CLUSTER)
    assert pairwise.key(EVE.node, bytes(32)) is None
    assert pairwise.key(EVE.node, b"short") is None


def test_a_member_granted_under_a_new_sealing_key_gets_a_new_pairwise_key() -> None:
    pairwise = Pairwise(ANA, CLUSTER)
    assert pairwise.key(BEN.node, BEN.sealing_public) != pairwise.key(BEN.node, EVE.sealing_public)
