from __future__ import annotations

from itertools import permutations

import pytest

from cis.model import NodeId
from cis.trust.identity import Identity, Label, verify
from tests.unit.trust.cluster import identity

ANA, BOB = identity(1), identity(2)


def test_a_signature_holds_for_its_node_label_and_data_alone() -> None:
    signature = ANA.sign(Label.RECORD, b"data")
    assert verify(ANA.node, Label.RECORD, b"data", signature)
    assert not verify(BOB.node, Label.RECORD, b"data", signature)
    assert not verify(ANA.node, Label.MEMBERSHIP, b"data", signature)
    assert not verify(ANA.node, Label.RECORD, b"date", signature)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_or_key_of_a_wrong_length_is_false_and_no_crash(length: int) -> None:
    assert not verify(ANA.node, Label.RECORD, b"", bytes(length))
    assert not verify(NodeId(bytes(length)), Label.RECORD, b"", bytes(64))


def test_no_label_begins_another() -> None:
    assert not any(two.value.startswith(one.value) for one, two in permutations(Label, 2))


def test_everything_follows_from_the_seed() -> None:
    again = Identity(ANA.seed)
    assert (again.node, again.sealing_public) == (ANA.node, ANA.sealing_public)
    assert again.derive_key("store key") == ANA.derive_key("store key") != ANA.derive_key("sealing")
    assert again.derive_key("store key") != BOB.derive_key("store key")


def test_an_identity_shows_no_secret_in_a_log() -> None:
    assert repr(ANA) == f"Identity({ANA.did})"
    assert ANA.seed.hex() not in repr(ANA)


def test_a_seed_of_a_wrong_length_makes_no_identity() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(bytes(31))
