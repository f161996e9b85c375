"""The least that moves bytes with qh3: one UDP socket, one connection at a time, no limits, no error handling.

What our endpoint is compared with. It takes qh3's fastest way in and out (batched system calls, one datagram
polled at a time, received in bulk) and shares no code with `cis.net`.
"""

# ruff: noqa: SLF001 - the fastest way uses the core beneath qh3's facade

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from qh3._hazmat import UdpSocketState, pull_quic_header
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.tls import SignatureAlgorithm

CID_BYTES = 8
WINDOW_BYTES = 16 << 20
BUFFER_BYTES = 8 << 20
HIGH_WATER_BYTES = 512 << 10
CHUNK_BYTES = 64 << 10
_BURST = 32
_BATCH = 256
_SERVER_NAME = "cis.invalid"
_FORCED = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}

Address = tuple[str, int]


class BarePeer:
    """Dials with `connect`, or takes the newest connection where it has a certificate."""

    def __init__(self, certificate: tuple[bytes, bytes] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = _bound_socket()
        self.address: Address = self._socket.getsockname()
        self._batched = UdpSocketState(self._socket.fileno())
        self._certificate = certificate
        self._quic: QuicConnection | None = None
        self._known: set[bytes] = set()
        self._peer: Address = ("", 0)
        self._waiting: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self.on_data: Callable[[int, bytes, bool], None] = lambda *_: None
        self._loop.add_reader(self._socket.fileno(), self._readable)

    async def connect(self, address: Address) -> None:
        """Dial; returns when the handshake is done."""
        self._quic, self._peer = QuicConnection(configuration=self._configuration()), address
        self._connected = self._loop.create_future()
        self._quic.connect(address, self._loop.time())
        self._flush()
        await self._connected

    async def send(self, size: int) -> None:
        """Send that many bytes on the first stream and end it."""
        assert self._quic is not None
        chunk, sent = bytes(CHUNK_BYTES), 0
        while sent < size:
            part = min(CHUNK_BYTES, size - sent)
            self._quic.send_stream_data(0, chunk[:part], sent + part == size)
            sent += part
            self._flush()
            while self._quic.get_send_buffer_size(0) > HIGH_WATER_BYTES:
                self._writable = self._loop.create_future()
                await self._writable

    def answer(self, stream: int, data: bytes) -> None:
        """Write on a stream, one of this side or one the peer opened, and end it."""
        assert self._quic is not None
        self._quic.send_stream_data(stream, data, end_stream=True)
        self._flush()

    def hang_up(self) -> None:
        """Close the connection."""
        assert self._quic is not None
        self._quic.close()
        self._flush()

    def close(self) -> None:
        """Close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    def _configuration(self) -> QuicConfiguration:
        configuration = QuicConfiguration(
            is_client=self._certificate is None,
            alpn_protocols=["cis/1"],
            connection_id_length=CID_BYTES,
            max_data=WINDOW_BYTES,
            max_stream_data=WINDOW_BYTES,
            server_name=_SERVER_NAME if self._certificate is None else None,
            verify_mode=ssl.CERT_NONE,
            signature_algorithms=[SignatureAlgorithm.ED25519] if self._certificate is None else None,
        )
        if self._certificate is not None:
            configuration.load_cert_chain(*self._certificate)
        return configuration

    def _readable(self) -> None:
        received: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BURST):
                for data, address in self._batched.recv():
                    received.append(data)
                    self._peer = address[0], address[1]
        if not received:
            return
        if self._certificate is not None and received[0][0] & 0x80:
            self._accept(received[0])
        assert self._quic is not None
        self._quic.receive_many_datagrams(received, self._peer, self._loop.time())
        self._deliver()

    def _accept(self, data: bytes) -> None:
        """A long header for an id never seen is a new dialler, which replaces the one before."""
        destination = pull_quic_header(data, 0, CID_BYTES)[3]
        if destination not in self._known:
            self._quic = QuicConnection(
                configuration=self._configuration(), original_destination_connection_id=destination
            )
            self._known = {destination, self._quic.host_cid}

    def _deliver(self) -> None:
        assert self._quic is not None
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self.on_data(event.stream_id, event.data, event.end_stream)
            elif isinstance(event, events.HandshakeCompleted) and not self._connected.done():
                self._connected.set_result(None)
        self._flush()

    def _flush(self) -> None:
        assert self._quic is not None
        assert self._quic._core is not None
        now, poll = self._loop.time(), self._quic._core.poll_transmit
        datagrams: list[bytes] = []
        while not self._waiting and (transmit := poll(now)) is not None:
            datagrams.append(transmit[0])
            if len(datagrams) == _BATCH:
                self._send(datagrams)
                datagrams = []
        self._send(datagrams)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._quic.get_timer()
        self._timer = self._loop.call_at(deadline, self._on_timer) if deadline is not None else None

    def _send(self, datagrams: list[bytes]) -> None:
        while datagrams:
            try:
                sent = self._batched.send(datagrams, self._peer)
            except BlockingIOError as full:
                sent = getattr(full, "datagrams_sent", 0)
            except OSError as error:
                sent = getattr(error, "datagrams_sent", 0) + 1  # a path MTU probe that was too large
                datagrams = datagrams[sent:]
                continue
            if sent < len(datagrams):
                self._waiting = datagrams[sent:]
                self._loop.add_writer(self._socket.fileno(), self._resume)
            return

    def _resume(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        waiting, self._waiting = self._waiting, []
        self._send(waiting)
        self._flush()

    def _on_timer(self) -> None:
        assert self._quic is not None
        deadline = self._quic.get_timer()
        if deadline is not None:
            self._quic.handle_timer(max(self._loop.time(), deadline))
        self._deliver()


def _bound_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0)
    for option, forced in _FORCED.items():
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    sock.bind(("127.0.0.1", 0))
    return sock
