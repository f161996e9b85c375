"""A relay finds its peers channels, keeps those in use open, and bounds what waits."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Any

import pytest
from aioice import stun

from cis.errors import Unavailable
from cis.reach import relay as relays
from cis.reach import turn_client
from cis.reach.names import Names
from cis.reach.options import TurnServer
from cis.reach.relay import Relay, open_relay

PEER = ("192.0.2.7", 9)


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


class Inner:
    """Stands for aioice's client: grants channels unless told otherwise, and notes what is sent."""

    def __init__(self) -> None:
        self.relayed_address = ("198.51.100.1", 40000)
        self.channel_to_peer: dict[int, tuple[str, int]] = {}
        self.peer_to_channel: dict[tuple[str, int], int] = {}
        self.transport = self
        self.bound: list[int] = []
        self.sent: list[tuple[int, bytes]] = []
        self.refused = False
        self.deleted = False
        self.closed = False
        self.buffered = 0
        self.answering = True
        self.refusal: int | None = None

    async def channel_bind(self, number: int, peer: tuple[str, int]) -> None:
        await asyncio.sleep(0)
        if self.refused:
            raise stun.TransactionTimeout
        self.bound.append(number)

    async def request_with_retry(self, request: stun.Message) -> None:
        if self.refusal is not None:
            error = stun.Message(request.message_method, stun.Class.ERROR)
            error.attributes["ERROR-CODE"] = (self.refusal, "")
            raise stun.TransactionFailed(error)
        if not self.answering:
            raise stun.TransactionTimeout

    async def delete(self) -> None:
        self.deleted = True

    def put(self, data: bytes) -> None:
        number, size = struct.unpack("!HH", data[:4])
        assert size == len(data) - 4
        self.sent.append((number, data[4:]))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Sink:
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []

    def receive_via(self, carrier: Any, received: list[tuple[bytes, Any]]) -> None:
        self.received += received


@pytest.fixture
async def served() -> Any:
    """A relay being served, its inner side, and its clock."""
    inner, clock = Inner(), Clock()
    any_inner: Any = inner
    any_clock: Any = clock
    relay = Relay(any_inner, Sink(), "udp")
    relay._loop, relay._heard_at = any_clock, 0.0
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(relay.serve())
        await asyncio.sleep(0)
        yield relay, inner, clock
        serving.cancel()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_datagrams_wait_for_the_channel_and_few_of_them(served: Any) -> None:
    relay, inner, _ = served
    assert relay.send([b"%d" % number for number in range(100)], PEER) is None
    assert inner.sent == []
    await settle()
    (number,) = inner.bound
    assert inner.sent == [(number, b"%d" % at) for at in range(32)]
    relay.send([b"next"], PEER)
    assert inner.sent[-1] == (number, b"next")


async def test_a_channel_in_use_is_renewed_beside_the_traffic_before_its_permission_ends(served: Any) -> None:
    relay, inner, clock = served
    relay.send([b"x"], PEER)
    await settle()
    clock.now += 199
    relay.send([b"x"], PEER)
    await settle()
    assert len(inner.bound) == 1
    clock.now += 60
    relay.send([b"not held up"], PEER)
    assert inner.sent[-1][1] == b"not held up"
    await settle()
    assert len(inner.bound) == 2
    clock.now += 299
    relay.send([b"held until renewed"], PEER)
    assert inner.sent[-1][1] != b"held until renewed"
    await settle()
    assert inner.sent[-1][1] == b"held until renewed"


async def test_a_refused_channel_drops_what_waited_and_is_asked_for_again(served: Any) -> None:
    relay, inner, _ = served
    inner.refused = True
    relay.send([b"lost"], PEER)
    await settle()
    inner.refused = False
    relay.send([b"kept"], PEER)
    await settle()
    assert [data for _, data in inner.sent] == [b"kept"]


async def test_channels_are_bounded_and_idle_ones_given_up(served: Any) -> None:
    relay, inner, clock = served
    for number in range(1025):
        error = relay.send([b"x"], (f"192.0.{number >> 8}.{number & 255}", 9))
    assert isinstance(error, OSError)
    await settle()
    clock.now += 1600
    relay.doubt()
    await settle()
    assert inner.channel_to_peer == inner.peer_to_channel == {}
    assert relay.send([b"x"], PEER) is None


async def test_the_ports_of_one_host_do_not_take_all_channels(served: Any) -> None:
    relay, _, _ = served
    taken = [relay.send([b"x"], ("192.0.2.7", port)) for port in range(1, 1001)]
    assert 16 <= taken.count(None) <= 128
    assert relay.send([b"x"], ("192.0.2.8", 9)) is None
    assert relay.send([b"x"], ("192.0.2.7", 1)) is None
    await settle()


async def test_a_server_that_does_not_answer_is_lost_and_nothing_is_sent_any_more(served: Any) -> None:
    relay, inner, _ = served
    called: list[bool] = []
    relay.pause()
    assert relay.congested
    relay.when_writable(lambda: called.append(True))
    inner.answering = False
    relay.doubt()
    await settle()
    assert relay.lost
    assert called, "who waits for room is told, and learns of the loss by sending"
    assert relay.send([b"x"], PEER).errno
    await relay.close()
    assert (inner.deleted, inner.closed) == (False, True), "nobody is there to give it back to"


async def test_a_relay_that_is_heard_is_there_even_if_its_answers_are_lost(served: Any) -> None:
    relay, inner, _ = served
    inner.answering = False
    relay.doubt()
    inner.receiver.datagram_received(b"by the relay", PEER)
    await settle()
    assert not relay.lost
    inner.refusal = 437
    relay.doubt()
    await settle()
    assert relay.lost, "what the server itself says counts"


async def test_the_loss_of_a_relay_does_not_wait_for_channels_being_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, never = Inner(), asyncio.Event()
    any_inner: Any = inner
    relay = Relay(any_inner, Sink(), "udp")

    async def bind(number: int, peer: tuple[str, int]) -> None:
        await never.wait()

    monkeypatch.setattr(inner, "channel_bind", bind)
    async with asyncio.timeout(1.0), asyncio.TaskGroup() as group:
        group.create_task(relay.serve())
        await settle()
        relay.send([b"x"], PEER)
        relay.on_lost()
    assert relay.send([b"x"], PEER).errno


async def test_a_full_way_to_the_server_drops_and_says_when_there_is_room(served: Any) -> None:
    relay, inner, _ = served
    relay.send([b"x"], PEER)
    await settle()
    inner.buffered = relays._BUFFER_MAX_BYTES + 1
    relay.pause()
    relay.send([b"too much"], PEER)
    assert len(inner.sent) == 1
    called: list[bool] = []
    relay.when_writable(lambda: called.append(True))
    relay.resume()
    assert called == [True]
    assert not relay.congested


async def test_a_living_relay_is_given_back_when_closed() -> None:
    inner = Inner()
    any_inner: Any = inner
    await Relay(any_inner, Sink(), "udp").close()
    assert (inner.deleted, inner.closed) == (True, True)


async def test_a_hostile_server_sends_nothing_that_raises() -> None:
    client = turn_client.Datagrams(("192.0.2.1", 3478), "ana", "secret", 600, 600)
    for data in (
        b"",
        b"\x40",
        b"\x40\0\xff\xff",
        b"\0\1\0\4" + bytes(16) + b"\0\x0d\0\1",
        bytes(600),
        b"\1\1" + bytes(30),
    ):
        client.datagram_received(data, ("192.0.2.1", 3478))


async def test_messages_on_a_stream_are_cut_out_wherever_they_are_torn() -> None:
    client, came = stream_client()
    sizes = [0, 1, 3, 4, 5, 1200]
    wire = b"".join(struct.pack("!HH", 0x4001, size) + bytes(size) + bytes(-size % 4) for size in sizes)
    wire = bytes(stun.Message(stun.Method.BINDING, stun.Class.INDICATION)) + wire
    for step in (1, 7, len(wire)):
        came.clear()
        for start in range(0, len(wire), step):
            client.data_received(wire[start : start + step])
        assert [len(data) for data, _ in came] == sizes


async def test_many_small_messages_at_once_take_no_more_time_than_they_are_many() -> None:
    def took_s(count: int) -> float:
        client, came = stream_client()
        began = time.process_time()
        client.data_received(b"\x40\x01\0\0" * count)
        assert len(came) == count
        return time.process_time() - began

    few_s = min(took_s(8_000) for _ in range(3))
    assert took_s(128_000) < 60 * few_s


def stream_client() -> tuple[turn_client.Bytestream, list[tuple[bytes, Any]]]:
    """A client over TCP, and what it hands on of the one peer it knows."""
    came: list[tuple[bytes, Any]] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            came.append((data, addr))

    client = turn_client.Bytestream(("192.0.2.1", 3478), "ana", "secret", 600, 600)
    any_transport: Any = asyncio.BaseTransport({"peername": ("192.0.2.1", 3478)})
    client.transport = any_transport
    client.receiver = Receiver()
    client.channel_to_peer[0x4001] = PEER
    return client, came


async def test_a_server_whose_nonce_cannot_be_repeated_is_refused_and_ends_nothing() -> None:
    """It fills a whole message, so that a request with it would be larger than any can be."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = stun.parse_message(await reader.readexactly(36))
        answer = stun.Message(asked.message_method, stun.Class.ERROR, asked.transaction_id)
        answer.attributes |= {"ERROR-CODE": (401, ""), "REALM": "r", "NONCE": bytes(65480)}
        writer.write(bytes(answer))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        hostile = TurnServer("127.0.0.1", server.sockets[0].getsockname()[1], "tcp", "ana", "secret")
        with pytest.raises(Unavailable):
            await open_relay(hostile, Names(), Sink())


async def test_a_server_is_tried_at_all_its_addresses() -> None:
    """On a network without IPv4 the IPv6 one is the only way."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(20)
        asked.set()
        writer.close()

    class BothFamilies(Names):
        async def lookup(self, host: str, port: int) -> tuple[tuple[str, int], ...]:
            assert host == "turn.example"
            return ("::1", port), ("127.0.0.1", port)

    async with await asyncio.start_server(serve, "::1", 0) as server, asyncio.TaskGroup() as group:
        two = TurnServer("turn.example", server.sockets[0].getsockname()[1], "tcp", "ana", "secret")
        opening = group.create_task(open_relay(two, BothFamilies(), Sink()))
        await asyncio.wait([opening, group.create_task(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert asked.is_set()
        opening.cancel()


async def test_a_failure_to_connect_names_no_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host, port = unused.getsockname()
        with pytest.raises(Unavailable) as failed:
            await open_relay(TurnServer(host, port, "tcp", "ana", "secret"), Names(), Sink())
    assert "127.0.0.1" not in str(failed.value)
