"""One member, or one address, that says more than its share: it is slowed, the others are heard."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cis.errors import CisError
from cis.net import Connection, Endpoint, NetLimits, Refusal, admission
from cis.net.limits import Cut
from cis.node.driver import Driver
from cis.node.home.local import LocalNode
from cis.node.streams import paces
from cis.node.streams.paces import BULLETINS_BURST, CHANGES_BURST, GOSSIP_UNITS_BURST, Quotas, Tally, units_of_gossip
from cis.trust.bulletins import Told, seal_bulletin
from cis.wire.gossip import Gossip, IHave
from cis.wire.messages import Open, encode
from cis.wire.segment import author_of
from tests.net.cluster import cluster, meet, put, running, until, value
from tests.net.test_node import dial_as, open_endpoint, own_segment

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[tuple[LocalNode, LocalNode, LocalNode]]:
    nodes = await cluster(tmp_path, "victim", "honest", "flooder")
    yield nodes[0], nodes[1], nodes[2]
    for node in nodes:
        node.close()


def bulletin(local: LocalNode, number: int) -> bytes:
    keys = local.cluster.keys.spaces[local.cluster.public]
    told = Told(b"a flood!", number, local.clock_ms(), "noise", b"%d" % number)
    return seal_bulletin(local.identity, keys, told, local.entropy)


async def flood(connection: Connection, flooder: LocalNode) -> None:
    """Tell new broadcasts, faster than anybody may."""
    stream = await connection.open_stream()
    await stream.write_frame(encode(Open("gossip")))
    for number in range(1, 4000):
        await stream.write_frame(encode(Gossip(1, bytes(8), bulletin(flooder, number))))
        if number % 10 == 0:
            await asyncio.sleep(0)


async def test_a_member_that_floods_broadcasts_is_slowed_and_others_are_heard_meanwhile(
    trio: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces, "BULLETINS_BURST", 50.0)
    monkeypatch.setattr(paces, "GOSSIP_UNITS_BURST", 500.0)
    victim, honest, flooder = trio
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(victim))
        two = await stack.enter_async_context(running(honest))
        endpoint = await stack.enter_async_context(await open_endpoint())
        meet(two, one)
        await until(lambda: one.links and two.links)
        heard = stack.enter_context(one.topics.listen("noise"))
        connection = await dial_as(flooder, one, endpoint)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        flooding = group.create_task(flood(connection, flooder))
        await until(lambda: one.tally["bulletins_over_quota"] > 0)
        for number in range(20):
            await put(honest, f"key {number}", b"heard")
            await until(lambda n=number: value(victim, f"key {n}") == b"heard")
        await until(lambda: one.tally["gossip_slowed"] > 0)
        await until(lambda: one.tally["bulletins_over_quota"] > 100)
        flooding.cancel()
        assert heard._waiting  # the author's share was heard
        assert not connection.closing  # what is too much is not a breach of the protocol
        # What was dropped here was not passed on.
        assert two.tally["bulletins_over_quota"] < one.tally["bulletins_over_quota"] / 5


async def test_changes_beyond_the_quota_come_by_sessions_and_none_is_lost(
    trio: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, busy, _ = trio
    async with running(victim) as one, running(busy) as two:
        meet(two, one)
        await until(lambda: one.core.overlay.neighbours and two.core.overlay.neighbours)
        for link in one.links.values():
            monkeypatch.setattr(link._quotas._changes, "take", lambda key, now: False)
        for number in range(30):
            await put(busy, f"key {number}", b"value")
        await until(lambda: value(victim, "key 29") == b"value")
        assert one.tally["changes_over_quota"] > 0
        assert not one.core.dialling.bans


async def test_what_is_offered_in_vain_is_paced_by_its_size(trio: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    victim, _, flooder = trio
    frame = encode(IHave([(bytes(32), 1)] * 1024))
    assert units_of_gossip(len(frame)) > 30
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(flooder, driver, endpoint)
        stream = await connection.open_stream()
        await stream.write_frame(encode(Open("gossip")))
        for _ in range(2 * int(GOSSIP_UNITS_BURST / 30)):
            await stream.write_frame(frame)
        await until(lambda: driver.tally["gossip_slowed"] > 0)


def quotas_of(teller: LocalNode, tally: Tally) -> Quotas:
    return Quotas(teller.identity.node, tally, lambda: 0.0, lambda: tally.update(["missed"]))


def test_a_quota_is_the_authors_over_one_link_and_nobody_elses(trio: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    _, honest, flooder = trio
    tally = Tally()
    quotas, told = quotas_of(flooder, tally), bulletin(flooder, 1)
    assert sum(quotas.admit(told) for _ in range(1000)) == BULLETINS_BURST
    assert tally == {"bulletins_over_quota": 1000 - BULLETINS_BURST}
    assert quotas.admit(bulletin(honest, 1))
    assert quotas_of(honest, tally).admit(told)
    # What names no author, in a form no node of ours writes, is on the account of who tells it.
    assert not quotas.admit(b"\x93\x30garbage")


async def test_a_segments_author_is_read_without_decoding_it(trio: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    _, honest, flooder = trio
    await put(honest, "key", b"value")
    frame = encode(own_segment(honest))
    assert author_of(frame) == honest.identity.node
    tally = Tally()
    quotas = quotas_of(flooder, tally)
    assert sum(quotas.admit(frame) for _ in range(3000)) == CHANGES_BURST
    assert tally == {"changes_over_quota": 3000 - CHANGES_BURST, "missed": 3000 - CHANGES_BURST}
    for broken in (b"", frame[:30], frame[:53], b"\x9d\x10" + os.urandom(60)):
        assert author_of(broken) is None


async def test_one_address_that_takes_all_it_can_leaves_room_for_another(
    trio: tuple[LocalNode, LocalNode, LocalNode],
) -> None:
    victim, honest, _ = trio
    async with running(victim) as driver, await open_endpoint() as endpoint, AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        held = [group.create_task(_hold(endpoint, driver)) for _ in range(40)]
        await until(lambda: driver.endpoint.statistics().refused.get(Refusal.ADDRESS, 0) > 0)
        assert driver.endpoint.statistics().unauthenticated <= 8
        async with running(honest, host="127.0.0.2") as other:
            meet(other, driver)
            await until(lambda: driver.links, 5)
        for task in held:
            task.cancel()


async def test_an_address_gives_up_places_of_strangers_for_one_that_holds_fewer(
    trio: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PRESSED_S", 1e9)
    victim, honest, _ = trio
    crowded = NetLimits(unauthenticated_max=4, retry_above=2)
    async with running(victim, limits=crowded) as driver, await open_endpoint() as endpoint, AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        held = [group.create_task(_hold(endpoint, driver)) for _ in range(4)]
        await until(lambda: driver.endpoint.statistics().unauthenticated == 4)
        async with running(honest, host="127.0.0.2") as other:
            meet(other, driver)
            await until(lambda: driver.links, 5)
        assert driver.endpoint.statistics().cut[Cut.EVICTED] >= 1
        for task in held:
            task.cancel()


async def _hold(endpoint: Endpoint, driver: Driver) -> None:
    with contextlib.suppress(CisError):
        await (await endpoint.dial(*driver.endpoint.address)).wait_closed()
