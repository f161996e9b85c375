"""Who is let in."""

from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.net.admission import Admission, Occupant, admit, network_of
from cis.net.limits import NetLimits, Refusal

LIMITS = NetLimits(connections_max=10, connections_per_address_max=3, unauthenticated_max=5, retry_above=2)


def _stranger(network: str) -> Occupant:
    return Occupant(network, accepted=True, authenticated=False)


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
        ([_dialled("a")] * 3, True, Refusal.ADDRESS),
        ([_friend("b")] * 9, False, Admission.ACCEPT),
        ([_stranger("b")] * 2, False, Admission.PROVE_ADDRESS),
        ([_stranger("b")] * 2, True, Admission.ACCEPT),
        ([_stranger("b")] * 5, True, Refusal.UNAUTHENTICATED),
        ([_dialled("b")] * 5, False, Admission.ACCEPT),
    ],
)
def test_the_first_limit_that_is_reached_decides(
    occupants: list[Occupant], proven: bool, verdict: Admission | Refusal
) -> None:
    assert admit("a", occupants, LIMITS, address_proven=proven) is verdict


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
