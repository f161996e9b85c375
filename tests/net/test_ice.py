"""ICE over real endpoints on loopback: host, reflexive and relayed pairs, the last by a real TURN server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cis.errors import TimedOut, Unavailable
from cis.net import Connection, Stream
from cis.net.paths import Path as Way
from cis.reach.gathering import Gatherer
from cis.reach.options import ReachOptions, TurnServer
from tests.net.loopback import until
from tests.net.reaching import (
    CREDENTIAL,
    TURNSERVER,
    USER,
    Searcher,
    Turn,
    free_port,
    introduce,
    responder,
    searcher,
    turn_server,
)

needs_turn = pytest.mark.skipif(TURNSERVER is None, reason="turnserver (coturn) is not installed")


@pytest.fixture
async def turn(tmp_path: Path) -> AsyncIterator[Turn]:
    async with turn_server(tmp_path) as running:
        yield running


async def meet(a: Searcher, b: Searcher, relay_hold_s: float = 1.0) -> tuple[Way, Way]:
    """Search from both sides, ``a`` controlling."""
    offering, answering = a.session(True, relay_hold_s), b.session(False, relay_hold_s)
    introduce(offering, answering)
    async with asyncio.TaskGroup() as group:
        found = [group.create_task(one.connect()) for one in (offering, answering)]
    return found[0].result(), found[1].result()


async def talk(a: Searcher, b: Searcher, ways: tuple[Way, Way], size: int = 1 << 20) -> Connection:
    """Dial over the path, and send something there and back."""
    b.endpoint.expect(ways[1])
    connection = await a.endpoint.dial_over(ways[0])
    other = await b.accepted.get()
    for one in (connection, other):
        one.mark_authenticated()
    sent = random.Random(7).randbytes(size)
    stream = await connection.open_stream()
    async with asyncio.TaskGroup() as group:
        group.create_task(_send(stream, sent))
        got = group.create_task(_echo(other))
    assert got.result() == sent
    return connection


async def test_two_nodes_find_the_direct_pair_and_quic_runs_over_it_without_retry() -> None:
    async with searcher() as a, searcher() as b:
        ways = await meet(a, b)
        await talk(a, b, ways)
        assert [(way.local, way.remote, way.relayed, way.proven) for way in ways] == [("host", "host", False, True)] * 2
        assert b.endpoint.statistics().retries_sent == 0


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_a_dual_stack_socket_finds_pairs_of_either_family(host: str) -> None:
    async with searcher(host=host) as a, searcher(host=host) as b:
        await talk(a, b, await meet(a, b))


async def test_a_node_without_servers_is_ready_at_once() -> None:
    async with searcher() as a, asyncio.timeout(0.5):
        await a.gatherer.ready()


async def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_gather_s_and_is_a_fact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cis.reach.reflexive._ANSWER_S", 1.5)
    options = ReachOptions(stun_servers=(("127.0.0.1", free_port()), ("no-such-host.invalid", 3478)), gather_s=0.2)
    async with searcher(options) as a:
        async with asyncio.timeout(1.2):
            await a.gatherer.ready()
        await until(lambda: all(fact.error for fact in a.gatherer.facts().servers))
        assert a.gatherer.facts().mapping is None


async def test_reflexive_addresses_are_learnt_and_compared() -> None:
    async with responder(("192.0.2.1", 4001)) as one, responder(("192.0.2.1", 4001)) as same, AsyncExitStack() as stack:
        options = ReachOptions(stun_servers=(one.address, same.address))
        a = await stack.enter_async_context(searcher(options))
        await until(lambda: a.gatherer.facts().mapping == "endpoint-independent")
        assert ("srflx", "192.0.2.1", 4001) in kinds(a.gatherer)
        other = await stack.enter_async_context(responder(("192.0.2.1", 4002)))
        b = await stack.enter_async_context(searcher(replace(options, stun_servers=(one.address, other.address))))
        await until(lambda: b.gatherer.facts().mapping == "address-dependent")


async def test_an_address_servers_see_that_is_our_own_is_no_candidate_of_its_own() -> None:
    async with responder() as truthful, searcher(ReachOptions(stun_servers=(truthful.address,))) as a:
        await until(lambda: a.gatherer.facts().mapping == "none")
        assert [kind for kind, _, _ in kinds(a.gatherer)] == ["host"]


async def test_a_network_change_asks_again_and_tells_of_the_new_address() -> None:
    async with responder(("192.0.2.1", 4001)) as one, searcher(ReachOptions(stun_servers=(one.address,))) as a:
        await until(lambda: ("srflx", "192.0.2.1", 4001) in kinds(a.gatherer))
        changed = asyncio.Event()
        one.seen = ("192.0.2.9", 4001)
        a.gatherer.regather()
        a.gatherer.on_change.append(changed.set)
        async with asyncio.timeout(2):
            await changed.wait()
        assert [one for one in kinds(a.gatherer) if one[0] == "srflx"] == [("srflx", "192.0.2.9", 4001)]


async def test_a_search_nobody_answers_says_which_pairs_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.agent.SEARCH_S", 0.3)
    async with searcher() as a, searcher() as b:
        alone, deaf = a.session(True, 0.1), b.session(False)
        introduce(alone, deaf)
        deaf.close()
        with pytest.raises(Unavailable, match=r"host to host: no answer yet"):
            await alone.connect()


async def test_a_search_can_be_cancelled_and_closed_twice_and_its_session_is_forgotten() -> None:
    async with searcher() as a, searcher() as b:
        session, other = a.session(True), b.session(False)
        introduce(session, other)
        other.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.connect()
        session.close()
        session.close()
        assert not a.hub.searching
        assert a.gatherer.on_change == []
        with pytest.raises(Unavailable):
            await session.connect()


async def test_a_check_with_the_wrong_password_is_not_answered() -> None:
    async with searcher() as a, searcher() as b:
        offering, answering = a.session(True), b.session(False)
        introduce(offering, answering)
        offering.peer(answering.ufrag, "wrong" * 8, answering.candidates())
        searching = asyncio.gather(offering.connect(), answering.connect())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(searching, 0.3)
        assert (offering.selected, answering.selected) == (None, None)


async def test_ten_thousand_random_datagrams_do_not_disturb_a_search() -> None:
    chance = random.Random(5)
    async with searcher() as a, searcher() as b:
        offering, answering = a.session(True), b.session(False)
        valid = (answering.ufrag + ":x").encode()
        for number in range(10_000):
            data = bytearray(chance.randbytes(chance.randrange(120)))
            if number % 2:  # looks like a request that names the session
                body = b"\0\x06" + len(valid).to_bytes(2, "big") + valid + bytes(-len(valid) % 4) + data
                data = bytearray(b"\0\x01" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body)
            a.hub.send(bytes(data), ("127.0.0.1", b.endpoint.address[1]), a.hub.carrier)
            if number % 64 == 0:
                await asyncio.sleep(0)
        introduce(offering, answering)
        async with asyncio.TaskGroup() as group:
            group.create_task(offering.connect())
            group.create_task(answering.connect())
        assert offering.selected is not None
        assert b.endpoint.statistics().dropped


@needs_turn
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_node_without_addresses_of_its_own_is_reached_over_its_relay(turn: Turn, transport: str) -> None:
    options = ReachOptions(turn_servers=(turn.server(transport),))
    async with searcher(options, relay_only=True) as a, searcher() as b:
        await until(lambda: a.gatherer.relay)
        async with asyncio.timeout(0.9):  # there is no direct pair to hold back for
            ways = await meet(a, b)
        await talk(a, b, ways)
        assert (ways[0].local, ways[0].carrier.relayed, ways[0].relayed) == ("relay", True, True)
        assert (ways[1].remote, ways[1].carrier.relayed, ways[1].relayed) == ("relay", False, True)


@needs_turn
async def test_two_relays_reach_each_other_either_side_dialling(turn: Turn) -> None:
    options = ReachOptions(turn_servers=(turn.server(),))
    async with searcher(options, relay_only=True) as a, searcher(options, relay_only=True) as b:
        await until(lambda: a.gatherer.relay and b.gatherer.relay)
        await talk(a, b, await meet(a, b))
        await talk(b, a, await meet(b, a))


@needs_turn
async def test_turn_over_tls_checks_the_server_and_relays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path)
    async with turn_server(tmp_path, f"--cert={certificate}", f"--pkey={key}") as turn:
        options = ReachOptions(turn_servers=(turn.server("tls", host="localhost"),))
        async with searcher(options) as unsure:
            await until(lambda: unsure.gatherer.facts().servers[0].error)
            assert unsure.gatherer.relay is None
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with searcher(options, relay_only=True) as a, searcher() as b:
            await until(lambda: a.gatherer.relay)
            await talk(a, b, await meet(a, b))


@needs_turn
async def test_a_direct_pair_is_preferred_to_a_relay_and_no_channel_is_asked_for(turn: Turn) -> None:
    options = ReachOptions(turn_servers=(turn.server(),))
    async with searcher(options) as a, searcher(options) as b:
        await until(lambda: a.gatherer.relay and b.gatherer.relay)
        ways = await meet(a, b)
        assert [way.relayed for way in ways] == [False, False]
        assert "CHANNEL_BIND" not in turn.log.read_text()


@needs_turn
async def test_tcp_takes_the_place_of_udp_only_where_udp_gives_nothing(turn: Turn) -> None:
    dead = replace(turn.server(), port=free_port())
    async with searcher(ReachOptions(turn_servers=(dead, turn.server("tcp")), gather_s=0.3)) as a:
        await until(lambda: a.gatherer.relay)
        assert a.gatherer.facts().relay == "tcp, IPv4"
    async with searcher(ReachOptions(turn_servers=(turn.server("tcp"), turn.server("udp")))) as a:
        await until(lambda: a.gatherer.relay)
        assert a.gatherer.facts().relay == "udp, IPv4"


@needs_turn
async def test_a_killed_turn_server_is_noticed_and_another_takes_its_place(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    async with turn_server(tmp_path / "second") as second:
        options = ReachOptions(turn_servers=(turn.server(), replace(second.server(), transport="tcp")))
        async with searcher(options) as a:
            await until(lambda: a.gatherer.relay)
            turn.process.kill()
            a.gatherer.regather()
            await until(lambda: a.gatherer.facts().relay == "tcp, IPv4")


@needs_turn
async def test_wrong_credentials_are_a_fact_and_appear_nowhere(turn: Turn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = TurnServer("127.0.0.1", turn.port, "udp", USER, "guessed-secret")
    async with searcher(ReachOptions(turn_servers=(wrong,))) as a:
        await until(lambda: a.gatherer.facts().servers[-1].error)
        assert "check user name and credential" in str(a.gatherer.facts().servers[-1].error)
    async with searcher(ReachOptions(turn_servers=(turn.server(),)), relay_only=True) as a, searcher() as b:
        await until(lambda: a.gatherer.relay)
        ways = await meet(a, b)
        shown = f"{caplog.text} {wrong!r} {turn.server()!r} {a.gatherer.relay!r} {ReachOptions(turn_servers=(wrong,))}"
        for secret in (USER, CREDENTIAL, "guessed-secret", str(ways[1].address[1]), str(turn.port)):
            assert secret not in shown


@needs_turn
async def test_a_relay_is_given_back_when_gathering_ends(turn: Turn) -> None:
    async with searcher(ReachOptions(turn_servers=(turn.server(),))) as a:
        await until(lambda: a.gatherer.relay)
        relay = a.gatherer.relay
    assert relay is not None
    assert relay.lost
    await until(lambda: "lifetime=0" in turn.log.read_text() or "deleted" in turn.log.read_text())


async def test_binding_says_how_a_server_sees_us_and_fails_in_words() -> None:
    async with searcher() as a, responder(("192.0.2.1", 4001)) as server:
        seen = await a.hub.binding(server.address, 2.0)
        assert (seen.host, seen.port, seen.other) == ("192.0.2.1", 4001, None)
        assert 0 < seen.latency_s < 2.0
        with pytest.raises(TimedOut):
            await a.hub.binding(("127.0.0.1", free_port()), 0.1)
        with pytest.raises(Unavailable, match="name"):
            await a.hub.binding(("no-such-host.invalid", 3478), 5.0)


def kinds(gatherer: Gatherer) -> list[tuple[str, str, int]]:
    return [(one.kind, one.host, one.port) for one in gatherer.candidates()]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


async def _send(stream: Stream, data: bytes) -> None:
    await stream.write(data)
    stream.finish()


async def _echo(connection: Connection) -> bytes:
    """What the other side's first stream carried."""
    stream = await connection.accept_stream()
    got = bytearray()
    while part := await stream.read():
        got += part
    return bytes(got)
