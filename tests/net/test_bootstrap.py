"""Nodes that come back by their peer book alone: who they joined through is dead, and nothing else tells of anybody."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cis.model import NodeId, did_of
from cis.node.driver import Driver
from cis.node.home.local import LocalNode
from cis.node.paths import measuring
from cis.peers import State
from tests.net.cluster import cluster, meet, put, running, until, value

pytestmark = pytest.mark.timeout(90)
DEAD = "127.0.0.1:9"


def rows(local: LocalNode) -> Any:
    return json.loads(local.home.bootstrap.read_text())["peers"]


def whole(drivers: list[Driver]) -> bool:
    return all(len(driver.core.connected()) >= len(drivers) - 1 for driver in drivers)


def tell_of(first: Driver, others: list[Driver]) -> None:
    for other in others:
        meet(other, first)


async def meet_and_part(nodes: list[LocalNode]) -> dict[NodeId, int]:
    """Run all nodes, told of the first alone, until each is connected with all; returns the ports they had."""
    async with AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(running(local)) for local in nodes]
        tell_of(drivers[0], drivers[1:])
        await until(lambda: whole(drivers))
        return {driver.local.identity.node: driver.endpoint.address[1] for driver in drivers}


async def test_with_all_it_joined_through_dead_a_node_comes_back_by_its_book(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "first", "second", "third", "fourth")
    first, second, third, fourth = nodes
    ports = await meet_and_part(nodes)
    assert {row["name"] for row in rows(fourth)} == {"first", "second", "third"}
    async with (
        running(second, port=ports[second.identity.node]) as two,
        running(third, port=ports[third.identity.node]) as three,
        running(fourth) as four,
    ):
        await until(lambda: whole([two, three, four]))
        await put(second, "news", b"told")
        await until(lambda: value(fourth, "news") == b"told")
        lost = four.core.book.get(first.identity.node)
        assert lost is not None
        assert lost.state is State.INACTIVE, "an earlier run reached it, this one does not"
    order = [row["name"] for row in rows(fourth)]
    assert set(order) == {"first", "second", "third"}
    for local in nodes:
        local.close()


async def test_the_cluster_stays_whole_when_the_node_all_joined_through_ends(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "first", "second", "third")
    first, second, third = nodes
    async with running(second) as two, running(third) as three:
        async with running(first) as one:
            tell_of(one, [two, three])
            await until(lambda: whole([one, two, three]))
        await put(third, "after", b"1")
        await until(lambda: value(second, "after") == b"1")
        assert third.identity.node in two.core.connected()
    for local in nodes:
        local.close()


async def test_what_a_user_wrote_by_hand_is_dialled_and_what_made_no_sense_is_a_problem(tmp_path: Path) -> None:
    first, second = nodes = await cluster(tmp_path, "first", "second")
    async with running(first) as one:
        place = f"127.0.0.1:{one.endpoint.address[1]}"
        entries = [f"did:cis:first@{DEAD}", {"did": did_of(first.identity.node), "addresses": [place]}, {"did": "x"}]
        second.home.bootstrap.write_text(json.dumps({"peers": entries}))
        async with running(second) as two:
            await until(lambda: whole([one, two]))
            assert "entry 3" in two.problems["bootstrap.json"]
            assert [aside["entry"] for aside in two.bootstrap.aside()] == [{"did": "x"}]
            peer = two.core.book.get(first.identity.node)
            assert peer is not None
            assert [way.found_by for way in peer.addresses if way.in_use] == ["user"]
    for local in nodes:
        local.close()


async def test_round_trip_and_path_of_a_connection_are_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURE_S", 0.02)
    first, second = nodes = await cluster(tmp_path, "first", "second")
    async with running(first) as one, running(second) as two:
        book = two.core.book
        meet(two, one)
        await until(lambda: (peer := book.get(first.identity.node)) is not None and peer.rtt_s)
        two.bootstrap.save(book, asyncio.get_running_loop().time())
        (row,) = rows(second)
        assert (row["state"], row["path"]) == ("active", "lan")
        assert 0 < row["rtt_ms"] < 1000
        assert row["addresses"][0]["address"] == f"127.0.0.1:{one.endpoint.address[1]}"
    for local in nodes:
        local.close()
