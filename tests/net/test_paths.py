"""Carriers and paths: dialling over one, being expected on one, moving, silence, STUN beside QUIC."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from random import Random

import pytest

from cis.errors import Fault, TimedOut
from cis.net import Certificate, Connection, ConnectionLost, Drop, Endpoint, NetLimits, Path
from cis.net.qh3_core import DATAGRAM_BYTES, RawAddress
from tests.net.carriers import FakeCarrier, kill, wire
from tests.net.loopback import Node, OpenNode, steady, until

STUN = bytes.fromhex("000100002112a442") + bytes(12)


async def _send(connection: Connection, data: bytes) -> None:
    async with await connection.open_stream() as stream:
        for start in range(0, len(data), 60_000):
            await stream.write_frame(data[start : start + 60_000])
        stream.finish()
        assert await stream.read_frame(1) is None


async def _receive(connection: Connection, progress: list[int]) -> str:
    digest = hashlib.sha256()
    async with await connection.accept_stream() as stream:
        while (frame := await stream.read_frame(1 << 17)) is not None:
            digest.update(frame)
            progress[0] += len(frame)
        stream.finish()
    return digest.hexdigest()


class _Transfer:
    """A stream in each direction at once, of bytes that are checked at the end."""

    def __init__(self, a: Connection, b: Connection, size: int) -> None:
        self.data = os.urandom(size)
        self.to_b, self.to_a = [0], [0]
        self._tasks = asyncio.gather(
            _send(a, self.data), _send(b, self.data), _receive(a, self.to_a), _receive(b, self.to_b)
        )

    async def wait_at(self, part: float) -> None:
        """Wait until this part of both directions has arrived."""
        await until(lambda: min(self.to_a[0], self.to_b[0]) >= part * len(self.data), 30)

    async def wait_done(self, within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            *_, at_a, at_b = await self._tasks
        assert at_a == at_b == hashlib.sha256(self.data).hexdigest()


async def _joined(node: OpenNode, **traits: float) -> tuple[Connection, Connection]:
    """Two endpoints connected over a wire alone."""
    a, b = await node(), await node()
    near, far = wire(a.endpoint, b.endpoint, **traits)
    b.endpoint.expect(far.path(proven=True))
    return await a.endpoint.dial_over(near.path(proven=True)), await b.accepted.get()


def _ends(a: Connection, b: Connection) -> tuple[FakeCarrier, FakeCarrier]:
    near, far = a.path.carrier, b.path.carrier
    assert isinstance(near, FakeCarrier)
    assert isinstance(far, FakeCarrier)
    return near, far


async def test_a_connection_is_dialled_over_a_carrier_and_says_by_which_path(node: OpenNode) -> None:
    a, b = await node(), await node()
    near, far = wire(a.endpoint, b.endpoint)
    expected = far.path(local="relay", remote="srflx", proven=True)
    b.endpoint.expect(expected)
    dialled = near.path(local="relay", remote="relay")
    out, into = await a.endpoint.dial_over(dialled), await b.accepted.get()
    assert (out.path, into.path) == (dialled, expected)
    assert out.path.relayed
    assert out.statistics().path == dialled
    await _Transfer(out, into, 200_000).wait_done()


async def test_a_direct_connection_has_a_path_too(pair: tuple[Connection, Connection]) -> None:
    out, into = pair
    for one, other in ((out, into), (into, out)):
        assert (one.path.local, one.path.remote, one.path.relayed) == ("host", "host", False)
        assert one.path.address[0] == "127.0.0.1"
        assert one.path.address[1] != other.path.address[1]


async def test_a_dead_carrier_times_out_like_any_dial(node: OpenNode) -> None:
    a, b = await node(NetLimits(handshake_timeout_s=0.1, handshake_retries=1)), await node()
    near, _ = wire(a.endpoint, b.endpoint)
    near.dead = True
    with pytest.raises(TimedOut):
        await a.endpoint.dial_over(near.path())
    assert a.endpoint.statistics().dials_unanswered == 2


async def test_a_move_in_the_middle_of_a_bulk_stream_breaks_nothing(node: OpenNode) -> None:
    a, b = await node(), await node()
    out, into = await a.dial(b), await b.accepted.get()
    near, far = wire(a.endpoint, b.endpoint)
    transfer = _Transfer(out, into, 20_000_000)
    await transfer.wait_at(0.2)
    out.move(near.path(local="relay"))
    into.move(far.path())
    await transfer.wait_at(0.5)
    assert near.sent > 100
    assert far.sent > 100
    out.move(Path(a.endpoint.carrier, ("127.0.0.1", b.port)))
    into.move(Path(b.endpoint.carrier, ("127.0.0.1", a.port)))
    await transfer.wait_done()
    assert out.path.carrier is a.endpoint.carrier
    assert a.endpoint.statistics().moves == 2
    assert Drop.CRASHED_CORE not in a.endpoint.statistics().dropped


async def test_a_move_ends_the_stall_at_once_however_long_it_was(node: OpenNode) -> None:
    out, into = await _joined(node)
    transfer = _Transfer(out, into, 10_000_000)
    await transfer.wait_at(0.1)
    kill(*_ends(out, into))
    await until(lambda: out.suspect and into.suspect)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5  # long enough for QUIC's own probes to be seconds apart
    await until(lambda: loop.time() > end)
    near, far = wire(*(one.endpoint for one in _ends(out, into)))
    before = transfer.to_a[0], transfer.to_b[0]
    began = loop.time()
    out.move(near.path())
    into.move(far.path())
    await until(lambda: transfer.to_a[0] > before[0] and transfer.to_b[0] > before[1])
    assert loop.time() - began < 1
    assert not out.suspect
    await transfer.wait_done()


async def test_a_window_full_of_many_streams_does_not_hold_up_the_restart(node: OpenNode) -> None:
    out, into = await _joined(node, delay_s=0.005, per_turn=100)
    transfers = [_Transfer(out, into, 1_000_000) for _ in range(12)]
    await transfers[0].wait_at(0.3)
    kill(*_ends(out, into))
    await until(lambda: out.suspect and into.suspect)
    near, far = wire(*(one.endpoint for one in _ends(out, into)), delay_s=0.005, per_turn=100)

    def arrived() -> list[int]:
        return [sum(one.to_a[0] for one in transfers), sum(one.to_b[0] for one in transfers)]

    counted = arrived()
    began = asyncio.get_running_loop().time()
    out.move(near.path())
    into.move(far.path())
    await until(lambda: all(now > before for now, before in zip(arrived(), counted, strict=True)))
    assert asyncio.get_running_loop().time() - began < 1
    for one in transfers:
        await one.wait_done()


async def test_the_end_that_moved_later_is_found_by_the_one_that_moved_first(node: OpenNode) -> None:
    out, into = await _joined(node)
    transfer = _Transfer(out, into, 5_000_000)
    await transfer.wait_at(0.1)
    kill(*_ends(out, into))
    near, far = wire(*(one.endpoint for one in _ends(out, into)))
    out.move(near.path())  # the other end only sees where datagrams come from now
    await transfer.wait_done()
    assert into.path.carrier is far
    assert into.path.proven


@pytest.mark.parametrize("largest", [DATAGRAM_BYTES, 65535])
async def test_no_datagram_is_larger_than_any_path_carries(node: OpenNode, largest: int) -> None:
    a, b = await node(), await node()
    out, into = await a.dial(b), await b.accepted.get()
    near, far = wire(a.endpoint, b.endpoint, largest=largest)
    transfer = _Transfer(out, into, 5_000_000)
    await transfer.wait_at(0.2)
    out.move(near.path())
    into.move(far.path())
    await transfer.wait_done(20)
    assert near.oversized == far.oversized == 0


async def test_a_dead_path_is_suspected_in_about_a_second_of_traffic_and_once(node: OpenNode) -> None:
    out, into = await _joined(node, delay_s=0.02)
    told: list[float] = []
    loop = asyncio.get_running_loop()
    out.on_suspect = lambda: told.append(loop.time())
    transfer = _Transfer(out, into, 50_000_000)
    await transfer.wait_at(0.01)
    ends = _ends(out, into)
    kill(*ends)
    died = loop.time()
    await until(lambda: told)
    assert 0.7 <= told[0] - died < 1.5
    assert out.suspect
    end = loop.time() + 1
    await until(lambda: loop.time() > end)
    assert len(told) == 1
    kill(*ends, dead=False)
    before = transfer.to_b[0]
    await until(lambda: transfer.to_b[0] > before and not out.suspect)
    assert loop.time() - end < 1  # no timeout of seconds was waited out
    kill(*ends)
    await until(lambda: len(told) == 2)
    kill(*ends, dead=False)
    await transfer.wait_at(0.02)
    out.close(Fault.SHUTDOWN, "")
    with pytest.raises(ConnectionLost):
        await transfer.wait_done()


async def test_an_idle_path_is_not_suspected_until_it_is_probed(node: OpenNode) -> None:
    out, into = await _joined(node)
    near, far = _ends(out, into)
    await steady(lambda: near.sent + far.sent)
    kill(near, far)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1
    await until(lambda: loop.time() > end)
    assert not out.suspect
    assert out._drive.footing._vigil.asking is False
    out.probe()
    await until(lambda: out.suspect)
    assert loop.time() - end < 1.5


async def test_an_error_of_the_carrier_is_enough_for_doubt(node: OpenNode) -> None:
    out, into = await _joined(node)
    near, _ = _ends(out, into)
    near.error = OSError(101, "Network is unreachable")
    out.probe()
    await until(lambda: out.suspect, 2)
    near.error = None
    await until(lambda: not out.suspect, 2)


async def test_a_lossy_path_is_not_suspected(node: OpenNode) -> None:
    out, into = await _joined(node, loss=0.25, delay_s=0.01)
    transfer = _Transfer(out, into, 1_000_000)
    loop = asyncio.get_running_loop()
    end = loop.time() + 4
    await until(lambda: loop.time() > end)
    suspicions = [_ends(out, into)[side].endpoint.statistics().suspicions for side in (0, 1)]
    assert sum(suspicions) == 0
    for end_of_wire in _ends(out, into):
        end_of_wire.loss = 0
    await transfer.wait_done()


async def test_a_congested_carrier_holds_the_sender_back(node: OpenNode) -> None:
    out, into = await _joined(node, room=50, per_turn=40, delay_s=0.001)
    transfer = _Transfer(out, into, 2_000_000)
    await transfer.wait_done()
    assert max(one.most_waiting for one in _ends(out, into)) <= 50 + 256


async def test_a_sender_that_is_held_back_waits_for_room_once_however_much_it_hears(node: OpenNode) -> None:
    out, into = await _joined(node, room=50, per_turn=40, delay_s=0.01)
    near, _ = _ends(out, into)
    near.room = 0
    for _ in range(100):
        out.receive([b"\x40" + bytes(40)], near, near.path().address)
    assert len(near._callbacks) == 1


async def test_a_peer_whose_address_changed_is_followed(node: OpenNode) -> None:
    out, into = await _joined(node)
    near, far = _ends(out, into)
    for port in range(5000, 5006):  # more often than qh3 would bear
        near.address = (near.address[0], port)
        transfer = _Transfer(out, into, 100_000)
        await transfer.wait_done(5)
        assert into.path.address == near.address
    assert (into.path.carrier, into.path.remote) == (far, "prflx")


async def test_what_is_not_the_peers_does_not_choose_the_interface_it_is_answered_by(node: OpenNode) -> None:
    """A link-local address is the same on every link; the scope beside it says on which (RFC 4007)."""
    a, b = await node(), await node()
    near, far = wire(a.endpoint, b.endpoint, ("fe80::1", 4001, 0, 2), ("fe80::2", 4002, 0, 2))
    b.endpoint.expect(far.path(proven=True))
    out, into = await a.endpoint.dial_over(near.path(proven=True)), await b.accepted.get()
    forged = bytes([0x40, *next(iter(b.endpoint._roster._entries[into].cids))]) + os.urandom(30)
    b.endpoint.receive_via(far, [(forged, ("fe80::1", 4001, 0, 3))])
    assert into.path.address == near.address
    await _Transfer(out, into, 1000).wait_done()


async def test_one_datagram_from_an_address_that_is_gone_stops_nothing(node: OpenNode) -> None:
    out, into = await _joined(node, room=100, delay_s=0.001, per_turn=50)
    near, _ = _ends(out, into)
    transfer = _Transfer(out, into, 5_000_000)
    for part in range(1, 7):
        await transfer.wait_at(part / 10)
        near.seeming = "203.0.113.9", part
        near.sent = 0
        await until(lambda: near.sent > 3)
        near.seeming = None
    await transfer.wait_done(10)
    assert into.path.address == near.address


async def test_who_repeats_datagrams_from_elsewhere_is_not_followed(node: OpenNode) -> None:
    out, into = await _joined(node)
    near, far = _ends(out, into)
    seen: list[bytes] = []
    send = near.send

    def tapped(datagrams: list[bytes], address: RawAddress) -> OSError | None:
        seen.extend(datagrams)
        return send(datagrams, address)

    near.send = tapped  # type: ignore[method-assign]  # to listen in
    await _Transfer(out, into, 100_000).wait_done()
    forged = [bytes([one[0]]) + one[1:9] + os.urandom(30) for one in seen[-5:]]
    before = far.sent
    far.endpoint.receive_via(far, [(one, ("203.0.113.9", 9)) for one in seen + forged])
    await _Transfer(out, into, 1000).wait_done()
    assert into.path.address == near.address
    assert far.sent - before < 20


async def test_a_stolen_first_copy_is_asked_but_not_followed(node: OpenNode) -> None:
    """Somebody beside the path is faster than the peer, from an address of his own that answers nothing."""
    out, into = await _joined(node)
    near, far = _ends(out, into)
    near.seeming = thief = ("203.0.113.9", 9)
    out.probe()
    await until(lambda: into._drive.footing._follower.place == (far, thief))
    near.seeming = None
    await _Transfer(out, into, 1_000_000).wait_done()
    assert into.path.address == near.address


async def test_stun_goes_to_its_handler_with_where_it_came_from(node: OpenNode) -> None:
    a, b = await node(), await node()
    near, far = wire(a.endpoint, b.endpoint)
    came: list[tuple[bytes, RawAddress, object]] = []
    b.endpoint.on_stun = lambda data, address, carrier: came.append((data, address, carrier))
    a.endpoint.carrier.send([STUN], ("127.0.0.1", b.port))
    near.send([STUN], far.address)
    await until(lambda: len(came) == 2)
    assert (STUN, near.address, far) in came
    assert (STUN, ("127.0.0.1", a.port), b.endpoint.carrier) in came
    assert b.endpoint.statistics().stun_in == 2


async def test_without_a_handler_stun_is_dropped_as_what_is_not_quic(node: OpenNode) -> None:
    a, b = await node(), await node()
    a.endpoint.carrier.send([STUN], ("127.0.0.1", b.port))
    await until(lambda: b.endpoint.statistics().dropped.get(Drop.NOT_QUIC) == 1)


async def test_a_failing_stun_handler_is_counted_and_harms_nothing(node: OpenNode) -> None:
    a, b = await node(), await node()

    def fail(data: bytes, address: RawAddress, carrier: object) -> None:
        raise ValueError(data)

    b.endpoint.on_stun = fail
    b.endpoint.receive_via(b.endpoint.carrier, [(STUN, ("192.0.2.1", 1))] * 100)
    assert b.endpoint.statistics().dropped[Drop.MALFORMED] == 100
    await a.dial(b)


async def test_a_flood_over_a_carrier_is_counted_and_keeps_nothing(node: OpenNode) -> None:
    a, b = await node(), await node()
    _, far = wire(a.endpoint, b.endpoint)
    b.endpoint.on_stun = lambda *_: None
    random = Random(3)
    for _ in range(200):
        flood = [
            (
                bytes([random.choice((0, 1, 0x40, 0x7F, 0xC0, 0xFF))]) + random.randbytes(random.randrange(1400)),
                far.address,
            )
            for _ in range(20)
        ]
        b.endpoint.receive_via(far, flood)
    b.endpoint.receive_via(far, [(b"", far.address), (STUN, far.address)])
    statistics = b.endpoint.statistics()
    assert statistics.datagrams_in >= 4002
    assert sum(statistics.dropped.values()) + statistics.stun_in >= 4002 - statistics.version_negotiations_sent
    assert b.endpoint._roster.everyone == ()
    await a.dial(b)


async def test_the_expected_prove_nothing_and_take_no_strangers_place(node: OpenNode) -> None:
    a, b = await node(), await node(NetLimits(retry_above=0, unauthenticated_max=1))
    near, far = wire(a.endpoint, b.endpoint)
    withdraw = b.endpoint.expect(far.path())
    await a.endpoint.dial_over(near.path())
    assert b.endpoint.statistics().retries_sent == b.endpoint.statistics().unauthenticated == 0
    await a.dial(b)
    assert b.endpoint.statistics().unauthenticated == 1
    retries = b.endpoint.statistics().retries_sent
    withdraw()
    withdraw()
    (await b.accepted.get()).mark_authenticated()
    (await b.accepted.get()).mark_authenticated()
    await a.endpoint.dial_over(near.path())
    assert b.endpoint.statistics().retries_sent > retries


@pytest.mark.parametrize("who", ["other address", "other carrier"])
async def test_an_expectation_is_for_one_address_on_one_carrier(node: OpenNode, who: str) -> None:
    a, b = await node(), await node(NetLimits(retry_above=0))
    near, far = wire(a.endpoint, b.endpoint)
    other_near, _ = wire(a.endpoint, b.endpoint)
    b.endpoint.expect(far.path())
    if who == "other address":
        near.address = (near.address[0], 9)
        await a.endpoint.dial_over(near.path())
    else:
        await a.endpoint.dial_over(other_near.path())
    assert b.endpoint.statistics().retries_sent >= 1


async def test_an_expectation_lets_in_few_and_few_are_held(node: OpenNode) -> None:
    a = await node()
    b = await node(NetLimits(retry_above=0, expected_max=2))
    near, far = wire(a.endpoint, b.endpoint)
    b.endpoint.expect(far.path())
    for _ in range(8):
        (await a.endpoint.dial_over(near.path())).mark_authenticated()
        (await b.accepted.get()).mark_authenticated()
    assert b.endpoint.statistics().retries_sent == 0
    await a.endpoint.dial_over(near.path())
    assert b.endpoint.statistics().retries_sent >= 1
    for port in range(100):
        b.endpoint.expect(Path(far, ("192.0.2.7", port + 1)))
    assert len(b.endpoint._doorway._expectations) == 2


async def test_who_came_a_moment_before_being_expected_is_adopted(node: OpenNode) -> None:
    a, b = await node(), await node()
    near, far = wire(a.endpoint, b.endpoint)
    await a.endpoint.dial_over(near.path())
    into = await b.accepted.get()
    path = far.path(local="relay", remote="prflx", proven=True)
    b.endpoint.expect(path)
    assert into.path == path


async def test_a_machine_without_ipv6_listens_on_ipv4(node: OpenNode, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = -1, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr("cis.net.udp.socket.socket", without_ipv6)
    four: Node = await node()
    async with await Endpoint.open("::", 0, Certificate.generate(), on_connection=lambda _: None) as endpoint:
        assert endpoint.address[0] == "0.0.0.0"
        assert (await four.endpoint.dial("127.0.0.1", endpoint.address[1])).established


async def test_addresses_are_written_as_the_socket_writes_them(node: OpenNode) -> None:
    both, four = await node(host="::"), await node()
    assert both.endpoint._socket.spell("192.0.2.1", 1) == ("::ffff:192.0.2.1", 1, 0, 0)
    assert four.endpoint._socket.spell("192.0.2.1", 1) == ("192.0.2.1", 1)
    with pytest.raises(OSError, match="IPv4 only"):
        four.endpoint._socket.spell("2001:db8::1", 1)
    came: list[bytes] = []
    four.endpoint.on_stun = lambda data, *_: came.append(data)
    both.endpoint.carrier.send([STUN], ("127.0.0.1", four.port))  # plain, on a dual-stack socket
    await until(lambda: came)
    both.endpoint.expect(Path(both.endpoint.carrier, ("127.0.0.1", four.port), proven=True))
    out = await four.endpoint.dial_over(Path(four.endpoint.carrier, ("127.0.0.1", both.port), proven=True))
    into = await both.accepted.get()
    await _Transfer(out, into, 10_000).wait_done()
    assert into.path.proven
