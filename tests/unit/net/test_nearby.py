"""Which addresses are of this machine's own networks."""

from __future__ import annotations

import ipaddress

import pytest

from cis.net.nearby import FRESH_S, Nearby, interface_networks

SUBNETS = ("192.168.1.0/24", "10.8.0.2/32", "8.8.4.0/24", "fd00:1::/64", "2001:db8:5::/64", "fe80::/64")


def _nearby(*subnets: str) -> Nearby:
    networks = [ipaddress.ip_network(text) for text in subnets]
    return Nearby(lambda: 0.0, lambda: networks)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%eth0", "169.254.3.4"),
        *("192.168.1.77", "::ffff:192.168.1.77", "fd00:1::7", "2001:db8:5::7"),
    ],
)
def test_loopback_and_the_subnets_of_interfaces_are_near(host: str) -> None:
    assert _nearby(*SUBNETS).covers(host)


@pytest.mark.parametrize(
    "host", ["192.168.2.1", "10.8.0.2", "8.8.4.9", "fd00:2::7", "2001:db8:6::7", "8.8.8.8", "example", ""]
)
def test_other_sites_and_tunnels_and_public_neighbours_are_not(host: str) -> None:
    assert not _nearby(*SUBNETS).covers(host)


def test_another_network_is_noticed_after_a_while() -> None:
    now, networks = 0.0, [ipaddress.ip_network("192.168.1.0/24")]
    nearby = Nearby(lambda: now, lambda: networks)
    assert nearby.covers("192.168.1.7")
    networks[:] = [ipaddress.ip_network("10.0.0.0/8")]
    now = FRESH_S - 1
    assert nearby.covers("192.168.1.7")
    now = FRESH_S
    assert not nearby.covers("192.168.1.7")
    assert nearby.covers("10.1.2.3")


def test_the_interfaces_of_this_machine_can_be_read() -> None:
    assert any(network.is_loopback for network in interface_networks())
