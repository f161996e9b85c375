"""Dialling, accepting, limits and the end of connections, on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import pytest

from cis.errors import Fault, TimedOut, Unavailable
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, NetLimits, Refusal
from cis.net.qh3_core import QuicCore
from tests.net.loopback import Node, OpenNode, until


async def _echo_once(dialler: Connection, listener: Connection) -> None:
    async with asyncio.timeout(10), await dialler.open_stream() as stream:
        await stream.write_frame(b"ping")
        async with await listener.accept_stream() as other:
            await other.write_frame(await other.read_frame(10) or b"")
            assert await stream.read_frame(10) == b"ping"


async def test_both_sides_name_the_channel_by_the_listeners_certificate(node: OpenNode) -> None:
    a, b = await node(), await node()
    dialler, listener = await a.dial(b), await b.accepted.get()
    expected = hashlib.sha256(b.certificate.der).digest()
    assert dialler.certificate_hash == listener.certificate_hash == expected
    assert (dialler.is_dialler, listener.is_dialler) == (True, False)
    assert dialler.peer_address == b.endpoint.address
    assert listener.peer_address == a.endpoint.address


async def test_a_new_certificate_is_shown_to_those_who_dial_later(node: OpenNode) -> None:
    a, b = await node(), await node()
    before = await a.dial(b)
    fresh = Certificate.generate()
    b.endpoint.use_certificate(fresh)
    after = await a.dial(b)
    assert before.certificate_hash == b.certificate.hash
    assert after.certificate_hash == fresh.hash


async def test_one_socket_listens_and_dials_at_once(node: OpenNode) -> None:
    a, b = await node(), await node()
    out_a, out_b = await asyncio.gather(a.dial(b), b.dial(a))
    in_b, in_a = await b.accepted.get(), await a.accepted.get()
    assert in_b.peer_address[1] == a.port
    assert in_a.peer_address[1] == b.port
    await asyncio.gather(_echo_once(out_a, in_b), _echo_once(out_b, in_a))


async def test_a_dual_stack_endpoint_talks_to_both_families(node: OpenNode) -> None:
    both, four = await node(host="::"), await node()
    out = await both.dial(four)
    assert out.peer_address == ("127.0.0.1", four.port)
    back = await four.dial(both)
    assert (await both.accepted.get()).peer_address == ("127.0.0.1", four.port)
    own = await both.endpoint.dial("::1", both.port)
    assert own.peer_address == ("::1", both.port)
    await _echo_once(out, await four.accepted.get())
    assert back.established


async def test_a_name_is_resolved(node: OpenNode) -> None:
    a, b = await node(), await node()
    assert (await a.endpoint.dial("localhost", b.port)).peer_address == b.endpoint.address


async def test_the_reason_of_a_close_reaches_the_other_side(node: OpenNode) -> None:
    a, b = await node(), await node()
    dialler, listener = await a.dial(b), await b.accepted.get()
    listener.close(Fault.NOT_MEMBER, "ask an admin " + "é" * 200)
    reason = await dialler.wait_closed()
    assert (reason.fault, reason.by_peer, reason.transport) == (Fault.NOT_MEMBER, True, False)
    assert reason.text.startswith("ask an admin é")
    assert len(reason.text.encode()) <= 200
    own = await listener.wait_closed()
    assert (own.fault, own.by_peer) == (Fault.NOT_MEMBER, False)
    await until(lambda: not a.endpoint._roster.everyone and not b.endpoint._roster.everyone)
    assert not a.endpoint._roster.routes


async def test_a_closing_endpoint_tells_its_peers(node: OpenNode) -> None:
    a, b = await node(), await node()
    dialler = await a.dial(b)
    await b.endpoint.close(Fault.SHUTDOWN, "good night")
    reason = await dialler.wait_closed()
    assert (reason.fault, reason.text) == (Fault.SHUTDOWN, "good night")
    with pytest.raises(Unavailable, match="closed"):
        await b.dial(a)


async def test_a_black_hole_times_out_and_says_so(node: OpenNode) -> None:
    a = await node(NetLimits(handshake_timeout_s=0.1, handshake_retries=2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        with pytest.raises(TimedOut, match=r"no QUIC answer .* 0\.3 s \(3 attempts\)"):
            await a.endpoint.dial("127.0.0.1", hole.getsockname()[1])
    statistics = a.endpoint.statistics()
    assert (statistics.dials_unanswered, statistics.handshakes_timed_out) == (3, 0)
    assert a.endpoint._roster.everyone == ()


async def test_a_cancelled_dial_leaves_nothing_behind(node: OpenNode) -> None:
    a = await node()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await a.endpoint.dial("127.0.0.1", hole.getsockname()[1])
    assert a.endpoint._roster.everyone == ()
    assert a.endpoint._roster.routes == {}


@pytest.mark.parametrize(
    ("host", "port"), [("::1", 9), ("no-such-host.invalid", 9), ("10.255.255.1", 9), ("127.0.0.1", 0)]
)
async def test_an_address_that_cannot_be_used_is_said_to_be(node: OpenNode, host: str, port: int) -> None:
    a = await node(NetLimits(handshake_timeout_s=2))
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await a.endpoint.dial(host, port)


async def test_a_port_in_use_is_said_to_be(node: OpenNode) -> None:
    a = await node()
    with pytest.raises(Unavailable, match="cannot listen on UDP"):
        await Endpoint.open("127.0.0.1", a.port, Certificate.generate(), on_connection=lambda _: None)


async def test_a_vanished_peer_is_noticed_by_the_idle_timeout(node: OpenNode) -> None:
    a = await node(NetLimits(idle_timeout_s=0.5))
    b = await node()
    dialler = await a.dial(b)
    b.endpoint._socket.close()
    reason = await dialler.wait_closed()
    assert reason.transport
    assert not reason.by_peer
    assert "idle" in reason.text.lower()
    assert a.endpoint.connections == ()


async def test_keepalives_hold_an_idle_connection_open(node: OpenNode) -> None:
    limits = NetLimits(idle_timeout_s=0.4, keepalive_s=0.1)
    a, b = await node(limits), await node(limits)
    dialler, listener = await a.dial(b), await b.accepted.get()
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.2
    await until(lambda: loop.time() >= end)
    assert not dialler.closing
    await _echo_once(dialler, listener)


async def test_one_address_gets_only_so_many_connections(node: OpenNode) -> None:
    short = NetLimits(handshake_timeout_s=0.2, handshake_retries=0)
    a, b = await node(short), await node(NetLimits(connections_per_address_max=2))
    first = await a.dial(b)
    await a.dial(b)
    with pytest.raises(TimedOut):
        await a.dial(b)
    assert b.endpoint.statistics().refused[Refusal.ADDRESS] >= 1
    first.close(Fault.NONE, "")
    await until(lambda: len(b.endpoint.connections) == 1)
    await a.dial(b)


async def test_all_together_get_only_so_many_connections(node: OpenNode) -> None:
    short = NetLimits(handshake_timeout_s=0.2, handshake_retries=0, connections_max=2)
    a, b = await node(short), await node(NetLimits(connections_max=1))
    (await a.dial(b)).mark_authenticated()
    (await b.accepted.get()).mark_authenticated()
    with pytest.raises(TimedOut):
        await a.dial(b)
    assert b.endpoint.statistics().refused[Refusal.CONNECTIONS] >= 1
    c = await node()
    (await a.dial(c)).mark_authenticated()
    with pytest.raises(Unavailable, match="connections_max"):
        await a.dial(c)


async def _crowd(node: OpenNode, limits: NetLimits) -> tuple[Node, Node]:
    short = NetLimits(handshake_timeout_s=0.3, handshake_retries=0)
    return await node(short), await node(limits)


async def test_under_load_newcomers_prove_their_address_first(node: OpenNode) -> None:
    a, b = await _crowd(node, NetLimits(retry_above=1))
    await a.dial(b)
    await b.accepted.get()
    assert b.endpoint.statistics().retries_sent == 0
    dialler = await a.dial(b)
    assert 1 <= b.endpoint.statistics().retries_sent <= 2  # one for each datagram of its ClientHello
    await _echo_once(dialler, await b.accepted.get())
    assert dialler.certificate_hash == b.certificate.hash


async def test_the_unauthenticated_are_bounded_and_the_authenticated_are_not_counted(node: OpenNode) -> None:
    a, b = await _crowd(node, NetLimits(unauthenticated_max=1))
    await a.dial(b)
    with pytest.raises(TimedOut):
        await a.dial(b)
    assert b.endpoint.statistics().refused[Refusal.UNAUTHENTICATED] >= 1
    (await b.accepted.get()).mark_authenticated()
    assert b.endpoint.statistics().unauthenticated == 0
    await a.dial(b)


async def test_an_accepted_handshake_that_stalls_gives_up_its_place(node: OpenNode) -> None:
    a, b = await node(), await node(NetLimits(handshake_timeout_s=0.1))
    a.endpoint._socket._on_received = lambda received: None  # hears nothing, so it never finishes
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await a.dial(b)
    await until(lambda: b.endpoint.statistics().handshakes_timed_out == 1)
    assert b.endpoint._roster.everyone == ()


async def test_a_foreign_protocol_is_refused_in_the_handshake(node: OpenNode) -> None:
    a, b = await node(NetLimits(handshake_timeout_s=2)), await node()
    a.endpoint._dialling.alpn_protocols = ["other/1"]
    with pytest.raises(ConnectionLost, match="ALPN"):
        await a.dial(b)


async def test_a_handler_that_fails_costs_only_its_connection(node: OpenNode) -> None:
    a, b = await node(), await node()

    def fail(connection: Connection) -> None:
        raise RuntimeError("no")

    handler, b.endpoint._roster._on_accepted = b.endpoint._roster._on_accepted, fail
    assert (await (await a.dial(b)).wait_closed()).fault is Fault.INTERNAL
    b.endpoint._roster._on_accepted = handler
    await _echo_once(await a.dial(b), await b.accepted.get())


async def test_a_core_that_fails_costs_only_its_connection_and_nobody_is_blamed(
    node: OpenNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await node(), await node()
    connection = await a.dial(b)
    failing, poll = connection._drive.core, QuicCore.poll

    def fail(core: QuicCore, now: float, most: int = 1) -> list[bytes]:
        if core is failing:
            raise ValueError("reserved stream is missing")
        return poll(core, now, most)

    monkeypatch.setattr(QuicCore, "poll", fail)
    await (await connection.open_stream()).write(b"x")
    reason = await connection.wait_closed()
    assert (reason.fault, reason.by_peer) == (Fault.INTERNAL, False)
    await b.accepted.get()
    await _echo_once(await a.dial(b), await b.accepted.get())


async def test_a_dial_cancelled_as_it_succeeds_leaves_nothing_behind(node: OpenNode) -> None:
    a, b = await node(), await node()
    async with asyncio.TaskGroup() as group:
        dialling = group.create_task(a.dial(b))
        await until(lambda: a.endpoint.connections)
        dialling.cancel()
    assert dialling.cancelled()
    assert a.endpoint.connections == ()
    await (await b.accepted.get()).wait_closed()
