"""Who is let in."""

from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.net.admission import PRESSED_S, Admission, Evict, Newcomer, Occupant, admit, network_of
from cis.net.limits import NetLimits, Refusal

LIMITS = NetLimits(connections_max=10, connections_per_address_max=3, unauthenticated_max=5, retry_above=2)


def _stranger(network: str, who: object = None, age_s: float = 0.0) -> Occupant:
    return Occupant(network, accepted=True, authenticated=False, age_s=age_s, who=who)


def _friend(network: str) -> Occupant:
    return Occupant(network, accepted=True, authenticated=True)


def _dialled(network: str) -> Occupant:
    return Occupant(network, accepted=False, authenticated=False)


@pytest.mark.parametrize(
    ("occupants", "proven", "verdict"),
    [
        ([], False, Admission.ACCEPT),
        ([_friend("b")] * 10, True, Refusal.CONNECTIONS),
        ([_friend("a")] * 3, True, Refusal.ADDRESS),
        ([_friend("a")] * 3, False, Admission.PROVE_ADDRESS),
        ([_friend("b")] * 9, False, Admission.ACCEPT),
        ([_stranger("b")] * 2, False, Admission.PROVE_ADDRESS),
        ([_stranger("b")] * 2, True, Admission.ACCEPT),
        ([_stranger(one) for one in "bcdef"], True, Refusal.UNAUTHENTICATED),
        ([_stranger(one) for one in "bcdef"], False, Admission.PROVE_ADDRESS),
        ([_friend("b")] * 6 + [_stranger(one) for one in "cdef"], True, Refusal.UNAUTHENTICATED),
    ],
)
def test_the_first_limit_that_is_reached_decides(
    occupants: list[Occupant], proven: bool, verdict: Admission | Refusal
) -> None:
    assert admit(Newcomer("a", proven), occupants, LIMITS) is verdict


def test_who_came_to_nothing_too_often_is_refused_at_once() -> None:
    for proven in (False, True):
        assert admit(Newcomer("a", proven, failed=True), [], LIMITS) is Refusal.FAILED


@pytest.mark.parametrize("network", ["a", "b"])
def test_dials_of_our_own_take_no_place_of_a_newcomers(network: str) -> None:
    assert admit(Newcomer("a", address_proven=True), [_dialled(network)] * 10, LIMITS) is Admission.ACCEPT


def test_a_forged_address_takes_no_place_of_the_real_one() -> None:
    forged = [Occupant("a", accepted=True, authenticated=False, proven=False)] * 3
    assert admit(Newcomer("a", address_proven=False), forged, LIMITS) is Admission.PROVE_ADDRESS
    assert admit(Newcomer("a", address_proven=True), forged, LIMITS) is Admission.ACCEPT


def test_who_holds_most_places_of_strangers_gives_way_to_who_holds_fewer() -> None:
    held = [_stranger(network, who) for who, network in enumerate("bcccd")]
    assert admit(Newcomer("a", address_proven=True), held, LIMITS) == Evict(1)
    assert admit(Newcomer("b", address_proven=True), held, LIMITS) == Evict(1)
    assert admit(Newcomer("c", address_proven=True), held, LIMITS) is Refusal.ADDRESS


def test_where_all_hold_one_place_the_oldest_gives_way_after_its_time() -> None:
    held = [_stranger(network, network, age_s=PRESSED_S) for network in "bcdef"]
    assert admit(Newcomer("a", address_proven=True), held, LIMITS) == Evict("b")
    early = [_stranger(network, network, age_s=PRESSED_S / 2) for network in "bcdef"]
    assert admit(Newcomer("a", address_proven=True), early, LIMITS) is Refusal.UNAUTHENTICATED


def test_an_ipv6_network_is_one_party() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")


def test_limits_under_which_nothing_moves_are_refused() -> None:
    with pytest.raises(UsageError):
        NetLimits(stream_window_bytes=1000)
    with pytest.raises(UsageError):
        NetLimits(keepalive_s=0)


def test_the_bound_on_unread_bytes_covers_two_windows_in_flight() -> None:
    limits = NetLimits()
    bound = limits.buffered_per_connection_max_bytes
    assert limits.pause_above_bytes + 2 * limits.window_bytes <= bound
    assert limits.pause_above_bytes > 0
