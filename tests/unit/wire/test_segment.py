"""Sizes and limits of the wire that other implementations rely on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.errors import UsageError
from cis.model.change import SEQ_MAX
from cis.wire.content import Content, check_content, encode_content, padme
from cis.wire.segment import HEADER, RECORD, REF_REPLICA_MAX, REFERENCE, pack_reference, unpack_reference


def test_records_have_the_sizes_the_protocol_states() -> None:
    assert (HEADER.size, RECORD.size, REFERENCE.size) == (66, 40, 8)


@given(st.integers(0, REF_REPLICA_MAX), st.integers(1, SEQ_MAX), st.booleans())
def test_a_reference_comes_back_as_it_was_packed(place: int, seq: int, prefix: bool) -> None:
    packed = pack_reference(place, seq, prefix=prefix)
    assert 0 < packed < 1 << 64
    assert unpack_reference(packed) == (place, seq, prefix)


# Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", §4.2
@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 1), (2, 2), (8, 8), (9, 10), (15, 16), (17, 18), (33, 36), (100, 104), (1000, 1024), (1025, 1088)],
)
def test_lengths_are_padded_by_padme(length: int, padded: int) -> None:
    assert padme(length) == padded


@given(st.integers(1, 1 << 24))
def test_padding_costs_an_eighth_at_most_and_is_stable(length: int) -> None:
    assert length <= padme(length) <= length * 1.125 + 1
    assert padme(padme(length)) == padme(length)


@given(st.integers(0, 2000))
def test_a_plaintext_is_padded_whole(size: int) -> None:
    length = len(encode_content(Content("k", b"v" * size)))
    assert padme(length) == length


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (Content(""), "must be 1 to 512 bytes"),
        (Content("é" * 257), "is 514 bytes"),
        (Content("\udcff"), "not valid UTF-8"),
        (Content("a\x1bb"), "control character"),
        (Content("k", bytes(262_145)), "is 262,145 bytes; at most 262,144"),
        (Content("k", tags=("",)), "an empty tag"),
        (Content("k", tags=("x" * 65,)), "each word at most 64 bytes"),
        (Content("k", vector=b"12345"), "must be float32"),
        (Content("k", added=1 << 62), "leave the range"),
        (Content("k", ttl_ms=1 << 47), "time to live"),
        (Content("k", form=7), "unknown form"),
    ],
)
def test_a_broken_limit_is_named(content: Content, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        check_content(content)


def test_what_is_at_the_limits_passes() -> None:
    check_content(Content("é" * 256, bytes(262_144), tags=("x" * 64,) * 32, vector=bytes(16_384), ttl_ms=1 << 46))
