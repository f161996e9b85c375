"""Signals come back as they were sent, keep to their limits, and show no passwords."""

from __future__ import annotations

import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.wire.signals import (
    CANDIDATES_MAX,
    REASON_MAX,
    SIGNAL_BYTES_MAX,
    WAYS_MAX,
    Answer,
    IceCandidate,
    Meet,
    More,
    Offer,
    Refuse,
    Signal,
    Waits,
    Way,
    decode_signal,
    encode_signal,
)

SESSION = bytes(range(16))
HOST = IceCandidate("host0", 2130706431, "192.168.1.7", 7677, "host")
RELAY = IceCandidate("relay0", 16777215, "2001:db8::7", 40000, "relay")
LONGEST = IceCandidate("f" * 32, (1 << 32) - 1, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65535, "mapped")
PASSWORD = "secret" * 5
CHANNEL = b"channel!" * 4

SIGNALS: list[Signal] = [
    Offer(SESSION, "ufrag", PASSWORD, (HOST, RELAY), restart=True),
    Answer(SESSION, "ufrag", PASSWORD, ()),
    More(SESSION, (RELAY,), last=False),
    Refuse(SESSION, "it is closed"),
    Meet(SESSION, CHANNEL, (Way("websocket", "anchor.example.net"), Way("other", "x" * 255))),
    Waits(SESSION, 3),
]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda one: type(one).__name__)
def test_a_signal_comes_back_as_it_was_sent(signal: Signal) -> None:
    assert decode_signal(encode_signal(signal)) == signal


def test_the_largest_signal_fits() -> None:
    largest = Offer(SESSION, "u" * 256, "p" * 256, (LONGEST,) * CANDIDATES_MAX, restart=True)
    assert len(encode_signal(largest)) <= SIGNAL_BYTES_MAX
    assert decode_signal(encode_signal(largest)) == largest


@pytest.mark.parametrize(
    "signal",
    [
        More(SESSION, (HOST,) * (CANDIDATES_MAX + 1), last=True),
        More(SESSION[:15], (), last=True),
        Refuse(SESSION, "x" * (REASON_MAX + 1)),
        Meet(SESSION, CHANNEL[:31], ()),
        Meet(SESSION, CHANNEL, (Way("websocket", "here"),) * (WAYS_MAX + 1)),
        Meet(SESSION, CHANNEL, (Way("Web Socket", "here"),)),
        Meet(SESSION, CHANNEL, (Way("websocket", "x" * 256),)),
        Waits(SESSION, WAYS_MAX),
        Waits(SESSION, -1),
        Offer(SESSION, "u" * 257, PASSWORD, (), restart=False),
        Offer(SESSION, "abc", PASSWORD, (), restart=False),
        Offer(SESSION, "ufrag:x", PASSWORD, (), restart=False),
        Answer(SESSION, "ufrag", "p" * 257, ()),
        Answer(SESSION, "ufrag", "p" * 21, ()),
        Answer(SESSION, "ufrag", PASSWORD + "\n", ()),
    ],
)
def test_a_signal_over_its_limits_is_a_fault(signal: Signal) -> None:
    with pytest.raises(PeerFault) as fault:
        decode_signal(encode_signal(signal))
    assert fault.value.fault is Fault.MALFORMED


@pytest.mark.parametrize(
    "fields",
    [
        ["f", 1, "example.org", 9, "host"],
        ["f", 1, "", 9, "host"],
        ["f", 1, "fe80::1%eth0", 9, "host"],
        ["f", 1, "192.0.2.1", 0, "host"],
        ["f", 1, "192.0.2.1", 65536, "host"],
        ["f", 0, "192.0.2.1", 9, "host"],
        ["f", 1 << 32, "192.0.2.1", 9, "host"],
        ["f", 1, "192.0.2.1", 9, "tcp"],
        ["f", 1, "192.0.2.1", 9, "srflx", "attacker.example", 9],
        ["f" * 33, 1, "192.0.2.1", 9, "host"],
        ["f|", 1, "192.0.2.1", 9, "host"],
    ],
)
def test_a_candidate_is_an_address_and_a_port_and_nothing_else(fields: list[object]) -> None:
    with pytest.raises(PeerFault):
        decode_signal(msgspec.msgpack.encode([82, SESSION, [fields], True]))


def test_a_signal_that_is_too_long_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PeerFault) as fault:
        decode_signal(bytes(SIGNAL_BYTES_MAX + 1))
    assert fault.value.fault is Fault.TOO_LARGE


@pytest.mark.parametrize("signal", [*SIGNALS[:3], SIGNALS[4]], ids=lambda one: type(one).__name__)
def test_the_repr_of_a_signal_shows_no_secret_and_no_address(signal: Signal) -> None:
    assert PASSWORD not in repr(signal)
    assert CHANNEL.decode() not in repr(signal)
    assert HOST.host not in repr(signal)
    assert RELAY.host not in repr(signal)
