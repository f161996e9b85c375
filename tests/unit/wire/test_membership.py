from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId, replica_id
from cis.wire.membership import (
    ATTACHMENT_BYTES_MAX,
    CUTS_MAX,
    NO_SPACE,
    SEALED_BYTES_MAX,
    SEALED_KEYS_MAX,
    STATEMENT_BYTES_MAX,
    Cut,
    NewSpace,
    Part,
    Revoke,
    Rotate,
    Sealed,
    SealedKey,
    decode_cuts,
    decode_new_space,
    decode_revoke,
    decode_rotate,
    decode_sealed,
    encode_part,
)

NODE = NodeId(bytes(range(32)))
SPACE = SpaceId(b"s" * 16)
CUT = Cut(SPACE, replica_id(NODE, b"incarn-1"), 7)
SEALED = Sealed(NODE, SealedKey(SPACE, 3, b"sealed"))
PARTS: list[tuple[Part, Callable[[bytes], object]]] = [
    (Revoke(NODE, ()), decode_revoke),
    (Revoke(NODE, (SPACE, NO_SPACE)), decode_revoke),
    (Rotate(NO_SPACE, b"\x00\x00\x00\x01" + bytes(28)), decode_rotate),
    (NewSpace(SPACE, b"name"), decode_new_space),
    ((CUT,), decode_cuts),
    ((SEALED, SEALED), decode_sealed),
]


@pytest.mark.parametrize(("part", "decode"), PARTS)
def test_a_part_is_read_back_and_no_more_than_it(part: Part, decode: Callable[[bytes], object]) -> None:
    data = encode_part(part)
    assert decode(data) == part
    for damaged in (data[:-1], data + b"\x00", b"\x93" + data, b"\xc0"):
        with pytest.raises(PeerFault) as raised:
            decode(damaged)
        assert raised.value.fault is Fault.MALFORMED


def test_an_epoch_is_numbered_by_the_first_bytes_of_its_key_s_hash_and_is_never_0() -> None:
    assert Rotate(SPACE, b"\x01\x02\x03\x04" + bytes(28)).epoch == 0x01020304
    with pytest.raises(PeerFault, match="epoch 0"):
        decode_rotate(encode_part(Rotate(SPACE, bytes(32))))


@pytest.mark.parametrize(
    ("data", "decode"),
    [
        ((CUT,) * (CUTS_MAX + 1), decode_cuts),
        ((SEALED,) * (SEALED_KEYS_MAX + 1), decode_sealed),
        ((Sealed(NODE, SealedKey(SPACE, 3, bytes(SEALED_BYTES_MAX + 1))),), decode_sealed),
        ((msgspec.structs.replace(CUT, seq=1 << 40),), decode_cuts),
        ((msgspec.structs.replace(CUT, replica=NODE),), decode_cuts),
        (Revoke(NODE, (SPACE,) * 257), decode_revoke),
        (NewSpace(SPACE, bytes(129)), decode_new_space),
    ],
)
def test_what_is_over_its_limit_is_malformed(data: Part, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(PeerFault) as raised:
        decode(encode_part(data))
    assert raised.value.fault is Fault.MALFORMED


def test_what_is_too_large_is_not_even_read() -> None:
    for decode, bytes_max in (
        (decode_cuts, ATTACHMENT_BYTES_MAX),
        (decode_sealed, ATTACHMENT_BYTES_MAX),
        (decode_revoke, STATEMENT_BYTES_MAX),
    ):
        with pytest.raises(PeerFault) as raised:
            decode(bytes(bytes_max + 1))
        assert raised.value.fault is Fault.TOO_LARGE


def test_the_most_that_may_be_sealed_and_cut_fits_an_attachment() -> None:
    sealed = Sealed(NODE, SealedKey(SPACE, (1 << 32) - 1, bytes(32 + 64 + 16)))
    assert len(encode_part((sealed,) * SEALED_KEYS_MAX)) <= ATTACHMENT_BYTES_MAX
    assert len(encode_part((CUT,) * CUTS_MAX)) <= ATTACHMENT_BYTES_MAX


def test_an_empty_attachment_seals_and_cuts_nothing() -> None:
    assert decode_sealed(b"") == decode_cuts(b"") == ()
