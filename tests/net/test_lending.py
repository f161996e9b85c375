"""Values lent over real QUIC: from whoever has them, whoever lies, and until nobody is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cis.api.memories.elsewhere import Fetching
from cis.api.reading import Readers
from cis.errors import Elsewhere
from cis.model import NodeId
from cis.node.bulletins.stability import Stability
from cis.node.home.local import LocalNode
from cis.node.streams import lending
from cis.store.keeping import Keep, set_keep
from cis.store.read import Recalled
from cis.wire.messages import Body, WantBodies
from tests.net.cluster import cluster, meet, put, running, until, value

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[list[LocalNode]]:
    nodes = await cluster(tmp_path, "desk", "server", "phone")
    yield nodes
    for node in nodes:
        node.close()


def agree(*nodes: LocalNode) -> None:
    """Have the last keep names alone, and let values go, as all have told what they keep."""
    phone = nodes[-1]
    keep, entropy = Keep(names=True), os.urandom
    phone.store.execute(lambda connection: set_keep(connection, phone.cluster.public, keep, entropy)).result()
    rounds = [Stability(node) for node in nodes]
    for teller, telling in [*zip(nodes, rounds, strict=True)][::-1]:
        reports = telling.round()
        for listener, hearing in zip(nodes, rounds, strict=True):
            if listener is not teller:
                for report in reports:
                    hearing.take(teller.identity.node, report)
    rounds[-1].round()


def recalled(local: LocalNode, key: str) -> Recalled:
    found = local.store.reader.recall(local.cluster.public, key)
    assert found is not None
    return found


async def test_a_value_is_lent_by_who_is_connected_and_where_nobody_is_that_is_said(trio: list[LocalNode]) -> None:
    desk, server, phone = trio
    async with running(phone) as reading:
        fetching = Fetching(phone, Readers(phone.store))
        fetching.source = reading.holding
        async with running(desk) as one, running(server) as other:
            await put(desk, "k", b"value")
            for driver in (one, other):
                meet(reading, driver)
            meet(other, one)
            await until(lambda: value(phone, "k") == value(server, "k") == b"value")
            await asyncio.to_thread(agree, desk, server, phone)
            assert recalled(phone, "k").elsewhere
            shown = await asyncio.to_thread(fetching.whole, recalled(phone, "k"))
            assert shown.latest.content is not None
            assert shown.latest.content.value == b"value"
        await until(lambda: not reading.links)
        phone.store.fetched.keep(phone.cluster.public, {shown.latest.change.dot: b"x" * (17 << 20)})
        with pytest.raises(Elsewhere, match=r"on other devices \(desk, server\); none of them is connected"):
            await asyncio.to_thread(fetching.whole, recalled(phone, "k"))


async def test_who_lies_is_closed_to_and_another_is_asked(
    trio: list[LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, server, phone = trio
    honest = lending.lend
    liars: list[LocalNode] = []

    def lie(local: LocalNode, peer: NodeId, wanted: WantBodies, begin: int) -> list[Body]:
        given = honest(local, peer, wanted, begin)
        if not liars and given:
            liars.append(local)  # whoever is asked first
        return [
            msgspec.structs.replace(one, sealed=one.sealed + b"x") if local in liars and one.sealed else one
            for one in given
        ]

    monkeypatch.setattr(lending, "lend", lie)
    async with running(phone) as reading, running(desk) as one, running(server) as other:
        fetching = Fetching(phone, Readers(phone.store))
        fetching.source = reading.holding
        await put(desk, "k", b"value")
        for driver in (one, other):
            meet(reading, driver)
        await until(lambda: value(phone, "k") == value(server, "k") == b"value")
        await asyncio.to_thread(agree, desk, server, phone)
        shown = await asyncio.to_thread(fetching.whole, recalled(phone, "k"))
        assert shown.latest.content is not None
        assert shown.latest.content.value == b"value"
        (liar,) = liars
        await until(lambda: all(link.node != liar.identity.node for link in reading.links.values()))
