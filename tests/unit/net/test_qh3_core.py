"""What we lean on inside qh3, one test for each name or behaviour: an upgrade says what it broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest
import qh3._hazmat
from qh3.quic.connection import QuicConnection, QuicConnectionError

from cis.net.certificate import Certificate
from cis.net.limits import NetLimits
from cis.net.qh3_core import (
    CID_BYTES,
    DATAGRAM_BYTES,
    QuicCore,
    configuration_of,
    new_cid,
    parse_long_header,
    retry_packet,
    speaks,
    version_negotiation_packet,
)

CLIENT, SERVER = ("192.0.2.1", 1), ("192.0.2.2", 2)
LIMITS = NetLimits(buffered_per_connection_max_bytes=1 << 20)


class _Log:
    def __init__(self) -> None:
        self.handshakes: list[tuple[str | None, bool]] = []
        self.cids: set[bytes] = set()
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: list[int] = []
        self.stopped: list[int] = []
        self.pongs: list[int] = []

    def on_handshake_completed(self, alpn: str | None, *, resumed: bool) -> None:
        self.handshakes.append((alpn, resumed))

    def on_connection_id(self, cid: bytes, *, live: bool) -> None:
        self.cids.add(cid) if live else self.cids.discard(cid)

    def on_pong(self, uid: int) -> None:
        self.pongs.append(uid)

    def on_stream_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self.data[stream_id] = self.data.get(stream_id, b"") + data
        if ended:
            self.ended.add(stream_id)

    def on_stream_reset(self, stream_id: int) -> None:
        self.reset.append(stream_id)

    def on_stop_sending(self, stream_id: int) -> None:
        self.stopped.append(stream_id)


class _Pair:
    """A dialler and a listener joined by nothing but a loop over their datagrams."""

    def __init__(self, certificate: Certificate | None = None, *, retry: bool = False) -> None:
        self.certificate = certificate or Certificate.generate()
        self.now = 1.0
        self.client = QuicCore.dialling(configuration_of(LIMITS, None), CLIENT, self.now)
        first = next(self.flight(self.client))
        header = parse_long_header(first)
        assert header is not None
        original, retry_cid = header.destination_cid, None
        if retry:
            retry_cid = new_cid()
            self.client.receive([retry_packet(header, retry_cid, b"token")], SERVER, self.now)
            first = next(self.flight(self.client))
            header = parse_long_header(first)
            assert header is not None
            assert (header.token, header.destination_cid) == (b"token", retry_cid)
        self.server = QuicCore.listening(configuration_of(LIMITS, self.certificate), original, retry_cid)
        self.server.receive([first], CLIENT, self.now)
        self.at_client, self.at_server = _Log(), _Log()
        self.run()

    def flight(self, core: QuicCore) -> Iterator[bytes]:
        while datagrams := core.poll(self.now):
            yield from datagrams

    def run(self, rounds: int = 200) -> None:
        """Carry datagrams and let time pass."""
        for _ in range(rounds):
            self.now += 0.005
            for datagram in self.flight(self.client):
                self.server.receive([datagram], CLIENT, self.now)
            for datagram in self.flight(self.server):
                self.client.receive([datagram], SERVER, self.now)
            for core, log in ((self.client, self.at_client), (self.server, self.at_server)):
                deadline = core.deadline()
                if deadline is not None and deadline <= self.now:
                    core.handle_deadline(self.now)
                core.deliver(log, log)


def test_the_version_is_the_one_these_tests_know() -> None:
    assert version("qh3") == "2.1.0"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (QuicConnection, "_drain_core"),
        (QuicConnection, "_open_stream"),
        (QuicConnection, "_create_core"),
        (qh3._hazmat, "UdpSocketState"),
        (qh3._hazmat, "pull_quic_header"),
        (qh3._hazmat.QuicConnectionCore, "get_timer"),
        (qh3._hazmat.QuicConnectionCore, "handle_timer"),
        (qh3._hazmat.QuicConnectionCore, "poll_transmit"),
        (qh3._hazmat.QuicConnectionCore, "pto_count"),
        (qh3._hazmat.QuicConnectionCore, "receive_many_datagrams"),
        (qh3._hazmat.QuicConnectionCore, "received_authenticated_packet"),
        (qh3._hazmat.QuicConnectionCore, "smoothed_rtt"),
        (qh3._hazmat.QuicConnectionCore, "state"),
    ],
)
def test_a_private_name_is_still_there(owner: object, name: str) -> None:
    assert hasattr(owner, name)


def test_a_handshake_shows_the_listeners_ed25519_certificate_and_no_resumption() -> None:
    pair = _Pair()
    assert pair.at_client.handshakes == pair.at_server.handshakes == [("cis/1", False)]
    assert pair.client.peer_certificate() == pair.certificate.der
    assert pair.client.state == pair.server.state == "connected"
    assert pair.server.proven
    assert all(len(cid) == CID_BYTES for cid in pair.at_client.cids | pair.at_server.cids)


def test_the_certificates_key_must_have_signed_although_no_chain_is_checked() -> None:
    shown, other = Certificate.generate(), Certificate.generate()
    thief = Certificate(shown.der, shown.pem, other.key_pem, shown.hash)
    pair = _Pair(thief)
    assert pair.at_client.handshakes == []
    closed = pair.client.closed
    assert closed is not None
    assert not closed.application


def test_a_retry_is_followed_with_its_token_and_id() -> None:
    assert _Pair(retry=True).at_client.handshakes == [("cis/1", False)]


def test_a_paused_core_gives_no_credit_and_a_resumed_one_does() -> None:
    pair = _Pair()
    window = LIMITS.window_bytes
    pair.server.pause()
    stream = pair.client.streams.open()
    pair.client.streams.send(stream, bytes(3 * window), end=True)
    pair.run()
    assert pair.client.streams.unsent_bytes(stream) == 2 * window
    assert pair.at_server.data == {}
    pair.server.resume()
    pair.run()
    assert pair.client.streams.unsent_bytes(stream) == 0
    assert len(pair.at_server.data[stream]) == 3 * window
    assert pair.at_server.ended == {stream}


def test_a_paused_core_still_shows_that_the_peer_closed() -> None:
    pair = _Pair()
    pair.server.pause()
    pair.client.close(13, "é")
    pair.run(2)
    assert pair.server.state == "draining"
    pair.server.resume()
    closed = pair.server.closed
    assert closed is not None
    assert (closed.code, closed.text, closed.application, closed.by_peer) == (13, "é", True, True)


def test_a_core_itself_never_ends_for_silence() -> None:
    pair = _Pair()
    pair.now += 1e6
    pair.server.handle_deadline(pair.now)
    assert pair.server.closed is None


def test_a_hastened_probe_leaves_through_a_full_window_and_time_stays_sane() -> None:
    pair = _Pair()
    streams = [pair.client.streams.open() for _ in range(20)]
    for stream in streams:
        pair.client.streams.send(stream, bytes(50_000), end=True)
    for _ in range(50):  # all of it lost, until the window is full
        pair.now += 0.0005
        pair.client.poll(pair.now, 10_000)
    before = pair.client.probes.unanswered
    pair.client.probes.ping()
    assert pair.client.poll(pair.now, 10) == []
    pair.client.probes.hasten()
    assert len(pair.client.poll(pair.now, 10)) == 2
    assert pair.client.probes.unanswered == before + 1
    for _ in range(100):
        pair.client.probes.hasten()
    assert pair.client.state == "connected"
    pair.run(2000)
    assert pair.at_server.ended == set(streams)
    assert pair.client.probes.unanswered == 0


def test_a_proven_address_has_no_amplification_limit() -> None:
    sizes = []
    for proven in (False, True):
        client = QuicCore.dialling(configuration_of(LIMITS, None), CLIENT, 0.0)
        flight = client.poll(0.0, 10)
        header = parse_long_header(flight[0])
        assert header is not None
        server = QuicCore.listening(
            configuration_of(LIMITS, Certificate.generate()), header.destination_cid, None, address_proven=proven
        )
        for datagram in flight:
            server.receive([datagram], CLIENT, 0.0)
        sent, now = 0, 0.0
        for _ in range(200):
            sent += sum(map(len, server.poll(now, 100)))
            deadline = server.deadline()
            now = max(now, deadline or 0.0)
            server.handle_deadline(now)
        sizes.append(sent / sum(map(len, flight)))
    assert sizes[0] <= 3 < sizes[1]


def test_datagrams_are_of_the_size_that_every_path_carries() -> None:
    pair = _Pair()
    stream = pair.client.streams.open()
    pair.client.streams.send(stream, bytes(200_000), end=False)
    sizes = []
    for _ in range(300):
        pair.now += 0.01
        at_client = pair.client.poll(pair.now, 1000)
        sizes += map(len, at_client)
        if at_client:
            pair.server.receive(at_client, CLIENT, pair.now)
        if at_server := pair.server.poll(pair.now, 1000):
            pair.client.receive(at_server, SERVER, pair.now)
    assert sum(sizes) > 200_000
    assert DATAGRAM_BYTES - 64 < max(sizes) <= DATAGRAM_BYTES


def test_what_is_not_the_peers_or_not_new_is_not_authentic() -> None:
    pair = _Pair()
    pair.client.probes.ping()
    [datagram] = pair.client.poll(pair.now)
    broken = datagram[:-1] + bytes([datagram[-1] ^ 1])
    assert not pair.server.receive([broken], CLIENT, pair.now)
    assert pair.server.receive([datagram], CLIENT, pair.now)
    assert not pair.server.receive([datagram], CLIENT, pair.now)


def test_a_pong_repeats_the_number_of_its_ping() -> None:
    pair = _Pair()
    pair.client.probes.ping(77)
    pair.run(20)
    assert 77 in pair.at_client.pongs


def test_stream_credit_is_a_hundred_and_grows_as_streams_finish() -> None:
    pair = _Pair()
    streams = []
    while pair.client.streams.can_open():
        streams.append(pair.client.streams.open())
        pair.client.streams.send(streams[-1], b"x", end=True)
    assert len(streams) == 100
    pair.run(20)
    for stream in streams:
        pair.server.streams.send(stream, b"y", end=True)
    pair.run(20)
    assert pair.client.streams.can_open()


def test_reset_and_stop_reach_the_other_side() -> None:
    pair = _Pair()
    stream = pair.client.streams.open()
    pair.client.streams.send(stream, b"x", end=False)
    pair.run(5)
    pair.client.streams.abandon(stream, 0, reset=True, stop=True)
    pair.run(5)
    assert pair.at_server.reset == pair.at_server.stopped == [stream]


def test_poll_takes_the_cores_complaint_for_not_now(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Full:
        def poll_transmit(self, now: float) -> None:
            raise RuntimeError("packet builder capacity exhausted")

    core = QuicCore.dialling(configuration_of(LIMITS, None), CLIENT, 0.0)
    monkeypatch.setattr(core._quic, "_core", _Full())
    assert core.poll(0.0) == []
    with pytest.raises(QuicConnectionError):  # the public way raises, and loses what it had polled before
        core._quic.datagrams_to_send(0.0)


def test_datagram_frames_are_not_offered() -> None:
    pair = _Pair()
    assert not pair.client._quic._remote_max_datagram_frame_size
    assert not pair.server._quic._remote_max_datagram_frame_size


def test_a_health_report_has_a_round_trip_time() -> None:
    pair = _Pair()
    pair.client.probes.ping()
    pair.run(20)
    health = pair.client.health()
    assert health.rtt_s is not None
    assert health.packets_lost == 0


def test_a_failed_version_negotiation_ends_the_connection() -> None:
    core = QuicCore.dialling(configuration_of(LIMITS, None), CLIENT, 0.0)
    [transmit] = core.poll(0.0)
    header = parse_long_header(transmit)
    assert header is not None
    assert speaks(header.version)
    foreign = version_negotiation_packet(header)[:-4] + b"\x0a\x0a\x0a\x0a"
    core.receive([foreign], SERVER, 0.0)
    assert core.terminated
    assert core.closed is not None


@pytest.mark.parametrize("cut", [lambda d: b"", lambda d: d[:1], lambda d: d[:6], lambda d: b"\xc0" + b"\xff" * 50])
def test_a_header_that_is_none_is_told_apart_without_raising(cut: Callable[[bytes], bytes]) -> None:
    core = QuicCore.dialling(configuration_of(LIMITS, None), CLIENT, 0.0)
    [transmit] = core.poll(0.0)
    assert parse_long_header(cut(transmit)) is None
