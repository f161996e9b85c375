"""Streams over two real endpoints on loopback."""

from __future__ import annotations

import asyncio
import os

import pytest

from cis.errors import Fault, PeerFault
from cis.net import Connection, ConnectionLost, NetLimits, Stream, StreamReset
from tests.net.loopback import OpenNode, steady, until

Pair = tuple[Connection, Connection]


async def _collect(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def _write_for_ever(stream: Stream) -> None:
    while True:
        await stream.write(b"y")
        await asyncio.sleep(0)


async def test_bytes_come_back_over_the_same_stream(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write(b"hello")
    stream.finish()
    other = await listener.accept_stream()
    assert await _collect(other) == b"hello"
    await other.write(b"back")
    other.finish()
    assert await _collect(stream) == b"back"
    await until(lambda: dialler.statistics().streams_local == 0 == listener.statistics().streams_remote)


async def test_the_listener_may_open_streams_too(pair: Pair) -> None:
    dialler, listener = pair
    stream = await listener.open_stream()
    await stream.write_frame(b"a", b"bc")
    assert await (await dialler.accept_stream()).read_frame(10) == b"abc"


async def test_a_large_transfer_arrives_whole_both_ways_at_once(pair: Pair) -> None:
    dialler, listener = pair
    up, down = os.urandom(32 << 20), os.urandom(8 << 20)
    stream = await dialler.open_stream()

    async def send(to: Stream, data: bytes) -> None:
        await to.write(data)
        to.finish()

    async with asyncio.TaskGroup() as group:
        group.create_task(send(stream, up))
        other = await listener.accept_stream()
        group.create_task(send(other, down))
        at_listener = group.create_task(_collect(other))
        at_dialler = group.create_task(_collect(stream))
    assert at_listener.result() == up
    assert at_dialler.result() == down


async def test_a_slow_reader_stops_the_sender_within_the_bound(node: OpenNode) -> None:
    limits = NetLimits(buffered_per_connection_max_bytes=1 << 20)
    a, b = await node(limits), await node(limits)
    dialler, listener = await a.dial(b), await b.accepted.get()
    size = 8 << 20
    async with asyncio.TaskGroup() as group:
        stream = await dialler.open_stream()
        writing = group.create_task(stream.write(bytes(size)))
        reader = await listener.accept_stream()
        sent = await steady(lambda: dialler.statistics().bytes_out)
        unread = listener.statistics()
        assert unread.paused
        assert unread.unread_bytes <= limits.buffered_per_connection_max_bytes
        # Unread there, one window in its core, and the high-water mark here.
        assert sent <= (1 << 20) + limits.send_high_water_bytes + (64 << 10)
        assert not writing.done()
        received = 0
        while received < size:
            received += len(await reader.read())
    assert writing.done()
    assert received == size


async def test_a_frame_larger_than_what_may_lie_unread_still_arrives(node: OpenNode) -> None:
    limits = NetLimits(buffered_per_connection_max_bytes=256 << 10)
    a, b = await node(limits), await node(limits)
    dialler, listener = await a.dial(b), await b.accepted.get()
    async with asyncio.TaskGroup() as group:
        stream = await dialler.open_stream()
        group.create_task(stream.write_frame(bytes(4 << 20)))
        reader = await listener.accept_stream()
        frame = group.create_task(reader.read_frame(4 << 20))
    assert frame.result() == bytes(4 << 20)


async def test_a_closing_peer_is_noticed_while_nobody_reads(node: OpenNode) -> None:
    limits = NetLimits(buffered_per_connection_max_bytes=256 << 10)
    a, b = await node(limits), await node(limits)
    dialler, listener = await a.dial(b), await b.accepted.get()

    async def write() -> None:
        with pytest.raises(ConnectionLost):
            await (await dialler.open_stream()).write(bytes(4 << 20))

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await until(lambda: listener.statistics().paused)
        dialler.close(Fault.SHUTDOWN, "enough")
        assert (await listener.wait_closed()).text == "enough"


async def test_more_streams_than_the_peer_permits_at_once_wait_their_turn(pair: Pair) -> None:
    dialler, listener = pair
    count = 350

    async def ask(number: int) -> None:
        stream = await dialler.open_stream()
        await stream.write_frame(b"%d" % number)
        stream.finish()
        assert await stream.read_frame(100) == b"%d" % number
        assert await stream.read() == b""

    async def answer() -> None:
        for _ in range(count):
            stream = await listener.accept_stream()
            await stream.write_frame(await stream.read_frame(100) or b"")
            stream.finish()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(answer())
        for number in range(count):
            group.create_task(ask(number))


async def test_a_frame_too_large_is_refused_before_it_is_kept(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write((1 << 30).to_bytes(4))
    with pytest.raises(PeerFault) as refused:
        await (await listener.accept_stream()).read_frame(1 << 20)
    assert refused.value.fault is Fault.TOO_LARGE


async def test_a_stream_cut_inside_a_frame_is_malformed(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write((100).to_bytes(4) + b"short")
    stream.finish()
    with pytest.raises(PeerFault) as refused:
        await (await listener.accept_stream()).read_frame(1 << 20)
    assert refused.value.fault is Fault.MALFORMED


async def test_an_ended_stream_has_no_more_frames(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write_frame(b"")
    stream.finish()
    other = await listener.accept_stream()
    assert await other.read_frame(1) == b""
    assert await other.read_frame(1) is None


async def test_a_reset_reaches_reader_and_writer_of_the_other_side(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write(b"x")
    other = await listener.accept_stream()
    stream.reset()
    with pytest.raises(StreamReset):
        await _collect(other)
    with pytest.raises(StreamReset):
        await _write_for_ever(other)
    await until(lambda: listener.statistics().streams_remote == 0)
    assert not listener.closing


async def test_what_is_reset_unread_no_longer_counts(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write(bytes(100_000))
    other = await listener.accept_stream()
    await until(lambda: listener.statistics().unread_bytes == 100_000)
    async with other:
        pass
    assert listener.statistics().unread_bytes == 0


async def test_streams_nobody_accepts_are_bounded(node: OpenNode) -> None:
    a, b = await node(), await node(NetLimits(streams_max=5))
    dialler, listener = await a.dial(b), await b.accepted.get()
    for _ in range(6):
        await (await dialler.open_stream()).write(b"x")
    assert (await dialler.wait_closed()).fault is Fault.BUSY
    assert listener.statistics().streams_remote <= 5


async def test_what_arrived_before_the_loss_can_still_be_read(pair: Pair) -> None:
    dialler, listener = pair
    stream = await dialler.open_stream()
    await stream.write(b"last words")
    await until(lambda: listener.statistics().unread_bytes == 10)
    dialler.close(Fault.SHUTDOWN, "")
    await listener.wait_closed()
    other = await listener.accept_stream()
    assert await other.read() == b"last words"
    with pytest.raises(ConnectionLost):
        await other.read()
    with pytest.raises(ConnectionLost):
        await listener.accept_stream()
    with pytest.raises(ConnectionLost):
        await listener.open_stream()


@pytest.mark.parametrize("resets", [False, True])
async def test_a_stream_known_by_a_higher_number_alone_may_be_given_up_and_is_refused_once_heard_of(
    pair: Pair, resets: bool
) -> None:
    dialler, listener = pair
    silent, spoken = await dialler.open_stream(), await dialler.open_stream()
    await spoken.write(b"first")
    implied, heard = await listener.accept_stream(), await listener.accept_stream()
    implied.reset(Fault.BUSY)
    assert await heard.read() == b"first"
    if resets:
        silent.reset(Fault.NONE)
        await until(lambda: not listener._streams._unheard)
    else:
        await silent.write(b"late")
        with pytest.raises(StreamReset):
            await silent.read()
    await heard.write(b"and on")
    assert await spoken.read() == b"and on"
    spoken.finish()
    heard.finish()
    await until(lambda: dialler.statistics().streams_local == 0 == listener.statistics().streams_remote)


async def test_unidirectional_streams_are_refused(pair: Pair) -> None:
    dialler, listener = pair
    quic = dialler._drive.core._quic
    quic.send_stream_data(quic._open_stream(is_unidirectional=True), b"x")
    dialler._drive.flush_soon()
    assert (await dialler.wait_closed()).fault is Fault.MALFORMED
    assert listener.closing
