"""The STUN responder against another implementation's client, and against what is no request."""

from __future__ import annotations

import os
import struct

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from cis.anchor.stun import MAGIC_COOKIE, answer_to

HEAD = struct.Struct("!HHI12s")


def request(**attributes: object) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update(attributes)
    return bytes(message)


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_another_implementation_reads_its_address_in_the_answer(host: str, seen: str) -> None:
    asked = request()
    answer = answer_to(asked, host, 40_000)
    assert answer is not None
    parsed = stun.parse_message(answer)
    assert parsed.message_class is stun.Class.RESPONSE
    assert parsed.transaction_id == asked[8:20]
    assert parsed.attributes["XOR-MAPPED-ADDRESS"] == (seen, 40_000)


def test_what_it_does_not_understand_and_must_it_says_so() -> None:
    """CHANGE-REQUEST (RFC 5780) takes a second address, which it does not have."""
    body = struct.pack("!HHI", 0x0003, 4, 0b110)
    asked = HEAD.pack(1, len(body), MAGIC_COOKIE, b"t" * 12) + body
    answer = answer_to(asked, "203.0.113.9", 1)
    assert answer is not None
    parsed = stun.parse_message(answer)
    assert parsed.message_class is stun.Class.ERROR
    assert parsed.attributes["ERROR-CODE"][0] == 420


def test_what_need_not_be_understood_changes_nothing() -> None:
    assert answer_to(request(SOFTWARE="x", PRIORITY=1), "203.0.113.9", 1) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(19),
        HEAD.pack(1, 0, 0x11111111, bytes(12)),
        HEAD.pack(0x0101, 0, MAGIC_COOKIE, bytes(12)),
        HEAD.pack(0x0003, 0, MAGIC_COOKIE, bytes(12)),
        HEAD.pack(1, 8, MAGIC_COOKIE, bytes(12)),
        HEAD.pack(1, 4, MAGIC_COOKIE, bytes(12)) + struct.pack("!HH", 0x8022, 200),
        HEAD.pack(1, 600, MAGIC_COOKIE, bytes(12)) + bytes(600),
    ],
)
def test_what_is_no_binding_request_gets_no_answer(data: bytes) -> None:
    assert answer_to(data, "203.0.113.9", 1) is None


@given(st.binary(max_size=600))
def test_no_datagram_makes_it_fail_or_say_much_more_than_was_asked(data: bytes) -> None:
    for tail in (data, HEAD.pack(1, len(data) & ~3, MAGIC_COOKIE, os.urandom(12)) + data[: len(data) & ~3]):
        answer = answer_to(tail, "2001:db8::7", 65_535)
        assert answer is None or len(answer) <= len(tail) + 32
