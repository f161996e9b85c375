"""Retry tokens: good for one address, one id, some time; never for anything else."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from cis.net.retry import RetryTokens

HERE, CID, RETRY = ("192.0.2.1", 7677), b"original", b"retried!"
TOKENS = RetryTokens(b"k" * 32, lifetime_s=10.0)


def test_a_token_returns_the_original_id() -> None:
    token = TOKENS.issue(HERE, CID, RETRY, 100.0)
    assert TOKENS.original_cid(token, HERE, RETRY, 109.9) == CID


def test_a_token_expires() -> None:
    token = TOKENS.issue(HERE, CID, RETRY, 100.0)
    assert TOKENS.original_cid(token, HERE, RETRY, 110.1) is None


def test_a_token_is_bound_to_address_port_id_and_secret() -> None:
    token = TOKENS.issue(HERE, CID, RETRY, 100.0)
    assert TOKENS.original_cid(token, ("192.0.2.2", 7677), RETRY, 100.0) is None
    assert TOKENS.original_cid(token, ("192.0.2.1", 7678), RETRY, 100.0) is None
    assert TOKENS.original_cid(token, HERE, b"another!", 100.0) is None
    assert RetryTokens(os.urandom(32)).original_cid(token, HERE, RETRY, 100.0) is None


def test_ipv6_with_a_zone_is_an_address() -> None:
    where = ("fe80::1%eth0", 1)
    assert TOKENS.original_cid(TOKENS.issue(where, CID, RETRY, 0.0), where, RETRY, 0.0) == CID


@given(st.data())
def test_a_changed_token_is_worth_nothing(data: st.DataObject) -> None:
    token = bytearray(TOKENS.issue(HERE, CID, RETRY, 100.0))
    token[data.draw(st.integers(0, len(token) - 1))] ^= data.draw(st.integers(1, 255))
    assert TOKENS.original_cid(bytes(token), HERE, RETRY, 100.0) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_judged_without_raising(token: bytes) -> None:
    assert TOKENS.original_cid(token, HERE, RETRY, 0.0) is None
