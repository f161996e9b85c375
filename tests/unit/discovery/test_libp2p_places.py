"""libp2p's addresses: only TCP at addresses that `dialable` lets pass is dialled, whoever names them."""

from __future__ import annotations

import pytest

from cis.discovery.libp2p.bounds import Bounds
from cis.discovery.libp2p.options import Libp2pOptions
from cis.discovery.libp2p.places import PUBLIC, Place, check_entry, read_place, write_place
from cis.errors import Unavailable, UsageError

PEER = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/ip4/192.0.2.7/tcp/4001", Place("192.0.2.7", 4001, "")),
        (f"/ip6/2001:db8::7/tcp/4001/p2p/{PEER}", Place("2001:db8::7", 4001, PEER)),
        ("/ip4/192.0.2.7/udp/4001/quic-v1", None),
        ("/ip4/192.0.2.7/tcp/4001/ws", None),
        ("/dns4/example.net/tcp/4001", None),
        ("/dnsaddr/example.net", None),
        ("/ip4/example.net/tcp/4001", None),
        ("/ip6/192.0.2.7/tcp/4001", None),
        ("/ip4/192.0.2.7/tcp/0", None),
        ("/ip4/192.0.2.7/tcp/65536", None),
        ("/ip4/192.0.2.7/tcp/٤٠٠١", None),
        (f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}/p2p-circuit", None),
        ("/ip4/192.0.2.7/tcp/4001/p2p/0OIl", None),
        ("", None),
        ("/" * 100_000, None),
    ],
)
def test_a_place_is_tcp_at_an_ip_address_and_nothing_else(text: str, place: Place | None) -> None:
    assert read_place(text) == place


def test_a_place_is_written_as_it_is_read() -> None:
    for host in ("192.0.2.7", "2001:db8::7"):
        assert read_place(write_place(host, 4001)) == Place(host, 4001, "")


@pytest.mark.parametrize(
    "text", [*PUBLIC, f"/ip4/10.0.0.7/tcp/4001/p2p/{PEER}", f"/dns/example.net/tcp/4001/p2p/{PEER}"]
)
def test_an_entry_point_says_where_and_whose(text: str) -> None:
    check_entry(text)


@pytest.mark.parametrize(
    "text",
    [
        "example.net:4001",
        "/ip4/10.0.0.7/tcp/4001",
        "/dnsaddr/example.net",
        f"/dns4/10.0.0.7/tcp/4001/p2p/{PEER}",
        f"/dns4/example.net/udp/4001/p2p/{PEER}",
        f"/dnsaddr/a b/p2p/{PEER}",
        f"/dnsaddr/example.net/p2p/{PEER[:-20]}_",
    ],
)
def test_what_does_not_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="/dnsaddr/NAME/p2p/ID"):
        check_entry(text)


@pytest.mark.parametrize(
    ("host", "public", "private", "loopback"),
    [
        ("93.184.216.34", True, True, True),
        ("10.0.0.7", False, True, True),
        ("fd12::7", False, True, True),
        ("127.0.0.1", False, False, True),
        ("::ffff:127.0.0.1", False, False, True),
        ("169.254.169.254", False, False, False),
        ("224.0.0.1", False, False, False),
        ("0.0.0.0", False, False, False),
        ("example.net", False, False, False),
    ],
)
def test_strangers_lead_to_private_addresses_only_in_a_network_of_ones_own_and_to_loopback_only_there(
    host: str, public: bool, private: bool, loopback: bool
) -> None:
    assert Bounds(private=False, loopback=False).allow(host, 4001) is public
    assert Bounds(private=True, loopback=False).allow(host, 4001) is private
    assert Bounds(private=True, loopback=True).allow(host, 4001) is loopback
    if ":" not in host:
        assert Bounds(private=True, loopback=True).allow_multiaddr(f"/ip4/{host}/tcp/4001") is loopback


def test_an_entry_point_of_the_users_own_may_be_private_and_that_very_port_alone() -> None:
    bounds = Bounds(private=False, loopback=False)
    assert bounds.add_entry(Place("10.0.0.7", 4001, PEER))
    assert bounds.allow("10.0.0.7", 4001)
    assert not bounds.allow("10.0.0.7", 22)
    assert not bounds.add_entry(Place("169.254.169.254", 80, PEER))
    assert not bounds.allow("169.254.169.254", 80)


def test_ones_own_entry_points_come_first_and_a_network_of_ones_own_has_no_public_ones() -> None:
    own = (f"/ip4/10.0.0.7/tcp/4001/p2p/{PEER}",)
    assert Libp2pOptions(own).begin().entries == own + PUBLIC
    assert not Libp2pOptions(own).begin().private
    assert Libp2pOptions(own, public_bootstrap=False).begin().entries == own
    assert Libp2pOptions(own, public_bootstrap=False).begin().private
    with pytest.raises(Unavailable, match=r"p2p\.discovery\.libp2p\.bootstrap"):
        Libp2pOptions(public_bootstrap=False).begin()
