"""The test bed is what it says: each router maps and filters as its kind is named, and the counters count."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.net.nat import namespaces, stun
from tests.net.nat.delaylink import Gilbert, Weather
from tests.net.nat.internet import Host, Internet, grown
from tests.net.nat.namespaces import BedError
from tests.net.nat.servers import TURN_HOST, TURN_OTHER_HOST, TURN_PORT, Coturn

FIRST, SECOND = (TURN_HOST, TURN_PORT), (TURN_OTHER_HOST, TURN_PORT)
OTHER_PORT, OTHER_BOTH = 2, 6
QUIET_S = 0.15
"""how long nothing is waited for"""
COMES_S = 3.0


def udp(host: Host, port: int = 0) -> socket.socket:
    """A UDP socket of a host."""
    with host.namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    return sock


def heard(sock: socket.socket, *, expected: bool = True) -> tuple[bytes, stun.Address] | None:
    """What comes; where nothing is expected, within a moment."""
    sock.settimeout(COMES_S if expected else QUIET_S)
    try:
        return sock.recvfrom(2048)
    except OSError:
        return None


def answers(sock: socket.socket, change: int, *, expected: bool) -> bool:
    """Whether an answer gets in that comes from elsewhere than it was asked for."""
    return stun.mapped(sock, FIRST, change=change, patience_s=COMES_S if expected else QUIET_S) is not None


# kind: mapped alike for all; lets in another port of one that was spoken to; lets in anybody
BEHAVIOUR = {
    "none": (True, True, True),
    "full": (True, True, True),
    "arc": (True, True, False),
    "cone": (True, False, False),
    "sym": (False, False, False),
    "cgnat": (True, False, False),
    "conehair": (True, False, False),
    "cgnathair": (True, False, False),
    "coneupnp": (True, False, False),
    "symupnp": (False, False, False),
}


@pytest.mark.parametrize("kind", BEHAVIOUR)
def test_a_router_maps_and_filters_as_its_kind_is_named(internet: Internet, coturn: Coturn, kind: str) -> None:
    with udp(internet.host(kind, "A")) as sock:
        seen = stun.mapped(sock, FIRST)
        assert seen is not None
        assert seen[0] == internet.host(kind, "A").edge.address
        alike, port, both = BEHAVIOUR[kind]
        assert answers(sock, OTHER_PORT, expected=port) is port
        assert answers(sock, OTHER_BOTH, expected=both) is both
        assert (seen == stun.mapped(sock, SECOND)) is alike


def test_where_udp_is_blocked_tcp_still_passes(internet: Internet, coturn: Coturn) -> None:
    host = internet.host("blocked", "A")
    with udp(host) as sock:
        assert stun.mapped(sock, FIRST, patience_s=QUIET_S) is None
    with host.namespace.entered(), socket.create_connection(FIRST, timeout=COMES_S):
        pass


@pytest.mark.parametrize(
    ("kind", "turned"), [("cone", False), ("conehair", True), ("cgnat", False), ("cgnathair", True)]
)
def test_neighbours_reach_each_others_outer_address_only_where_the_router_hairpins(
    internet: Internet, coturn: Coturn, kind: str, turned: bool
) -> None:
    with udp(internet.host(kind, "A"), 7677) as first, udp(internet.host(kind, "A", 2), 7677) as second:
        outer = [stun.mapped(sock, FIRST) for sock in (first, second)]
        assert None not in outer
        assert outer[0] != outer[1]
        for sock, remote in ((first, outer[1]), (second, outer[0])) * 2:  # the first ones open the homes' own routers
            sock.sendto(b"hello", remote)
        assert heard(first, expected=turned) == ((b"hello", outer[1]) if turned else None)
        assert heard(second, expected=turned) == ((b"hello", outer[0]) if turned else None)


def test_two_hosts_on_one_port_behind_a_full_cone_are_both_reached(internet: Internet, coturn: Coturn) -> None:
    stranger = internet.host("none", "A")
    hosts = internet.host("full", "A"), internet.host("full", "A", 2)
    with udp(hosts[0], 7677) as first, udp(hosts[1], 7677) as second, udp(stranger) as outside:
        for sock, word in ((first, b"one"), (second, b"two")):
            outside.sendto(word, stun.mapped(sock, FIRST))
            assert (heard(sock) or b"")[0] == word
            sock.sendto(word, (stranger.address, outside.getsockname()[1]))
            assert heard(outside) == (word, stun.mapped(sock, FIRST))


def punched(first: Host, second: Host, *, expected: bool) -> bool:
    """Whether both, told each other's reflexive address, get through."""
    with udp(first, 7677) as one, udp(second, 7677) as other:
        outer = [stun.mapped(sock, FIRST) for sock in (one, other)]
        for sock, remote in ((one, outer[1]), (other, outer[0])) * 2:
            sock.sendto(b"punch", remote)
        return all(heard(sock, expected=expected) is not None for sock in (one, other))


@pytest.mark.parametrize(
    ("first", "second", "through"),
    [("coneA", "coneB", True), ("cgnatA", "coneB", True), ("coneA", "symB", False), ("symA", "symB", False)],
)
def test_plain_hole_punching_works_where_theory_says_so(
    internet: Internet, coturn: Coturn, first: str, second: str, through: bool
) -> None:
    assert punched(internet.host_named(first), internet.host_named(second), expected=through) is through


def test_counters_tell_direct_bytes_from_relayed_ones(internet: Internet, coturn: Coturn) -> None:
    first, second = internet.host("cone", "A"), internet.host("none", "A")
    before, carried = first.edge.traffic(), coturn.carried()
    with udp(first) as one, udp(second) as other:
        one.sendto(bytes(1000), (second.address, other.getsockname()[1]))
        port = other.getsockname()[1]
        assert heard(other) is not None
    passed = grown(before, first.edge.traffic())
    assert passed == {(second.address, "udp", port): 1028}
    assert coturn.carried() == carried


def test_a_rebooted_router_has_forgotten_its_mappings(internet: Internet, coturn: Coturn) -> None:
    host, stranger = internet.host("full", "A"), internet.host("none", "A")
    with udp(host) as sock, udp(stranger) as outside:
        outer = stun.mapped(sock, FIRST)
        outside.sendto(b"x", outer)
        assert heard(sock) is not None
        host.router.reboot()
        outside.sendto(b"x", outer)
        assert heard(sock, expected=False) is None
        assert stun.mapped(sock, FIRST) is not None


def test_a_router_that_moved_is_seen_under_its_new_address(internet: Internet, coturn: Coturn) -> None:
    host = internet.host("cone", "M")
    with udp(host) as sock:
        before = host.edge.address
        assert (stun.mapped(sock, FIRST) or "")[0] == before
        host.router.move(internet.next_address())
        assert (stun.mapped(sock, FIRST) or "")[0] == host.edge.address != before


def test_an_interface_comes_back(internet: Internet, coturn: Coturn) -> None:
    host = internet.host("cone", "A")
    with udp(host) as sock:
        host.unplug()
        assert stun.mapped(sock, FIRST, patience_s=QUIET_S) is None
        host.plug()
        assert stun.mapped(sock, FIRST, patience_s=COMES_S) is not None


def test_a_line_delays_and_loses(internet: Internet, coturn: Coturn) -> None:
    host = internet.host("cone", "W", link=True)
    link = host.router.link
    with udp(host) as sock:
        assert stun.mapped(sock, FIRST) is not None
        link.set(Weather(delay_s=0.1))
        began = time.monotonic()
        assert stun.mapped(sock, FIRST) is not None
        assert time.monotonic() - began >= 0.2
        link.set(Weather(loss=1.0))
        assert stun.mapped(sock, FIRST, patience_s=QUIET_S) is None
        link.set(Weather())
        assert stun.mapped(sock, FIRST) is not None


@pytest.mark.parametrize("loss", [0.001, 0.02, 0.2])
def test_loss_is_as_much_as_asked_for_and_in_bursts(loss: float) -> None:
    state, weather = Gilbert(Random(1)), Weather(loss=loss, burst=4)
    lost = [state.loses(weather) for _ in range(400_000)]
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.25)
    assert sum(lost) / bursts == pytest.approx(4, rel=0.15)


def test_a_router_opens_a_port_when_asked(internet: Internet, coturn: Coturn) -> None:
    host, stranger = internet.host("symupnp", "A"), internet.host("none", "A")
    with udp(host, 7677) as sock, udp(stranger) as outside, udp(host) as asking:
        outside.sendto(b"early", (host.edge.address, 7677))
        assert heard(sock, expected=False) is None
        asking.settimeout(COMES_S)
        asking.sendto(bytes.fromhex("0001 0000 1dfd 1dfd 0000 003c"), ("192.168.1.1", 5351))  # NAT-PMP: UDP 7677
        assert asking.recv(64)[:4] == bytes.fromhex("0081 0000")
        outside.sendto(b"late", (host.edge.address, 7677))
        assert (heard(sock) or b"")[0] == b"late"


def test_what_a_dead_process_left_is_swept_away_and_nothing_else(internet: Internet) -> None:
    script = "from tests.net.nat import namespaces; import os; namespaces.make('left'); print(os.getpid()); os._exit(1)"
    pid = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout.strip()
    left = f"cis-{pid}-left"
    assert Path("/run/netns", left).exists()
    namespaces.sweep()
    assert not Path("/run/netns", left).exists()
    assert Path("/run/netns", internet.core.name).exists()


def test_a_name_that_names_no_host_is_refused(internet: Internet) -> None:
    with pytest.raises(BedError, match="names no host"):
        internet.host_named("cometA")


def test_where_none_can_be_built_the_reason_is_said(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert namespaces.unfit() == "not installed: ip, nft"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert namespaces.unfit() == "network namespaces need root"
