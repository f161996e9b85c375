"""Our endpoint and aioquic, an implementation of QUIC (RFC 9000, 9001) that shares no code with qh3's Rust core."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StopSendingReceived, StreamReset
from cryptography.hazmat.primitives.serialization import Encoding

from cis.errors import Fault
from cis.net import Certificate, Connection, NetLimits, Stream
from cis.net.qh3_core import ALPN
from tests.net.loopback import Node, OpenNode, until

MUCH = 500_000
CRYPTO_ERRORS = range(0x0100, 0x0200)
"""TLS's alerts as QUIC carries them (RFC 9001 §4.8); qh3 says handshake_failure where §8.1 has a closer one."""
Event = TypeVar("Event", bound=QuicEvent)
RETRYING = NetLimits(retry_above=0)


class Peer(QuicConnectionProtocol):
    """aioquic's end, which notes what happened to it."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.events: list[QuicEvent] = []

    def quic_event_received(self, event: QuicEvent) -> None:
        self.events.append(event)
        super().quic_event_received(event)

    def happened(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def _dialled(
    to: Node, alpn: str = ALPN, *, wait_connected: bool = True
) -> AbstractAsyncContextManager[QuicConnectionProtocol]:
    configuration = QuicConfiguration(alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, server_name="cis.invalid")
    return connect(
        "127.0.0.1", to.port, configuration=configuration, create_protocol=Peer, wait_connected=wait_connected
    )


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.write_eof()


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[tuple[int, list[Peer]]]:
    """An aioquic server that sends back what it gets; its port, and its ends of connections."""
    certificate = Certificate.generate()
    (folder / "certificate.pem").write_bytes(certificate.pem)
    (folder / "key.pem").write_bytes(certificate.key_pem)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    configuration.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    ends: list[Peer] = []
    started: list[asyncio.Task[None]] = []

    def make(*arguments: object, **options: object) -> Peer:
        ends.append(Peer(*arguments, **options))
        return ends[-1]

    async with asyncio.TaskGroup() as echoes:
        server = await serve(
            "127.0.0.1",
            0,
            configuration=configuration,
            create_protocol=make,
            stream_handler=lambda *stream: started.append(echoes.create_task(_echo(*stream))),
        )
        yield server._transport.get_extra_info("sockname")[1], ends
        server.close()
        for echo in started:
            echo.cancel()


async def _sent_back(stream: Stream, data: bytes) -> bytes:
    """Send all of it, and return what comes back meanwhile."""

    async def send() -> None:
        await stream.write(data)
        stream.finish()

    parts = []
    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        while part := await stream.read():
            parts.append(part)
    return b"".join(parts)


async def _send_back(connection: Connection) -> None:
    async with await connection.accept_stream() as stream:
        while part := await stream.read():
            await stream.write(part)
        stream.finish()


async def _exchanged(client: QuicConnectionProtocol, connection: Connection, size: int = MUCH) -> bool:
    """Send so much from aioquic to us and back; returns whether it is the same."""
    data = os.urandom(size)
    reader, writer = await client.create_stream()
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(_send_back(connection))
        back = await reader.read(-1)
    return back == data


@pytest.mark.parametrize("limits", [NetLimits(), RETRYING], ids=["at once", "after a Retry"])
async def test_aioquic_dials_us_and_both_exchange_much(node: OpenNode, limits: NetLimits) -> None:
    ours = await node(limits)
    async with _dialled(ours) as client:
        connection = await ours.accepted.get()
        assert await _exchanged(client, connection)
        shown = client._quic.tls._peer_certificate
        assert shown is not None
        assert hashlib.sha256(shown.public_bytes(Encoding.DER)).digest() == connection.certificate_hash
    assert (ours.endpoint.statistics().retries_sent > 0) == (limits is RETRYING)


async def test_we_dial_aioquic_and_both_exchange_much(node: OpenNode, tmp_path: Path) -> None:
    ours, data = await node(), os.urandom(MUCH)
    async with _serving(tmp_path) as (port, _):
        connection = await ours.endpoint.dial("127.0.0.1", port)
        async with asyncio.timeout(30), await connection.open_stream() as stream:
            assert await _sent_back(stream, data) == data


async def test_many_streams_at_once(node: OpenNode, tmp_path: Path) -> None:
    ours = await node()
    sent = [os.urandom(10_000) for _ in range(50)]
    async with _serving(tmp_path) as (port, _):
        connection = await ours.endpoint.dial("127.0.0.1", port)
        streams = [await connection.open_stream() for _ in sent]
        async with asyncio.timeout(30):
            assert await asyncio.gather(*map(_sent_back, streams, sent)) == sent


async def test_aioquic_renews_keys_and_connection_ids_while_data_flows(node: OpenNode) -> None:
    """RFC 9001 §6, RFC 9000 §5.1.2."""
    ours = await node()
    async with _dialled(ours) as client:
        connection = await ours.accepted.get()
        for _ in range(3):
            client.request_key_update()
            assert await _exchanged(client, connection, 100_000)
            client.change_connection_id()
            assert await _exchanged(client, connection, 100_000)


async def test_aioquic_is_followed_to_another_port(node: OpenNode) -> None:
    """As where a router forgot its mapping (RFC 9000 §9.3): aioquic itself does not notice."""
    ours = await node()
    async with _dialled(ours) as client:
        connection = await ours.accepted.get()
        assert await _exchanged(client, connection, 10_000)
        before, first = connection.path.address, client._transport
        assert first is not None
        other, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, ("::", 0))
        assert client._transport is other
        assert await _exchanged(client, connection)
        assert connection.path.address[1] == other.get_extra_info("sockname")[1] != before[1]
        first.close()


async def test_who_speaks_another_protocol_is_told_so(node: OpenNode) -> None:
    ours = await node()
    other = _dialled(ours, alpn="h3", wait_connected=False)
    async with asyncio.timeout(10), other as client:
        assert isinstance(client, Peer)
        client.transmit()
        await client.wait_closed()
        assert client.happened(ConnectionTerminated)[0].error_code in CRYPTO_ERRORS
    assert ours.accepted.empty()


async def test_why_a_connection_ended_is_understood_both_ways(node: OpenNode, tmp_path: Path) -> None:
    ours = await node()
    async with _dialled(ours) as client:
        assert isinstance(client, Peer)
        (await ours.accepted.get()).close(Fault.SHUTDOWN, "going home")
        await client.wait_closed()
        (end,) = client.happened(ConnectionTerminated)
        assert (end.error_code, end.reason_phrase) == (int(Fault.SHUTDOWN), "going home")
    async with _serving(tmp_path) as (port, ends):
        connection = await ours.endpoint.dial("127.0.0.1", port)
        await until(lambda: ends[0].happened(HandshakeCompleted))
        ends[0].close(int(Fault.SHUTDOWN), "going home")
        reason = await connection.wait_closed()
        assert (reason.fault, reason.text, reason.by_peer) == (Fault.SHUTDOWN, "going home", True)


async def test_a_stream_given_up_is_given_up_on_the_other_side(node: OpenNode, tmp_path: Path) -> None:
    ours = await node()
    async with _serving(tmp_path) as (port, ends):
        connection = await ours.endpoint.dial("127.0.0.1", port)
        stream = await connection.open_stream()
        await stream.write(b"never mind")
        stream.reset(Fault.NONE)
        await until(lambda: ends and ends[0].happened(StreamReset) and ends[0].happened(StopSendingReceived))
