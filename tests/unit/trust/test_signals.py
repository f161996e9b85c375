"""Signals are read by whom they are sealed for, as said by who sealed them, and by nobody else."""

from __future__ import annotations

import os

import pytest

from cis.errors import PeerFault
from cis.model import NodeId
from cis.trust.signals import NONCE_LENGTH, TAG_LENGTH, open_signal, seal_signal, tag_in
from cis.wire.messages import SEALED_SIGNAL_BYTES_MAX

ANA, BEN, EVE = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))
SHARED, TAG = b"s" * 32, b"t" * TAG_LENGTH
SEALED = seal_signal(SHARED, ANA, BEN, TAG, b"an offer", os.urandom)


def test_the_recipient_reads_what_was_sealed_and_sees_the_tag() -> None:
    assert open_signal(SHARED, ANA, BEN, SEALED) == b"an offer"
    assert tag_in(SEALED) == TAG


@pytest.mark.parametrize(
    ("shared", "sender", "recipient"),
    [(b"x" * 32, ANA, BEN), (SHARED, EVE, BEN), (SHARED, ANA, EVE), (SHARED, BEN, ANA)],
    ids=["another key", "another sender", "another recipient", "turned back"],
)
def test_nobody_else_can_have_sealed_it_or_read_it(shared: bytes, sender: NodeId, recipient: NodeId) -> None:
    with pytest.raises(PeerFault):
        open_signal(shared, sender, recipient, SEALED)


@pytest.mark.parametrize("place", [0, TAG_LENGTH, TAG_LENGTH + NONCE_LENGTH, len(SEALED) - 1])
def test_no_byte_of_it_can_be_changed_its_tag_included(place: int) -> None:
    changed = SEALED[:place] + bytes([SEALED[place] ^ 1]) + SEALED[place + 1 :]
    with pytest.raises(PeerFault):
        open_signal(SHARED, ANA, BEN, changed)


@pytest.mark.parametrize("length", [0, 43, SEALED_SIGNAL_BYTES_MAX + 1])
def test_what_is_too_short_or_too_long_is_refused_before_anything_is_computed(length: int) -> None:
    with pytest.raises(PeerFault):
        open_signal(SHARED, ANA, BEN, bytes(length))


def test_a_signal_sealed_twice_shows_nothing_in_common_but_the_tag() -> None:
    again = seal_signal(SHARED, ANA, BEN, TAG, b"an offer", os.urandom)
    assert again[TAG_LENGTH:] != SEALED[TAG_LENGTH:]
