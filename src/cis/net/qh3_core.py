"""The one file that knows qh3 2.1.0 from inside; every private name we lean on is here and has a test.

What it decides, and why it cannot be done by qh3's public surface:

- Back pressure. qh3 returns receive credit when its native event queue is drained, not when the application
  reads. ``paused`` leaves the queue alone, so the peer stops at the window.
- Sending. ``datagrams_to_send()`` can raise near the anti-amplification limit and lose what it had already
  polled; ``poll`` asks the native core for one datagram at a time and reads the error as "not now".
- Closing. A peer's close is known at once from ``_close_event``; the public event comes only after the
  draining period.
- Stream credit. MAX_STREAMS raises no event: ``can_open_stream`` looks, and the owner looks again after
  each receive.
- Datagram size. qh3 cannot shrink a path's datagrams again: it does not notice a black hole (RFC 8899 §4.3), and
  frames already cut for a larger size would block it for ever. As a connection may be moved to any path, all
  datagrams have from the start the size that every path carries (``DATAGRAM_BYTES``), and nothing probes for more.
- Addresses. The core is told one for ever (``follow`` says why).
- Probes. Where frames of several streams wait for room in the window, qh3 sends nothing else, not even a PING or an
  acknowledgement; only a probe timeout's two probes leave, and after an outage the next may be minutes away.
  ``hasten`` lets it pass. It would pass the idle timeout too, so that is not qh3's but the drive's.
- Proven addresses. An ICE check proves an address as a Retry does; qh3 knows only the latter.

qh3 checks the CertificateVerify signature even with ``CERT_NONE``, so the key of the certificate shown is
proven. There are no session tickets because no ticket handler is given, hence neither resumption nor 0-RTT.
"""

# ruff: noqa: SLF001 - the private names of qh3 are what this file is for

from __future__ import annotations

import logging
import os
import ssl
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from qh3._hazmat import QuicConnectionCore, UdpSocketState, pull_quic_header
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionState
from qh3.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from qh3.tls import SignatureAlgorithm

from cis.net.certificate import SERVER_NAME, Certificate

if TYPE_CHECKING:
    from cis.net.limits import NetLimits

ALPN = "cis/1"
CID_BYTES = 8
INITIAL_MIN_BYTES = 1200
DATAGRAM_BYTES = 1228
"""The least MTU of IPv6 (1280, RFC 8200 §5), less IPv6, UDP and TURN's channel header (48 and 4)."""
LISTENER_OF_STREAM = 1
"""Low bits of a stream id (RFC 9000 §2.1): set if the listener opened it."""
UNIDIRECTIONAL = 2
_PROBE_TIMER, _END_TIMERS = "loss_detection", ("idle", "close")
_HASTENED_MAX = 30
"""Each doubles the time to the next that comes by itself; beyond this it would be no time any more."""
_TIMERS_BEFORE_PROBE = 4
_ROUNDING_S = 1e-6
_REPORTED_PACKETS = 2
"""Where qh3's report of a receive counts the packets that were authentic and new."""

RawAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket spells it; IPv4 on a dual-stack socket is mapped (RFC 4291 §2.5.5.2)."""

# qh3 warns with the peer's own words at each close; Connection.wait_closed reports the reason properly.
logging.getLogger("quic").setLevel(logging.ERROR)


class ConnectionEvents(Protocol):
    """Who is told what concerns the connection as a whole."""

    def on_handshake_completed(self, alpn: str | None, *, resumed: bool) -> None:
        """The TLS handshake is done on this side."""

    def on_connection_id(self, cid: bytes, *, live: bool) -> None:
        """The peer may (or no longer may) address us by ``cid``."""

    def on_pong(self, uid: int) -> None:
        """A PING of this number was acknowledged."""


class StreamEvents(Protocol):
    """Who is told what arrives on streams."""

    def on_stream_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Bytes in order; perhaps none, at the end."""

    def on_stream_reset(self, stream_id: int) -> None:
        """The peer abandoned its sending direction."""

    def on_stop_sending(self, stream_id: int) -> None:
        """The peer no longer reads."""


@dataclass(frozen=True, slots=True)
class CoreClose:
    """How the core says the connection ended; only the peer's word can be ``application`` here."""

    code: int
    text: str
    application: bool
    by_peer: bool


@dataclass(frozen=True, slots=True)
class CoreHealth:
    """How the path has done so far."""

    rtt_s: float | None
    packets_lost: int
    probe_timeouts: int


@dataclass(frozen=True, slots=True)
class InitialHeader:
    """What a long header says to somebody without keys (RFC 8999, RFC 9000 §17.2)."""

    version: int
    initial: bool
    destination_cid: bytes
    source_cid: bytes
    token: bytes


class _Connection(QuicConnection):
    """qh3's facade, with a tap on the native event queue."""

    paused = False
    address_proven = False

    def _create_core(self, remote_addr: RawAddress, initial_dcid: bytes, now: float) -> None:
        """Lift the amplification limit (RFC 9000 §8.1) where the address was proven without a Retry."""
        retry_cid = self._retry_source_connection_id
        if self.address_proven and retry_cid is None:
            self._retry_source_connection_id = b""
        super()._create_core(remote_addr, initial_dcid, now)
        self._retry_source_connection_id = retry_cid

    def _drain_core(self) -> None:
        if not self.paused:
            super()._drain_core()


class CoreStreams:
    """The streams of one core."""

    __slots__ = ("_quic",)

    def __init__(self, quic: _Connection) -> None:
        self._quic = quic

    def can_open(self) -> bool:
        """Whether the peer's MAX_STREAMS has room; opening without it would waste the stream's number."""
        return self._quic.get_next_available_stream_id() // 4 < self._quic.max_concurrent_bidi_streams

    def open(self) -> int:
        """Take the next number."""
        return self._quic._open_stream()

    def send(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """Queue a copy of ``data``."""
        self._quic.send_stream_data(stream_id, data, end)

    def unsent_bytes(self, stream_id: int) -> int:
        """Bytes of the stream that wait for their first transmission."""
        return self._quic.get_send_buffer_size(stream_id)

    def abandon(self, stream_id: int, code: int, *, reset: bool, stop: bool) -> bool:
        """Give up sending, or ask the peer to (RFC 9000 §3.5); False where nothing of the stream has arrived as yet."""
        try:
            if reset:
                self._quic.reset_stream(stream_id, code)
            if stop:
                self._quic.stop_stream(stream_id, code)
        except ValueError:  # "unknown peer-initiated stream"
            return False
        return True


class CoreProbes:
    """What makes the peer of one core answer."""

    __slots__ = ("_quic",)

    def __init__(self, quic: _Connection) -> None:
        self._quic = quic

    @property
    def unanswered(self) -> int:
        """Probe timeouts in a row (RFC 9002 §6.2) since the peer last acknowledged anything."""
        native = self._quic._core
        return 0 if native is None else native.pto_count

    def hasten(self) -> None:
        """Let the next probe timeout pass now (RFC 9002 §6.2): its two probes leave even where the window is full."""
        native = self._quic._core
        if native is None or native.pto_count >= _HASTENED_MAX:
            return
        for _ in range(_TIMERS_BEFORE_PROBE):
            timer = native.get_timer()
            if timer is None or timer[0] in _END_TIMERS:
                return
            native.handle_timer(timer[1] + _ROUNDING_S)
            if timer[0] == _PROBE_TIMER:
                return

    def ping(self, uid: int = 0) -> None:
        """Make the peer answer, which keeps both sides and the NATs between awake; ``on_pong`` repeats ``uid``."""
        self._quic.send_ping(uid)


class QuicCore:
    """One QUIC connection without any I/O; times are the caller's clock, in seconds."""

    __slots__ = ("_quic", "host_cid", "probes", "streams", "window_bytes")

    def __init__(self, quic: _Connection) -> None:
        self._quic = quic
        self.host_cid = quic.host_cid
        self.window_bytes = quic.configuration.max_data
        """the peer's credit, given once and for all"""
        self.streams = CoreStreams(quic)
        self.probes = CoreProbes(quic)

    @classmethod
    def dialling(cls, configuration: QuicConfiguration, address: RawAddress, now: float) -> QuicCore:
        """Begin a connection to ``address``; the first flight waits in ``poll``."""
        quic = _Connection(configuration=configuration)
        quic.connect(address, now)
        return cls(quic)

    @classmethod
    def listening(
        cls,
        configuration: QuicConfiguration,
        original_cid: bytes,
        retry_cid: bytes | None,
        *,
        address_proven: bool = False,
    ) -> QuicCore:
        """Prepare for a client's Initial.

        ``retry_cid`` is the id our Retry gave it, if it proved its address so. The path then has no
        amplification limit, nor has it if its address is ``address_proven`` in another way.
        """
        quic = _Connection(
            configuration=configuration,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )
        quic.address_proven = address_proven
        return cls(quic)

    @property
    def _native(self) -> QuicConnectionCore | None:
        return self._quic._core

    @property
    def state(self) -> str:
        """One of first_flight, connected, closing, draining, terminated."""
        native = self._native
        return "first_flight" if native is None else native.state

    @property
    def proven(self) -> bool:
        """Whether any packet has passed its integrity check."""
        native = self._native
        return native is not None and native.received_authenticated_packet

    @property
    def terminated(self) -> bool:
        """Whether nothing will ever be sent or received again."""
        # A failed version negotiation ends the facade while its native core still waits for a first reply.
        return self.state == "terminated" or self._quic._state is QuicConnectionState.TERMINATED

    @property
    def closed(self) -> CoreClose | None:
        """How the connection ended, as soon as that is known."""
        event = self._quic._close_event
        if event is None:
            return None
        # The state, not the event, says whose word it was: an idle timeout looks like an application close.
        by_peer = self.state == "draining"
        application = by_peer and event.frame_type is None
        return CoreClose(int(event.error_code), event.reason_phrase, application, by_peer)

    def receive(self, datagrams: list[bytes], address: RawAddress, now: float) -> bool:
        """Take datagrams in, and tell whether any was the peer's and new; during the handshake that is not asked.

        May raise anything on what a hostile peer sent.
        """
        native = self._native
        if native is None or not self._quic._handshake_complete:
            self._quic.receive_many_datagrams(datagrams, address, now)
            return True
        packets = native.receive_many_datagrams(datagrams, address, now)[_REPORTED_PACKETS]
        self._quic._drain_core()
        return packets > 0

    def deliver(self, whole: ConnectionEvents, streams: StreamEvents) -> None:
        """Tell the two all that has been drained."""
        next_event = self._quic.next_event
        while (event := next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    streams.on_stream_data(event.stream_id, event.data, ended=event.end_stream)
                case events.StreamReset():
                    streams.on_stream_reset(event.stream_id)
                case events.StopSendingReceived():
                    streams.on_stop_sending(event.stream_id)
                case events.ConnectionIdIssued():
                    whole.on_connection_id(event.connection_id, live=True)
                case events.ConnectionIdRetired():
                    whole.on_connection_id(event.connection_id, live=False)
                case events.PingAcknowledged():
                    whole.on_pong(event.uid)
                case events.HandshakeCompleted():
                    whole.on_handshake_completed(event.alpn_protocol, resumed=event.session_resumed)

    @property
    def paused(self) -> bool:
        """Whether received data stays in the core."""
        return self._quic.paused

    def pause(self) -> None:
        """Leave received data in the core, so that no more credit is given; only after the handshake."""
        self._quic.paused = True

    def resume(self) -> None:
        """Drain the core again, at once."""
        self._quic.paused = False
        if self._native is not None:
            self._quic._drain_core()

    def poll(self, now: float, most: int = 1) -> list[bytes]:
        """Return up to so many datagrams that may be sent now."""
        datagrams: list[bytes] = []
        if (native := self._native) is None:
            return datagrams
        poll_transmit = native.poll_transmit
        try:
            while len(datagrams) < most and (transmit := poll_transmit(now)) is not None:
                datagrams.append(transmit[0])
        except RuntimeError:  # "not now"
            pass
        return datagrams

    def deadline(self) -> float | None:
        """When ``handle_deadline`` wants to be called."""
        return self._quic.get_timer()

    def handle_deadline(self, now: float) -> None:
        """Let time pass: retransmit, probe, time out."""
        self._quic.handle_timer(now)

    def close(self, code: int, text: str) -> None:
        """Queue a CONNECTION_CLOSE of the application kind."""
        self._quic.close(code, None, text)

    def peer_certificate(self) -> bytes | None:
        """DER of the certificate the listener showed."""
        certificate = self._quic.get_peercert()
        return None if certificate is None else certificate.public_bytes()

    def health(self) -> CoreHealth:
        """Measure the path."""
        native = self._native
        if native is None:
            return CoreHealth(None, 0, 0)
        return CoreHealth(native.smoothed_rtt, native.loss_total, native.pto_total)


def configuration_of(
    limits: NetLimits, certificate: Certificate | None, keylog: TextIO | None = None
) -> QuicConfiguration:
    """Build the settings of a listener (with a certificate) or of a dialler (without)."""
    configuration = QuicConfiguration(
        is_client=certificate is None,
        alpn_protocols=[ALPN],
        connection_id_length=CID_BYTES,
        idle_timeout=0.0,
        max_data=limits.window_bytes,
        max_stream_data=limits.window_bytes,
        max_datagram_size=DATAGRAM_BYTES,
        probe_datagram_size=False,
        # Zero, not None: qh3's client would offer DATAGRAM frames, which no flow control holds back.
        max_datagram_frame_size=0,
        server_name=SERVER_NAME if certificate is None else None,
        verify_mode=ssl.CERT_NONE,
        secrets_log_file=keylog,  # type: ignore[arg-type] # None is its default
        signature_algorithms=[SignatureAlgorithm.ED25519] if certificate is None else None,
    )
    if certificate is not None:
        configuration.load_cert_chain(certificate.pem, certificate.key_pem)
    return configuration


def with_window(configuration: QuicConfiguration, window_bytes: int) -> QuicConfiguration:
    """Return the same settings with another credit for the peer, of each stream and of all together."""
    if configuration.max_data == window_bytes:
        return configuration
    other = copy(configuration)
    other.max_data = other.max_stream_data = window_bytes
    return other


def parse_long_header(data: bytes) -> InitialHeader | None:
    """Read a long header that belongs to no connection; None if it is not one."""
    try:
        version, kind, _, destination, source, token, *_ = pull_quic_header(data, 0, CID_BYTES)
    except ValueError:
        return None
    if version is None:
        return None
    initial = version == QuicProtocolVersion.VERSION_1 and kind == QuicPacketType.INITIAL
    return InitialHeader(version, initial, destination, source, token)


def speaks(version: int) -> bool:
    """Whether we speak this version of QUIC."""
    return version == QuicProtocolVersion.VERSION_1


def retry_packet(header: InitialHeader, retry_cid: bytes, token: bytes) -> bytes:
    """Answer an Initial with a Retry (RFC 9000 §17.2.5)."""
    return encode_quic_retry(
        version=header.version,
        source_cid=retry_cid,
        destination_cid=header.source_cid,
        original_destination_cid=header.destination_cid,
        retry_token=token,
    )


def version_negotiation_packet(header: InitialHeader) -> bytes:
    """Answer a packet of a foreign version with the one we speak (RFC 9000 §6)."""
    return encode_quic_version_negotiation(
        source_cid=header.destination_cid,
        destination_cid=header.source_cid,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )


def new_cid() -> bytes:
    """Make a connection id as long as all of ours."""
    return os.urandom(CID_BYTES)


BatchedSocket = UdpSocketState


def batched_socket(descriptor: int) -> BatchedSocket:
    """Wrap a bound UDP socket for batched system calls with GRO and GSO; it holds a descriptor of its own."""
    return UdpSocketState(descriptor)
