"""Every bound of the protocol is enforced and counted; docs/security.md lists them with these tests."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from cis.errors import Fault, PeerFault, TimedOut, Unavailable
from cis.model import Candidate, NodeId
from cis.model.record import CANDIDATES_MAX, RECORD_BYTES_MAX
from cis.net import Certificate, ConnectionLost, Endpoint, NetLimits, Refusal, Stream
from cis.net.limits import Cut
from cis.node.core import events
from cis.node.core.dialling import FOREIGN_DIALS_PER_MINUTE, Dialling
from cis.node.core.table import LINKS_PER_NODE_MAX, Link, LinkTable
from cis.node.entry import greeting
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.streams import paces
from cis.node.streams.paces import STREAM_UNITS_BURST, Pace, Tally
from cis.peers import PeerBook, Target
from cis.trust.records import read_record, sign_record
from cis.wire.gossip import Gossip
from cis.wire.handshake import HANDSHAKE_BYTES_MAX
from cis.wire.messages import FRAME_BYTES_MAX, Open, Ping, Records, encode
from tests.net.cluster import running, until
from tests.net.loopback import OpenNode
from tests.net.test_node import dial_as, fault_met, open_endpoint

pytestmark = pytest.mark.timeout(60)


# --- before a peer has proven who it is ------------------------------------------------------------------------------


async def strict_listener(**limits: float) -> tuple[Endpoint, asyncio.Queue]:
    accepted: asyncio.Queue = asyncio.Queue()
    given = NetLimits(**limits)
    return await Endpoint.open(
        "127.0.0.1", 0, Certificate.generate(), limits=given, on_connection=accepted.put_nowait
    ), accepted


async def test_a_stranger_gets_one_stream() -> None:
    listener, accepted = await strict_listener()
    async with listener, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*listener.address)
        theirs = await accepted.get()
        for _ in range(2):
            await (await connection.open_stream()).write(b"x")
        assert "more than a handshake" in (await theirs.wait_closed()).text
        assert listener.statistics().cut == {Cut.UNPROVEN: 1}


async def test_a_listener_that_talks_before_it_is_proven_is_left() -> None:
    listener, accepted = await strict_listener()
    async with listener, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*listener.address)
        stream = await (await accepted.get()).open_stream()
        with pytest.raises(ConnectionLost):
            await _pump(stream)
        assert "more than a handshake" in (await connection.wait_closed()).text
        assert connection.statistics().bytes_in <= 3 << 20
        assert endpoint.statistics().cut == {Cut.UNPROVEN: 1}


async def test_a_handshake_of_more_than_16_kib_is_broken_off(couple: tuple[LocalNode, LocalNode]) -> None:
    async with running(couple[0]) as driver, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        await (await connection.open_stream()).write_frame(bytes(HANDSHAKE_BYTES_MAX + 1))
        assert (await connection.wait_closed()).fault in {Fault.TOO_LARGE, Fault.REFUSED}
        assert driver.tally["handshake_too_large"] == 1


async def test_a_handshake_that_takes_too_long_is_broken_off(
    couple: tuple[LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert greeting.HANDSHAKE_S == 5.0
    monkeypatch.setattr(greeting, "HANDSHAKE_S", 0.2)
    async with running(couple[0]) as driver, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        stream = await connection.open_stream()
        await stream.write((256).to_bytes(4, "big"))  # a slow loris: it begins, and does not go on
        assert (await connection.wait_closed()).by_peer
        assert driver.tally["handshake_broken_off"] == 1


async def test_an_address_that_comes_to_nothing_too_often_has_to_wait_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener, accepted = await strict_listener(failed_per_address_burst=3.0, failed_per_address_per_s=0.5)
    short = NetLimits(handshake_timeout_s=0.3, handshake_retries=0)
    certificate = Certificate.generate()
    async with (
        listener,
        await Endpoint.open("127.0.0.1", 0, certificate, limits=short, on_connection=lambda _: None) as foe,
        await Endpoint.open("127.0.0.2", 0, certificate, limits=short, on_connection=lambda _: None) as friend,
    ):
        for _ in range(3):
            connection = await foe.dial(*listener.address)
            (await accepted.get()).drop("came to nothing")
            connection.drop("")
        with pytest.raises(TimedOut):
            await foe.dial(*listener.address)
        assert listener.statistics().refused[Refusal.FAILED] >= 1
        for _ in range(8):  # who proves itself spends nothing
            connection = await friend.dial(*listener.address)
            (await accepted.get()).mark_authenticated()
            connection.drop("")
        loop = listener._loop
        late = loop.time() + 3.0
        monkeypatch.setattr(listener._roster, "_loop", _At(loop, late))
        assert (await foe.dial(*listener.address)).established


class _At:
    """A loop whose clock says another time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._loop, self._now = loop, now

    def time(self) -> float:
        return self._now

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


async def test_dials_under_way_take_no_place_of_newcomers() -> None:
    short = {"handshake_timeout_s": 0.5, "handshake_retries": 0}
    busy, accepted = await strict_listener(connections_max=2, connections_per_address_max=2, dialling_max=2, **short)
    silent = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    place = silent[0].get_extra_info("sockname")
    async with busy, await open_endpoint() as endpoint, AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for _ in range(5):
            group.create_task(_dial_in_vain(busy, place))
        for _ in range(50):
            await asyncio.sleep(0)
        assert busy.statistics().handshaking == 2  # the others wait for their turn
        for _ in range(2):
            await endpoint.dial(*busy.address)
            (await accepted.get()).mark_authenticated()
    silent[0].close()


async def _dial_in_vain(endpoint: Endpoint, place: tuple[str, int]) -> None:
    with contextlib.suppress(Unavailable):
        await endpoint.dial(*place)


# --- what a connection may hold --------------------------------------------------------------------------------------


async def test_what_lies_unread_in_all_connections_is_bounded_and_the_greediest_goes(node: OpenNode) -> None:
    a = await node()
    b = await node(NetLimits(buffered_in_all_max_bytes=4 << 20, buffered_per_connection_max_bytes=64 << 20))
    modest, greedy = await a.dial(b), await a.dial(b)
    theirs = [await b.accepted.get() for _ in range(2)]
    await (await modest.open_stream()).write(bytes(1 << 20))
    stream = await greedy.open_stream()
    with pytest.raises(ConnectionLost, match="too much lies unread"):
        await _pump(stream)
    assert (await theirs[1].wait_closed()).fault is Fault.BUSY
    assert not theirs[0].closing
    assert b.endpoint.statistics().cut == {Cut.BUFFERED: 1}


async def test_a_peer_that_has_to_stop_and_one_with_too_many_streams_are_counted(node: OpenNode) -> None:
    a, b = await node(), await node(NetLimits(buffered_per_connection_max_bytes=1 << 20, streams_max=4))
    dialler = await a.dial(b)
    theirs = await b.accepted.get()
    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(_pump(await dialler.open_stream()))
        await until(lambda: theirs.statistics().paused)
        assert b.endpoint.statistics().paused == 1
        assert theirs.statistics().unread_bytes <= 1 << 20
        pumping.cancel()
    second = await a.dial(b)
    await b.accepted.get()
    for _ in range(5):
        await (await second.open_stream()).write(b"x")
    assert (await second.wait_closed()).fault is Fault.BUSY
    assert b.endpoint.statistics().cut[Cut.STREAMS] == 1


async def _pump(stream: Stream) -> None:
    while True:
        await stream.write(bytes(64 << 10))


def test_a_third_connection_with_one_node_takes_the_place_of_the_oldest() -> None:
    own, other = node_id(1), node_id(2)
    table = LinkTable(own)
    for number in (1, 2):
        table.add(Link(number, other, None, since=float(number)))
    taken, gives_way = table.judge(events.Connected(3, other, None), 3.0)
    assert (LINKS_PER_NODE_MAX, taken) == (2, True)
    assert gives_way is table.by_id[1]
    table.per_node_max = 3
    assert table.judge(events.Connected(3, other, None), 3.0) == (True, None)


# --- what a member may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["sync", "records", "audit", "vectors"])
async def test_a_frame_of_more_than_a_mib_ends_the_link_before_it_is_kept_and_bans_its_node(
    couple: tuple[LocalNode, LocalNode], purpose: str
) -> None:
    victim, hostile = couple
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        stream = await connection.open_stream()
        await stream.write_frame(encode(Open(purpose)))
        await stream.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        assert (await connection.wait_closed()).fault is Fault.TOO_LARGE
        await until(lambda: driver.tally["closed_too_large"] == 1 and driver.core.dialling.bans == 1)
        assert await fault_met(hostile, driver, endpoint) is Fault.BANNED


async def test_a_gossip_frame_is_bounded_more_tightly(couple: tuple[LocalNode, LocalNode]) -> None:
    victim, hostile = couple
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        stream = await connection.open_stream()
        await stream.write_frame(encode(Open("gossip")))
        await stream.write_frame(encode(Gossip(1, bytes(8), bytes(200_000))))
        assert (await connection.wait_closed()).fault is Fault.TOO_LARGE


async def test_streams_are_served_at_the_pace_of_what_they_cost(couple: tuple[LocalNode, LocalNode]) -> None:
    victim, hostile = couple
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        stream = await connection.open_stream()
        await stream.write_frame(encode(Open("ping")))
        for number in range(int(STREAM_UNITS_BURST) + 10):
            await stream.write_frame(encode(Ping(number)))
        await until(lambda: driver.tally["streams_slowed"] >= 1)
        assert not connection.closing


async def test_a_peer_that_opens_streams_one_after_the_other_is_slowed(
    couple: tuple[LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces, "STREAM_UNITS_BURST", 100.0)
    victim, hostile = couple
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        for _ in range(20):  # each costs ten units
            stream = await connection.open_stream()
            await stream.write_frame(encode(Open("records")))
            await stream.write_frame(encode(Records([])))
            stream.finish()
        await until(lambda: driver.tally["streams_slowed"] >= 1)
        assert not connection.closing


async def test_a_pace_waits_out_what_was_spent_beyond_it() -> None:
    tally = Tally()
    pace = Pace("slowed", tally, per_s=1000.0, burst=1.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    pace.spend(51.0)
    await pace.wait()
    assert loop.time() - began >= 0.045
    assert tally == {"slowed": 1}


def test_a_record_of_more_than_2_kib_or_16_candidates_is_refused(tmp_path: Path) -> None:
    node = LocalNode.create(Home(tmp_path / "node"), "node")
    many = tuple(Candidate(f"192.0.2.{number}", 7677, "lan") for number in range(CANDIDATES_MAX + 9))
    record = read_record(sign_record(node.identity, many, node.clock_ms()))
    assert len(record.candidates) == CANDIDATES_MAX == 16
    with pytest.raises(PeerFault) as refusal:
        read_record(bytes(RECORD_BYTES_MAX + 1))
    assert (refusal.value.fault, RECORD_BYTES_MAX) == (Fault.TOO_LARGE, 2048)
    node.close()


async def test_who_is_put_out_by_this_nodes_own_decision_is_not_banned_too(couple: tuple[LocalNode, LocalNode]) -> None:
    victim, other = couple
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(other, driver, endpoint)
        await until(lambda: driver.links)
        next(iter(driver.links.values())).connection.close(Fault.UNAUTHORISED, "not admitted")
        assert (await connection.wait_closed()).fault is Fault.UNAUTHORISED
        await until(lambda: not driver.links)
        assert driver.core.dialling.bans == 0
        await dial_as(other, driver, endpoint)
        await until(lambda: driver.links)


# --- whom a member may make this node dial ---------------------------------------------------------------------------


def node_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def dialling_of(source: str, count: int) -> Dialling:
    dialling = Dialling(PeerBook(node_id(0), Random(1)), Random(2))
    for number in range(1, count + 1):
        dialling.sighted(Target(node_id(number), f"198.51.100.{number % 250}", number, source), 0.0)
    return dialling


def dials_made(dialling: Dialling, until_s: float) -> int:
    made, now = 0, 0.0
    while now <= until_s:
        for target in dialling.due([], 10_000, now):
            made += 1
            dialling.failed(target, "nobody there", now)
        now += 0.5
    return made


def test_addresses_others_tell_of_are_dialled_only_so_often_a_minute() -> None:
    dialling = dialling_of("member", 500)
    first = dials_made(dialling, 0.0)
    assert first == FOREIGN_DIALS_PER_MINUTE
    assert dialling.postponed == 500 - FOREIGN_DIALS_PER_MINUTE
    assert dials_made(dialling_of("member", 500), 60.0) <= 2 * FOREIGN_DIALS_PER_MINUTE + 1


def test_addresses_the_user_gave_and_those_that_worked_are_dialled_regardless() -> None:
    assert dials_made(dialling_of("static", 500), 0.0) == 500
    dialling = dialling_of("member", 100)
    for number in range(1, 101):
        target = Target(node_id(number), f"198.51.100.{number}", number, "member")
        dialling.connected(target.node, target, 0.0)
        dialling.lost(target.node, "", 0.0, unwanted=False)
    assert dials_made(dialling, 3.0) >= 100


def test_what_is_put_off_is_dialled_later() -> None:
    dialling = dialling_of("member", FOREIGN_DIALS_PER_MINUTE + 5)
    reached = set()
    for tick in range(40):
        for target in dialling.due(list(reached), 10_000, tick * 0.5):
            reached.add(target.node)
            dialling.connected(target.node, target, tick * 0.5)
    assert len(reached) == FOREIGN_DIALS_PER_MINUTE + 5
