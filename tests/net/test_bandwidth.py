"""Limits of the line on real transfers between two endpoints on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cis.errors import Fault
from cis.model import NodeId
from cis.net import Bandwidth, Connection, ConnectionLost, NetLimits, OffPeak, Shares, Stream
from tests.net.cluster import cluster, meet, put, running, value
from tests.net.cluster import until as settled
from tests.net.loopback import Node, OpenNode, until

KB = 1 << 10
FAST = NetLimits()
ANA, BEN = NodeId(bytes(31) + b"a"), NodeId(bytes(31) + b"b")
Pair = tuple[Connection, Connection]


def _limit(node: Node, *, exempt: bool = False, **shares: int) -> None:
    node.endpoint.apply(FAST, Bandwidth(Shares(**shares), lan_exempt=exempt))


async def _meet(a: Node, b: Node) -> Pair:
    """Connect two nodes that know each other."""
    pair = await a.dial(b), await b.accepted.get()
    for connection, peer in zip(pair, (BEN, ANA), strict=True):
        connection.mark_authenticated()
        connection.ledger.identify(peer)
    return pair


def _waits(connection: Connection) -> bool:
    return bool(connection._drive.footing.share._changed)


async def _pour(connection: Connection) -> None:
    stream = await connection.open_stream("sync")
    while True:
        await stream.write(bytes(256 * KB))


async def _drain(connection: Connection) -> None:
    stream = await connection.accept_stream()
    while await stream.read():
        pass


@asynccontextmanager
async def _meanwhile(*works: Coroutine[None, None, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Do some work in the background."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield tasks
        for task in tasks:
            task.cancel()


async def _echo(stream: Stream) -> None:
    while (frame := await stream.read_frame(100)) is not None:
        await stream.write_frame(frame)


async def test_both_limits_are_kept_within_five_percent_over_ten_seconds(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=2000 * KB, download=1000 * KB)
    near, far = await _meet(a, b)
    loop, counted = asyncio.get_running_loop(), a.endpoint.statistics
    async with _meanwhile(_pour(near), _drain(far), _pour(far), _drain(near)) as works:
        before, began = counted(), loop.time()
        await asyncio.wait(works, timeout=10.0)
        after, took = counted(), loop.time() - began
    assert (after.bytes_out - before.bytes_out) / took == pytest.approx(2000 * KB, rel=0.05)
    assert (after.bytes_in - before.bytes_in) / took == pytest.approx(1000 * KB, rel=0.05)
    assert near.statistics().bytes_out / took < 0.99 * 2000 * KB  # what QUIC adds is within the limit
    assert near.statistics().packets_lost < 10
    assert a.endpoint.traffic.flow(BEN, "sync").held_out_s > 5


async def test_peers_of_the_local_network_are_not_limited_unless_asked_for(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, exempt=True, upload=KB, download=KB)
    near, far = await _meet(a, b)
    async with asyncio.timeout(10):
        stream = await near.open_stream()
        await stream.write(bytes(2000 * KB))
        await (await far.accept_stream()).read_exactly(2000 * KB)
    assert a.endpoint.traffic.total().held_out_s == 0


async def test_small_frames_pass_while_bulk_waits_for_its_turn(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=KB)
    near, far = await _meet(a, b)
    small = await near.open_stream("ping")
    await small.write_frame(b"now")
    answering = _echo(await far.accept_stream())
    async with _meanwhile(answering, _pour(near), _drain(far)), asyncio.timeout(5):
        await until(lambda: _waits(near))
        for _ in range(5):
            assert await small.read_frame(10) == b"now"
            await small.write_frame(b"now")
    assert a.endpoint.traffic.flow(BEN, "sync").bytes_out < 20 * KB


async def test_many_small_frames_of_a_transfer_wait_like_large_ones(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=KB)
    near, _ = await _meet(a, b)
    stream = await near.open_stream("sync")

    async def write() -> None:
        while True:
            await stream.write_frame(bytes(200), bulk=True)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write(), 0.5)
    assert stream.flow.messages_out < 20


async def test_who_waits_goes_on_when_the_limit_is_lifted_and_the_connection_stays(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=100)
    near, far = await _meet(a, b)
    async with _meanwhile(_pour(near), _drain(far)):
        await until(lambda: _waits(near))
        a.endpoint.apply(FAST, Bandwidth())
        await until(lambda: near.statistics().bytes_out > 4000 * KB)


async def test_who_waits_for_a_turn_learns_that_the_connection_ended(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=100)
    near, _ = await _meet(a, b)

    async def end() -> None:
        await until(lambda: _waits(near))
        near.close(Fault.NONE, "")

    async with _meanwhile(end()):
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(_pour(near), 5)


async def test_what_was_to_be_sent_and_was_not_is_given_back(node: OpenNode) -> None:
    a, b = await node(), await node()
    _limit(a, upload=4 * KB)
    near, _ = await _meet(a, b)
    for _ in range(50):
        stream = await near.open_stream("sync")
        with pytest.raises(TimeoutError):
            async with stream, asyncio.timeout(0.01):
                await stream.write(bytes(256 * KB))
    stream = await near.open_stream("sync")
    async with asyncio.timeout(5):
        await stream.write(bytes(KB))


async def test_a_download_limit_closes_connections_with_too_much_credit_and_no_others(node: OpenNode) -> None:
    a, b = await node(), await node()
    wide, _ = await _meet(a, b)
    _limit(a, exempt=True, download=100 * KB)
    assert not wide.closing
    _limit(a, upload=1000 * KB)
    assert not wide.closing
    _limit(a, download=100 * KB)
    assert (await wide.wait_closed()).fault is Fault.SHUTDOWN
    narrow, _ = await _meet(a, b)
    assert narrow.window_bytes == 25 * KB
    _limit(a, download=110 * KB)
    assert not narrow.closing
    _limit(a)
    assert (await narrow.wait_closed()).fault is Fault.SHUTDOWN


async def test_off_peak_hours_begin_by_themselves(node: OpenNode) -> None:
    a = await node()
    now = datetime.now()  # noqa: DTZ005 - hours are those of the clock on the wall
    hours = OffPeak((now + timedelta(seconds=1)).time(), (now - timedelta(hours=1)).time(), upload=5 * KB)
    a.endpoint.apply(FAST, Bandwidth(Shares(upload=KB), hours))
    assert a.endpoint.line.shares.upload == KB
    await until(lambda: a.endpoint.line.shares.upload == 5 * KB)


async def test_a_session_waits_for_its_turns_and_is_counted_as_one_while_gossip_does_not(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    narrow = Bandwidth(Shares(upload=200 * KB), lan_exempt=False)
    async with running(first, bandwidth=narrow) as there, running(second) as here:
        meet(there, here)
        await settled(lambda: there.core.overlay.neighbours and here.core.overlay.neighbours)
        await put(first, "large", os.urandom(200 * KB))
        await put(first, "small", b"now")
        await settled(lambda: value(second, "small") == b"now" and value(second, "large"))
        sent = there.endpoint.traffic.flow(second.identity.node, "sync")
        told = there.endpoint.traffic.flow(second.identity.node, "gossip")
        assert here.endpoint.traffic.flow(first.identity.node, "sync").bytes_in >= 200 * KB
    assert sent.bytes_out >= 200 * KB
    assert sent.held_out_s > 0.5
    assert told.bytes_out < 20 * KB
    assert told.held_out_s == 0.0
    for local in (first, second):
        local.close()
