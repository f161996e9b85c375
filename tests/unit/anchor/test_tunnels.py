"""The channels of an anchor's tunnel: two who know an id, and bounds on what they and everybody else may take."""

from __future__ import annotations

import os

import msgspec
import pytest

from cis.anchor.limits import AddressRates, AnchorLimits
from cis.anchor.tunnel import (
    BUNDLE_BYTES_MAX,
    DATAGRAM_BYTES_MAX,
    Attach,
    Attached,
    bundled,
    decode_attached,
    encode,
    unbundled,
)
from cis.anchor.tunnels import NOBODY, Passage, Tunnels
from cis.errors import Denied, PeerFault

ID, OTHER_ID = b"i" * 32, b"j" * 32
TOKEN = "a-token-of-some-length"


def tunnels(*, token: bool = False, **limits: float) -> Tunnels:
    bounds = msgspec.convert(limits, AnchorLimits)
    problem = (lambda given, *_: None if given == TOKEN else "it wants a token") if token else None
    return Tunnels(bounds, AddressRates(bounds), problem)


def come(found: Tunnels, id_: bytes = ID, *, opens: bool, host: str = "192.0.2.1", now: float = 1.0) -> Passage:
    passage = found.connect(host, now)
    found.attach(passage, encode(Attach(1, "", id_, opens)), now)
    return passage


def pair(found: Tunnels, now: float = 1.0) -> tuple[Passage, Passage]:
    ends = come(found, opens=True, now=now), come(found, opens=False, now=now)
    for end in ends:
        assert decode_attached(found.sent(end) or b"") == Attached()
    return ends


def test_what_one_end_says_the_other_hears_as_it_was_said() -> None:
    found = tunnels()
    first, second = pair(found)
    assert found.take(first, b"one", 1.0) == 0.0
    found.take(second, b"two", 1.0)
    assert (found.sent(second), found.sent(first), found.sent(first)) == (b"one", b"two", None)
    assert (found.channels, found.waiting, found.counts["joined"]) == (1, 0, 1)


def test_who_does_not_know_the_id_gets_nothing_and_is_told_nothing() -> None:
    found = tunnels()
    waiting = come(found, opens=True)
    guesses = [come(found, os.urandom(32), opens=False) for _ in range(5)]
    assert {guess.ending for guess in guesses} == {NOBODY}
    second = come(found, opens=False)
    late = come(found, opens=False), come(found, opens=True)
    assert {one.ending for one in late} == {NOBODY}, "a channel has two ends"
    found.take(waiting, b"secret", 1.0)
    assert [found.sent(one) for one in (*guesses, *late)] == [None] * 7
    assert (waiting.ending, second.ending) == (None, None)
    for guess in guesses:
        found.take(guess, b"data", 1.0)
    assert found.sent(waiting) == encode(Attached())
    assert found.sent(waiting) is None


def test_guesses_are_counted() -> None:
    found = tunnels(tunnels_per_minute=10, tunnels_per_address=99)
    for _ in range(10):
        come(found, os.urandom(32), opens=False)
    with pytest.raises(Denied, match="too many"):
        come(found, ID, opens=False)
    come(found, opens=True, host="192.0.2.9")


@pytest.mark.parametrize(
    "data", [b"", b"\x00", encode(Attach(2, "", ID, opens=True)), encode(Attached()), b"\xff" * 9999]
)
def test_who_begins_with_something_else_is_let_in_nowhere(data: bytes) -> None:
    found = tunnels()
    passage = found.connect("192.0.2.1", 1.0)
    found.attach(passage, data, 1.0)
    assert passage.ending
    assert found.channels == 0


def test_where_tokens_are_wanted_none_comes_without() -> None:
    found = tunnels(token=True)
    assert come(found, opens=True).ending == "it wants a token"
    passage = found.connect("192.0.2.1", 1.0)
    found.attach(passage, encode(Attach(1, TOKEN, ID, opens=True)), 1.0)
    assert passage.ending is None


def test_there_are_only_so_many_channels_and_ends() -> None:
    found = tunnels(tunnels_max=2, tunnels_per_address=3, tunnels_per_minute=99)
    come(found, ID, opens=True)
    come(found, OTHER_ID, opens=True)
    assert "as many channels" in str(come(found, bytes(32), opens=True).ending)
    with pytest.raises(Denied, match="at this address"):
        found.connect("192.0.2.1", 1.0)
    found.connect("192.0.2.2", 1.0)
    with pytest.raises(Denied, match="as it may"):
        found.connect("192.0.2.3", 1.0)


def test_who_sends_fast_is_slowed_down_to_the_rate() -> None:
    found = tunnels(tunnel_bytes_per_s=100_000)
    first, second = pair(found, now=0.0)
    now = sent = 0.0
    while now < 10.0:
        now += found.take(first, bytes(BUNDLE_BYTES_MAX), now) + 0.001
        sent += BUNDLE_BYTES_MAX
        found.sent(second)
    assert 0.8e6 < sent < 1.3e6


def test_all_together_are_slowed_down_too() -> None:
    found = tunnels(tunnels_bytes_per_s=100_000)
    ends = [
        (come(found, bytes([n]) * 32, opens=True, now=0.0), come(found, bytes([n]) * 32, opens=False, now=0.0))
        for n in range(4)
    ]
    free_at, sent = [0.0] * 4, 0
    for step in range(10_000):
        now = step / 1000
        for n, (first, second) in enumerate(ends):
            if now >= free_at[n]:
                free_at[n] = now + found.take(first, bytes(BUNDLE_BYTES_MAX), now)
                sent += BUNDLE_BYTES_MAX
                found.sent(second)
    assert 0.8e6 < sent < 1.3e6


def test_what_the_other_end_does_not_take_is_dropped_and_no_more_is_kept_than_may() -> None:
    found = tunnels(tunnel_queue_bytes=100_000, tunnels_queues_bytes_max=150_000)
    first, second = pair(found)
    for _ in range(100):
        found.take(first, bytes(10_000), 1.0)
        found.take(second, bytes(10_000), 1.0)
    assert max(first.queued, second.queued) <= 100_000
    assert 140_000 < found.waiting <= 150_000
    assert found.counts["dropped_bytes"] == 2_000_000 - found.waiting
    found.leave(first)
    found.leave(second)
    assert found.waiting == 0


def test_a_connection_carries_so_much_and_no_more() -> None:
    found = tunnels(tunnel_bytes_max=100_000)
    first, second = pair(found)
    for _ in range(1000):
        found.take(first, b"", 1.0)
    assert "as much as one channel may" in str(first.ending), "what says nothing costs too"
    found.leave(first)
    assert second.ending == "the other end has left"
    assert found.channels == 0


def test_nobody_waits_for_long_and_nothing_stays_open_that_carries_nothing() -> None:
    found = tunnels(tunnel_wait_s=20, tunnel_idle_s=60)
    alone = come(found, OTHER_ID, opens=True, now=0.0)
    first, second = pair(found, now=0.0)
    found.tick(19.0)
    assert found.channels == 2
    found.tick(21.0)
    assert (alone.ending, found.channels) == ("nobody came", 1)
    found.take(second, b"x", 50.0)
    found.tick(100.0)
    assert (first.ending, found.channels) == (None, 1)
    found.tick(111.0)
    assert {end.ending for end in (first, second)} == {"nothing was sent for a while"}
    assert found.channels == 0


def test_what_is_left_behind_is_forgotten() -> None:
    found = tunnels()
    first, second = pair(found)
    found.take(first, b"x", 1.0)
    for end in (first, second):
        found.leave(end)
    assert (found.channels, found.waiting, found._connected.total()) == (0, 0, 0)
    pair(found)


def test_datagrams_come_out_of_bundles_as_they_went_in() -> None:
    datagrams = [bytes([n % 251]) * (1 + n * 37 % 1452) for n in range(200)]
    bundles = list(bundled(datagrams))
    assert all(len(one) <= BUNDLE_BYTES_MAX for one in bundles)
    assert [one for bundle in bundles for one in unbundled(bundle)] == datagrams
    assert list(bundled([b"", bytes(DATAGRAM_BYTES_MAX + 1)])) == []


@pytest.mark.parametrize("bundle", [b"", b"\x00", b"\x00\x00rest", b"\x00\x05four", b"\xff\xff" + bytes(70000)])
def test_a_bundle_that_is_none_has_no_datagrams(bundle: bytes) -> None:
    assert unbundled(bundle) == []
    assert unbundled(b"\x00\x02ab" + bundle) == [b"ab"]


@pytest.mark.parametrize(
    "data", [b"", b"\x91\x13", encode(Attach(1, "", ID, opens=True)), b"\x91\xcc\x14" + bytes(2000)]
)
def test_an_answer_that_is_none_is_a_fault(data: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_attached(data)
