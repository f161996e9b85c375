"""Peer exchange and static peers among whole nodes: who knows one member, or a name, comes to be connected with all."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cis.discovery.static import StaticPeer, StaticPeers
from cis.gossip.config import GossipConfig, ViewConfig
from cis.model import NodeId
from cis.node import meeting
from cis.node.driver import Driver
from cis.node.finding.contacts import Contacts
from cis.node.finding.records import RecordShelf
from cis.wire.gossip import ForwardJoin, GossipMessage, Shuffle, ShuffleAnswer
from tests.net.cluster import cluster, meet, running, until

pytestmark = pytest.mark.timeout(90)
PORT = 47_677
OFTEN = GossipConfig(views=ViewConfig(shuffle_s=1.0))
"""A shuffle takes a sample along: which one brings the last record is chance, and the next is a minute away."""


def linked(driver: Driver) -> set[NodeId]:
    return {link.node for link in driver.links.values()}


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[GossipMessage]:
    """Records travel in shuffles alone: neither are they told on, nor are joins forwarded."""
    told: list[GossipMessage] = []
    vetted = Contacts.vetted

    def shuffles_alone(self: Contacts, message: GossipMessage) -> GossipMessage | None:
        told.append(message)
        return None if isinstance(message, ForwardJoin) else vetted(self, message)

    monkeypatch.setattr(Contacts, "vetted", shuffles_alone)
    monkeypatch.setattr(meeting, "RECORDS_TOLD_ON_MAX", 0)
    monkeypatch.setattr(RecordShelf, "to_send", lambda self, candidates: [self.own(candidates)])
    return told


async def test_who_knows_one_member_learns_of_the_others_by_shuffles_and_connects_to_them(
    tmp_path: Path, exchanged: list[GossipMessage]
) -> None:
    nodes = await cluster(tmp_path, "hub", "ana", "ben", "cat")
    for node in nodes:
        node.home.bootstrap.unlink(missing_ok=True)
    hub, *others = nodes
    async with AsyncExitStack() as stack:
        there, *knowing = [await stack.enter_async_context(running(node, gossip=OFTEN)) for node in (hub, *others)]
        for one in knowing:
            meet(one, there)
        everybody = {node.identity.node for node in nodes}
        await until(lambda: all(linked(one) | {one.local.identity.node} == everybody for one in knowing))
    shuffled = [one for one in exchanged if isinstance(one, Shuffle | ShuffleAnswer)]
    assert any(raw for one in shuffled for _, raw in one.contacts), "records came along"
    for node in nodes:
        node.close()


async def test_a_name_that_leads_elsewhere_while_the_node_runs_leads_to_a_connection_there(tmp_path: Path) -> None:
    here, there = await cluster(tmp_path, "here", "there")
    for node in (here, there):
        node.home.bootstrap.unlink(missing_ok=True)
    hosts = ["127.0.0.9"]

    async def resolve(host: str, _: int) -> list[str]:
        assert host == "there.home.example"
        return list(hosts)

    peers = StaticPeers([StaticPeer("there.home.example", PORT, name="there")], interval_s=0.1, resolve=resolve)
    async with running(here, providers=(peers,)) as driver:
        for host in ("127.0.0.2", "127.0.0.3"):
            async with running(there, host=host, port=PORT) as other:
                assert not linked(driver), "nobody is where the name leads yet"
                hosts[:] = [host]
                await until(lambda: linked(driver) == {there.identity.node} and linked(other))
            await until(lambda: not linked(driver))
    here.close()
    there.close()
