"""One cluster of three homes for all tests of a session, on local networks made for each; skipped where none can be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from cis.api.peers.network_schema import Invite
from tests.net.lan.bed import Lan
from tests.net.nat import namespaces
from tests.net.nat.internet import Host
from tests.net.nat.nodes import Node, stop
from tests.net.nat.programs import wait_until

PATIENCE_S = 40.0
NEARBY = {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "true"}


@dataclass(frozen=True)
class Cluster:
    """Members who know each other by name, and nobody's address."""

    ana: Node
    ben: Node
    cat: Node

    @property
    def nodes(self) -> tuple[Node, Node, Node]:
        """All three."""
        return self.ana, self.ben, self.cat


def launch(node: Node, host: Host) -> None:
    """Begin to start a node that knows nobody's address and may find others by mDNS alone."""
    node.launch(host, NEARBY)


def wait_connected(node: Node, *others: Node) -> None:
    """Wait until a node has authenticated connections with exactly these."""
    names = {other.name for other in others}
    wait_until(lambda: set(node.status().connected) == names, PATIENCE_S, f"{node.name} to know {names}")


@pytest.fixture
def lan() -> Iterator[Lan]:
    if reason := namespaces.unfit():
        pytest.skip(reason)
    with Lan() as made:
        yield made


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ana founds a cluster and lets the others in."""
    if reason := namespaces.unfit():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lan")
    cluster = Cluster(*(Node(name, folder / name) for name in ("ana", "ben", "cat")))
    with Lan() as lan:
        hosts = [lan.host(node.name, "home") for node in cluster.nodes]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_init, cluster.nodes, hosts))
        cluster.ana.start(hosts[0])
        try:
            for node, host in list(zip(cluster.nodes, hosts, strict=True))[1:]:
                ticket = cluster.ana.call(Invite(name=node.name)).ticket
                node.cis(host.namespace, "join", ticket, "--yes")
                _meet(node, host, cluster.ana)
        finally:
            stop(cluster.nodes)
    yield cluster
    stop(cluster.nodes)


@pytest.fixture
def cluster(homes: Cluster) -> Iterator[Cluster]:
    """The members, stopped before and after."""
    yield homes
    stop(homes.nodes)


def _init(node: Node, host: Host) -> None:
    node.cis(host.namespace, "init", "--name", node.name)


def _meet(node: Node, host: Host, founder: Node) -> None:
    """Let a new member learn who the others are, and them of it."""
    node.start(host, forget=False)
    wait_until(lambda: founder.name in node.status().connected, PATIENCE_S, "the new member to connect")
