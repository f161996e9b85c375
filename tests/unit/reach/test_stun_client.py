"""A transaction is repeated until its own server answers it properly, and never without bound."""

from __future__ import annotations

import time

import pytest
from aioice import stun

from cis.errors import Fault, PeerFault
from cis.reach.names import Address
from cis.reach.stun_client import (
    STUN_BYTES_MAX,
    Transaction,
    Unsendable,
    binding_request,
    read_message,
    reflexive_of,
)
from cis.reach.stun_header import is_request

SERVER: Address = ("192.0.2.1", 3478)
KEY = b"password"


def answer_to(request: stun.Message, key: bytes | None = None, **said: object) -> stun.Message:
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
    response.attributes.update({name.replace("_", "-"): value for name, value in said.items()})
    if key is not None:
        response.add_message_integrity(key)
    return stun.parse_message(bytes(response))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_FIRST_WAIT_S", 0.002), ("_WAIT_MAX_S", 0.004), ("_NUDGE_GAP_S", 0.0)):
        monkeypatch.setattr(f"cis.reach.stun_client.{name}", seconds)


async def test_a_request_nobody_answers_is_sent_a_bounded_number_of_times(quick: None) -> None:
    sent: list[bytes] = []
    with pytest.raises(stun.TransactionTimeout):
        await Transaction(binding_request(), sent.append).run()
    assert len(sent) == 11
    assert len(set(sent)) == 1


async def test_an_answer_from_elsewhere_or_with_another_key_is_ignored(quick: None) -> None:
    request = binding_request()
    transaction = Transaction(request, lambda _: None, key=KEY, answers_from=SERVER)
    transaction.on_response(answer_to(request, KEY), ("192.0.2.2", 3478))
    transaction.on_response(answer_to(request, b"other"), SERVER)
    transaction.on_response(answer_to(request), SERVER)
    with pytest.raises(stun.TransactionTimeout):
        await transaction.run()
    asking = Transaction(again := binding_request(), lambda _: None, key=KEY, answers_from=SERVER)
    asking.on_response(answer_to(again, KEY), SERVER)
    assert (await asking.run())[1] == SERVER


async def test_a_machine_that_will_not_send_ends_the_transaction_soon(quick: None) -> None:
    sent: list[bytes] = []

    def refuse(data: bytes) -> OSError:
        sent.append(data)
        return OSError(101, "Network is unreachable")

    with pytest.raises(Unsendable, match="unreachable"):
        await Transaction(binding_request(), refuse).run()
    assert len(sent) == 3


async def test_nudges_send_at_once_and_are_bounded(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    sent: list[bytes] = []
    transaction = Transaction(binding_request(), sent.append)
    for _ in range(100):
        transaction.nudge()
    assert len(sent) == 8
    monkeypatch.setattr("cis.reach.stun_client._NUDGE_GAP_S", 60.0)
    late = Transaction(binding_request(), sent.append)
    late._send_once()
    late.nudge()
    assert len(sent) == 9, "the request was on its way just now"


def test_what_a_server_says_is_taken_only_if_it_could_be_an_address_of_ours() -> None:
    request = binding_request()
    seen = reflexive_of(answer_to(request, XOR_MAPPED_ADDRESS=("192.0.2.7", 9), OTHER_ADDRESS=("192.0.2.2", 3)), 0.1)
    assert seen is not None
    assert (seen.host, seen.port, seen.latency_s, seen.other, seen.origin) == (
        "192.0.2.7",
        9,
        0.1,
        ("192.0.2.2", 3),
        None,
    )
    assert reflexive_of(answer_to(request, MAPPED_ADDRESS=("192.0.2.7", 9)), 0.1) is not None
    assert reflexive_of(answer_to(request, XOR_MAPPED_ADDRESS=("::ffff:192.0.2.7", 9)), 0.1).host == "192.0.2.7"
    for nowhere in (("0.0.0.0", 9), ("192.0.2.7", 0), ("224.0.0.1", 9), ("fe80::1", 9)):
        assert reflexive_of(answer_to(request, XOR_MAPPED_ADDRESS=nowhere), 0.1) is None
    assert reflexive_of(answer_to(request), 0.1) is None


def test_a_request_for_another_address_says_which() -> None:
    assert read_message(bytes(binding_request((True, False)))).attributes["CHANGE-REQUEST"] == 4
    assert read_message(bytes(binding_request((False, True)))).attributes["CHANGE-REQUEST"] == 2
    assert "CHANGE-REQUEST" not in read_message(bytes(binding_request())).attributes


def test_requests_are_told_from_the_rest_by_their_first_bytes() -> None:
    for kind in stun.Class:
        assert is_request(bytes(stun.Message(stun.Method.BINDING, kind))) == (kind is stun.Class.REQUEST)
    assert not is_request(b"\0")


def test_a_message_over_the_limit_is_not_read_and_one_full_of_attributes_is_cheap() -> None:
    with pytest.raises(PeerFault) as fault:
        read_message(bytes(STUN_BYTES_MAX + 1))
    assert fault.value.fault is Fault.TOO_LARGE
    header = bytes(binding_request())[:20]
    body = b"\x80\x28\0\4abcd" * ((STUN_BYTES_MAX - 20) // 8)
    began = time.monotonic()
    with pytest.raises(PeerFault):
        read_message(header[:2] + len(body).to_bytes(2, "big") + header[4:] + body)
    assert time.monotonic() - began < 0.05


async def test_a_transaction_tells_its_latency_from_the_last_sending(quick: None) -> None:
    request = binding_request()
    sent_at: list[float] = []

    def send(_: bytes) -> None:
        sent_at.append(time.monotonic())
        if len(sent_at) == 3:
            transaction.on_response(answer_to(request), SERVER)

    transaction = Transaction(request, send)
    await transaction.run()
    assert 0 <= transaction.latency_s <= time.monotonic() - sent_at[2] < time.monotonic() - sent_at[0]
