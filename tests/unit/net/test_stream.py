"""A stream by itself, over a carrier that only counts."""

from __future__ import annotations

import time

import pytest

from cis.errors import Fault
from cis.net.closing import CloseReason, ConnectionLost, StreamReset
from cis.net.stream import Stream


class _Carrier:
    def __init__(self) -> None:
        self.lost: ConnectionLost | None = None
        self.sent: list[bytes] = []
        self.read = 0
        self.gone: list[int] = []

    def send(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        self.sent.append(bytes(data))

    def has_room(self, stream_id: int) -> bool:
        return True

    async def wait_room(self, stream_id: int) -> None:
        raise AssertionError

    def consumed(self, size: int) -> None:
        self.read += size

    def abandon(self, stream_id: int, fault: Fault, *, reset: bool, stop: bool) -> None:
        pass

    def ended(self, stream_id: int) -> None:
        self.gone.append(stream_id)


async def test_frames_are_cut_wherever_the_packets_end() -> None:
    frames = [b"", b"a", b"bc" * 1000, b"d"]
    wire = b"".join(len(frame).to_bytes(4) + frame for frame in frames)
    for step in (1, 3, 1000, len(wire)):
        carrier = _Carrier()
        stream = Stream(carrier, 0)
        for start in range(0, len(wire), step):
            stream.on_data(wire[start : start + step], ended=start + step >= len(wire))
        assert [await stream.read_frame(5000) for _ in frames] == frames
        assert await stream.read_frame(5000) is None
        assert carrier.read == len(wire)


async def test_many_small_frames_in_one_large_chunk_cost_linear_time() -> None:
    count = 50_000
    stream = Stream(_Carrier(), 0)
    stream.on_data((b"\0\0\0\4" + b"body") * count, ended=True)
    began = time.process_time()
    for _ in range(count):
        await stream.read_frame(4)
    assert time.process_time() - began < 2  # copying the rest each time takes some 5 s


async def test_large_writes_are_sliced() -> None:
    carrier = _Carrier()
    await Stream(carrier, 0).write(bytes(200_000))
    assert max(map(len, carrier.sent)) == 64 << 10
    assert sum(map(len, carrier.sent)) == 200_000


async def test_a_finished_stream_takes_no_more() -> None:
    stream = Stream(_Carrier(), 0)
    stream.finish()
    with pytest.raises(StreamReset):
        await stream.write(b"x")


async def test_a_stream_is_forgotten_once_both_directions_have_ended() -> None:
    carrier = _Carrier()
    stream = Stream(carrier, 4)
    stream.on_data(b"x", ended=True)
    assert carrier.gone == []
    stream.finish()
    assert carrier.gone == [4]
    assert await stream.read() == b"x"
    assert await stream.read() == b""


async def test_a_lost_connection_ends_reading_and_writing() -> None:
    carrier = _Carrier()
    stream = Stream(carrier, 0)
    carrier.lost = ConnectionLost(CloseReason(Fault.BUSY, "", by_peer=True, transport=False))
    with pytest.raises(ConnectionLost):
        await stream.read()
    with pytest.raises(ConnectionLost):
        await stream.write(b"x")
