"""Nodes of one cluster on a local network find each other by themselves, whatever the network does; real multicast."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from cis.api.peers.network_schema import ListPeers
from tests.net.lan.bed import Lan
from tests.net.lan.conftest import PATIENCE_S, Cluster, launch, wait_connected
from tests.net.nat.nodes import PORT, Node
from tests.net.nat.programs import wait_until

FOUND_S = 10.0
"""From up to authenticated; two seconds are the aim, on a machine that has nothing else to do."""


def holds_what(node: Node, other: Node) -> None:
    """What one writes now comes to the other."""
    keys = other.write(1, f"to-{node.name}")
    wait_until(lambda: node.holds(keys), PATIENCE_S, f"{node.name} to hold what {other.name} wrote")


@pytest.mark.timeout(180)
def test_two_nodes_on_one_network_authenticate_as_soon_as_the_second_is_up(
    lan: Lan, cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    cluster.ana.start(lan.host("a", "home"), {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "true"})
    host = lan.host("b", "home")
    began = time.monotonic()
    launch(cluster.ben, host)
    cluster.ben.wait_up()
    up = time.monotonic()
    wait_connected(cluster.ben, cluster.ana)
    done = time.monotonic()
    record_property("authenticated_s", round(done - began, 3))
    record_property("after_up_s", round(done - up, 3))
    assert done - up < FOUND_S
    assert cluster.ben.status().problems == {}


@pytest.mark.timeout(180)
def test_link_local_addresses_of_ipv6_are_enough(lan: Lan, cluster: Cluster) -> None:
    for node in (cluster.ana, cluster.ben):
        launch(node, lan.host(node.name, "six", ipv4=False))
    cluster.ana.wait_up()
    cluster.ben.wait_up()
    wait_connected(cluster.ben, cluster.ana)
    holds_what(cluster.ben, cluster.ana)


@pytest.mark.timeout(180)
def test_a_node_on_two_networks_finds_who_is_on_each(lan: Lan, cluster: Cluster) -> None:
    places = ((cluster.ana, ("home",)), (cluster.ben, ("home", "lab")), (cluster.cat, ("lab",)))
    for node, networks in places:
        launch(node, lan.host(node.name, *networks))
    for node in cluster.nodes:
        node.wait_up()
    wait_connected(cluster.ben, cluster.ana, cluster.cat)
    holds_what(cluster.cat, cluster.ana)


@pytest.mark.timeout(180)
def test_a_network_that_comes_while_the_node_runs_is_spoken_on(lan: Lan, cluster: Cluster) -> None:
    alone = lan.host("alone")
    launch(cluster.ana, alone)
    launch(cluster.ben, lan.host("b", "home"))
    cluster.ana.wait_up()
    cluster.ben.wait_up()
    lan.plug(alone.namespace, "eth7", "home")
    wait_connected(cluster.ana, cluster.ben)


@pytest.mark.timeout(180)
def test_an_interface_that_was_down_is_spoken_on_again(lan: Lan, cluster: Cluster) -> None:
    host = lan.host("a", "home")
    launch(cluster.ana, host)
    cluster.ana.wait_up()
    host.namespace.ip("link set eth0 down")
    launch(cluster.ben, lan.host("b", "home"))
    cluster.ben.wait_up()
    assert cluster.ana.status().connected == ()
    host.namespace.ip("link set eth0 up")
    wait_connected(cluster.ana, cluster.ben)
    host.namespace.ip("link set eth0 down")
    host.namespace.ip("link set eth0 up")
    holds_what(cluster.ana, cluster.ben)


@pytest.mark.timeout(180)
def test_a_node_is_found_at_the_address_it_changed_to(lan: Lan, cluster: Cluster) -> None:
    host = lan.host("a", "home")
    host.namespace.set({"ipv6/conf/all/disable_ipv6": "1"})
    launch(cluster.ana, host)
    cluster.ana.wait_up()
    host.namespace.ip(f"addr del {host.address}/24 dev eth0", "addr add 192.168.1.99/24 dev eth0")
    launch(cluster.ben, lan.host("b", "home"))
    cluster.ben.wait_up()
    wait_connected(cluster.ben, cluster.ana)
    (ana,) = [peer for peer in cluster.ben.call(ListPeers()) if peer.name == cluster.ana.name]
    assert ana.address == f"192.168.1.99:{PORT}"
