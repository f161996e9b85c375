"""Bulletins: only their author makes them, only members of the cluster read them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.model import SpaceId
from cis.trust import Identity
from cis.trust.bulletins import Told, open_any, open_bulletin, read_bulletin, seal_bulletin
from cis.trust.keys import new_space_keys
from cis.trust.sealing import Unreadable
from cis.wire.bulletins import (
    PAYLOAD_BYTES_MAX,
    TOPIC_BYTES_MAX,
    BulletinContent,
    SignedBulletin,
    decode_bulletin,
    encode_bulletin_part,
)
from cis.wire.gossip import BODY_BYTES_MAX

ENTROPY = Random(7).randbytes
ANA, EVE = Identity.generate(ENTROPY), Identity.generate(ENTROPY)
KEYS = new_space_keys(SpaceId(bytes(16)), ENTROPY)
TOLD = Told(b"run-0001", 3, 1_700_000_000_000, "builds", b"green")


def bulletin(told: Told = TOLD, identity: Identity = ANA) -> bytes:
    return seal_bulletin(identity, KEYS, told, ENTROPY)


def test_a_bulletin_says_who_when_and_what() -> None:
    statement = read_bulletin(bulletin(), KEYS.space)
    assert (statement.author, statement.session, statement.number, statement.sent_ms) == (
        ANA.node,
        TOLD.session,
        TOLD.number,
        TOLD.sent_ms,
    )
    assert open_bulletin(statement, KEYS) == BulletinContent("builds", b"green")


def test_topic_and_payload_are_not_seen_from_outside() -> None:
    body = bulletin()
    assert b"builds" not in body
    assert b"green" not in body


def test_messages_of_like_length_are_of_one_length_outside() -> None:
    assert len({len(bulletin(replace(TOLD, payload=bytes(4000 + more)))) for more in range(20)}) == 1


def test_the_largest_fits_into_a_gossip_message() -> None:
    told = replace(TOLD, topic="x" * TOPIC_BYTES_MAX, payload=bytes(PAYLOAD_BYTES_MAX), number=(1 << 62) - 1)
    assert len(bulletin(told)) <= BODY_BYTES_MAX


@pytest.mark.parametrize("field", ["author", "session", "number", "sent_ms", "sealed"])
def test_an_altered_bulletin_is_refused(field: str) -> None:
    signed, statement = decode_bulletin(bulletin())
    other = {
        "author": EVE.node,
        "session": b"run-0002",
        "number": 4,
        "sent_ms": 1,
        "sealed": b"x" + statement.sealed[1:],
    }
    forged = encode_bulletin_part(msgspec.structs.replace(statement, **{field: other[field]}))
    with pytest.raises(PeerFault) as refused:
        read_bulletin(encode_bulletin_part(SignedBulletin(forged, signed.signature)), KEYS.space)
    assert refused.value.fault is Fault.BAD_SIGNATURE


def test_a_bulletin_of_another_cluster_is_refused() -> None:
    with pytest.raises(PeerFault):
        read_bulletin(bulletin(), SpaceId(b"x" * 16))


def test_what_one_sealed_cannot_be_told_by_another_as_its_own() -> None:
    _, statement = decode_bulletin(bulletin())
    stolen = msgspec.structs.replace(statement, author=EVE.node)
    with pytest.raises(Unreadable):
        open_bulletin(stolen, KEYS)


def test_without_the_key_it_is_unreadable_though_sound() -> None:
    statement = read_bulletin(bulletin(), KEYS.space)
    for keys in (replace(KEYS, epochs={1: bytes(32)}), replace(KEYS, epochs={0: bytes(32)})):
        with pytest.raises(Unreadable):
            open_bulletin(statement, keys)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", encode_bulletin_part([48, b"", b""]), bytes(BODY_BYTES_MAX + 1)]
)
def test_garbage_is_a_fault_of_the_peer(body: bytes) -> None:
    with pytest.raises(PeerFault):
        read_bulletin(body, KEYS.space)


def test_what_is_sealed_to_some_is_verified_by_all_and_opened_by_these_alone() -> None:
    plans = new_space_keys(SpaceId(b"p" * 16), ENTROPY)
    body = seal_bulletin(ANA, plans, TOLD, ENTROPY, public=KEYS.space)
    assert bytes(plans.space) not in body
    statement = read_bulletin(body, KEYS.space)
    assert open_any(statement, [KEYS, plans]) == (plans.space, BulletinContent("builds", b"green"))
    assert open_any(read_bulletin(bulletin(), KEYS.space), [plans, KEYS])[0] == KEYS.space
    for held in ([], [KEYS]):
        with pytest.raises(Unreadable):
            open_any(statement, held)
