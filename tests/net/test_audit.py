"""Audits between whole nodes over real QUIC: damage is mended, and what a relay kept to itself is fetched elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from cis.api.peers.network import NetworkOperations
from cis.api.peers.network_schema import SyncNow
from cis.model import Kind
from cis.node.home.local import LocalNode
from cis.node.recovery import bodies_missing
from cis.store.audit import unheld_bodies
from cis.store.audit_check import check_space
from cis.store.author import Write
from cis.wire.content import Content
from tests.net.cluster import cluster, meet, put, running, state, until, value

pytestmark = pytest.mark.timeout(60)
COUNT = 300


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[list[LocalNode]]:
    nodes = await cluster(tmp_path, "first", "second", "third")
    yield nodes
    for node in nodes:
        node.close()


async def fill(local: LocalNode) -> None:
    writes = [Write(local.cluster.public, Kind.PUT, Content(f"k{at}", b"value %d" % at)) for at in range(COUNT)]
    await asyncio.wrap_future(local.store.write(writes))


async def damage(local: LocalNode, *statements: str) -> None:
    def task(connection: apsw.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await asyncio.wrap_future(local.store.execute(task))


def unheld(local: LocalNode) -> int:
    with local.store.snapshot() as reader:
        return len(unheld_bodies(reader, local.cluster.public))


async def test_a_full_sync_mends_both_ends_and_says_so(trio: list[LocalNode]) -> None:
    first, second, _ = trio
    await fill(first)
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: value(second, f"k{COUNT - 1}"))
        healthy = state(first)
        await until(lambda: state(second) == healthy)
        for store in (first.store, second.store):
            await asyncio.to_thread(store.rest)
        mine = "DELETE FROM {table} WHERE rid & 1 = 1"
        await damage(first, *(mine.format(table=table) for table in ("live", "live0", "body")))
        await damage(second, "DELETE FROM head WHERE rid & 3 = 2")
        assert state(first) != healthy != state(second)
        (result,) = await NetworkOperations(one).sync(SyncNow(target="second", full=True))
        assert result.error == ""
        assert result.audit is not None
        assert result.audit.derived_anew > 0
        assert result.audit.here.fetched > 0
        assert result.audit.there.wrong == result.audit.there.mended > 0
        assert (result.audit.here.missing, result.audit.there.missing) == (0, 0)
        assert state(first) == state(second) == healthy
        assert unheld(first) == 0
        with second.store.snapshot() as reader:
            assert not check_space(reader, second.cluster.public, second.clock_ms()).damaged
        assert value(first, "k5") == b"value 5"


async def test_two_whole_nodes_have_nothing_to_mend(trio: list[LocalNode]) -> None:
    first, second, _ = trio
    await put(first, "one", b"1")
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: value(second, "one"))
        results = await asyncio.gather(
            NetworkOperations(one).sync(SyncNow(full=True)), NetworkOperations(two).sync(SyncNow(full=True))
        )
        for (result,) in results:
            assert result.error == ""
            assert result.audit is not None
            assert result.audit.compared == 1
            assert (result.audit.here.wrong, result.audit.there.wrong, result.audit.damaged) == (0, 0, 0)


async def test_bodies_a_relay_left_out_are_fetched_from_another_member(trio: list[LocalNode]) -> None:
    first, second, third = trio
    await fill(first)
    async with running(second) as relay:
        async with running(first) as one:
            meet(relay, one)
            await until(lambda: value(second, f"k{COUNT - 1}"))
        await damage(second, "DELETE FROM body")  # as if what it passes on were replaced
        async with running(third) as newcomer:
            meet(newcomer, relay)
            await until(lambda: bodies_missing(third) == COUNT)
            assert value(third, "k5") is None
            async with running(first) as one:
                meet(newcomer, one)
                await until(lambda: bodies_missing(third) == 0)
                assert unheld(third) == 0
                assert value(third, "k5") == b"value 5"
