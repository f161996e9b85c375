"""Gossip among whole nodes over real QUIC: what reaches whom, once, in order, and what happens when it does not."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cis.errors import Fault, UsageError
from cis.net import Connection
from cis.node.bulletins.hearing import Message
from cis.node.bulletins.topics import WAITING_MAX, Listening
from cis.node.core.events import PartingAsked
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.node.core.pool import PoolLimits
from cis.node.driver import Driver
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.streams import gossiping
from cis.node.streams.gossiping import GossipOut
from cis.trust.bulletins import Told, seal_bulletin
from cis.wire.bulletins import PAYLOAD_BYTES_MAX
from cis.wire.gossip import Gossip, GossipMessage
from cis.wire.membership import Role
from cis.wire.messages import Open, encode
from tests.net.cluster import cluster, meet, put, running, state, until, value
from tests.net.test_node import dial_as, fault_met, open_endpoint

pytestmark = pytest.mark.timeout(90)

HOUR_MS = 3_600_000


@asynccontextmanager
async def all_running(nodes: Sequence[LocalNode], **options: object) -> AsyncIterator[list[Driver]]:
    """Run nodes of one cluster, and close them afterwards."""
    try:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(running(node, **options)) for node in nodes]
    finally:
        for node in nodes:
            node.close()


@asynccontextmanager
async def line(folder: Path, *names: str) -> AsyncIterator[list[Driver]]:
    """Run nodes that are connected in a line and not otherwise."""
    async with all_running(await cluster(folder, *names)) as drivers:
        for here, there in itertools.permutations(range(len(drivers)), 2):
            if abs(here - there) > 1:
                drivers[here].report(PartingAsked(drivers[there].local.identity.node))
        for one, other in itertools.pairwise(drivers):
            meet(one, other)
        await until(lambda: sum(len(driver.core.overlay.neighbours) for driver in drivers) == 2 * (len(drivers) - 1))
        yield drivers


def reader(driver: Driver, stack: AsyncExitStack, topic: str | None = None) -> Listening:
    return stack.enter_context(driver.topics.listen(topic))


async def texts(listening: Listening, count: int) -> list[str]:
    read = [await listening.next() for _ in range(count)]
    return [found[0].payload.decode() for found in read if found is not None]


async def test_a_broadcast_passes_through_a_node_between_to_readers_at_the_end_once_and_in_order(
    tmp_path: Path,
) -> None:
    async with line(tmp_path, "a", "b", "c", "d") as (first, *_, last), AsyncExitStack() as stack:
        there, here = reader(last, stack, "t"), reader(first, stack)
        for number in range(200):
            first.topics.broadcast("t", b"%d" % number)
        first.topics.broadcast("other", b"not for there")
        first.topics.broadcast("t", b"end")
        expected = [*map(str, range(200)), "end"]
        assert await texts(there, 201) == expected
        assert await texts(here, 202) == [*expected[:-1], "not for there", "end"]
        assert not there._waiting
        assert not here._waiting


async def test_a_change_passes_through_a_node_between_without_a_session(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b", "c") as drivers:
        statuses = [status for driver in drivers for status in driver.core.status.values()]
        await until(lambda: all(status.sessions for status in statuses))
        before = [status.sessions for status in statuses]
        await put(drivers[0].local, "key", b"passed on")
        await until(lambda: value(drivers[2].local, "key") == b"passed on")
        assert [status.sessions for status in statuses] == before
        assert len(drivers[0].links) == len(drivers[2].links) == 1


async def test_a_change_too_large_for_gossip_is_pulled_hop_by_hop(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b", "c") as drivers:
        large = bytes(200_000)
        await put(drivers[0].local, "key", large)
        await until(lambda: value(drivers[2].local, "key") == large)


async def test_a_member_that_joins_is_known_two_hops_away_at_once(tmp_path: Path) -> None:
    newcomer = LocalNode.create(Home(tmp_path / "new"), "new")
    async with line(tmp_path, "a", "b", "c") as (founder, _, last):
        ticket = founder.local.cluster.invite(founder.local.store, Role.WRITER, None, 60_000, founder.addresses())
        await join(newcomer, ticket, "new")
        await until(lambda: last.local.cluster.membership.member(newcomer.identity.node))
    newcomer.close()


async def test_more_nodes_than_neighbours_all_hear_everything_and_are_no_full_mesh(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(NEIGHBOURS_MAX + 4)]
    nodes = await cluster(tmp_path, *names)
    async with all_running(nodes, pool=PoolLimits(idle_s=0.5)) as drivers, AsyncExitStack() as stack:
        for driver in drivers[1:]:
            meet(driver, drivers[0])
        await until(lambda: all(len(driver.core.overlay.neighbours) >= 2 for driver in drivers))
        await until(lambda: sum(len(driver.links) for driver in drivers) < len(drivers) * (NEIGHBOURS_MAX + 1))
        listening = [reader(driver, stack) for driver in drivers]
        drivers[-1].topics.broadcast("t", b"to all")
        await put(drivers[-1].local, "key", b"to all")
        assert [await texts(one, 1) for one in listening] == [["to all"]] * len(drivers)
        await until(lambda: all(value(driver.local, "key") == b"to all" for driver in drivers))


async def test_a_change_that_gossip_lost_is_brought_by_a_session_when_the_next_shows_the_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[GossipMessage] = []
    put_out = GossipOut.put

    def losing(self: GossipOut, message: GossipMessage) -> None:
        if isinstance(message, Gossip) and len(message.body) > 20_000:
            said.append(message)
        else:
            put_out(self, message)

    monkeypatch.setattr(GossipOut, "put", losing)
    async with line(tmp_path, "a", "b") as (one, two):
        await put(one.local, "lost", bytes(20_000))
        await until(lambda: said)
        assert value(two.local, "lost") is None
        await put(one.local, "next", b"1")
        await until(lambda: value(two.local, "lost") is not None and state(one.local) == state(two.local))


async def test_a_peer_that_cannot_keep_up_gets_the_changes_by_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(tmp_path, "a", "b") as (one, two):
        monkeypatch.setattr(gossiping, "WAITING_BYTES_MAX", 10_000)
        await put(one.local, "large", bytes(20_000))
        await until(lambda: value(two.local, "large") is not None)


async def test_the_clock_of_an_author_does_not_silence_it(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b") as (one, two), AsyncExitStack() as stack:
        there, true_clock = reader(two, stack), one.local.clock_ms
        for off_ms in (HOUR_MS, -HOUR_MS, 0):
            one.local.clock_ms = lambda off_ms=off_ms: true_clock() + off_ms
            one.topics.broadcast("t", b"%d" % off_ms)
        assert await texts(there, 3) == [str(HOUR_MS), str(-HOUR_MS), "0"]


async def test_who_leaves_says_so_and_is_no_neighbour_any_more(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "stays", "leaves")
    leaving = nodes[1].identity.node
    async with running(nodes[0]) as one:
        async with running(nodes[1]) as two:
            meet(two, one)
            await until(lambda: (told := one.presence.of(leaving)) is not None and told.here)
        await until(lambda: (told := one.presence.of(leaving)) is not None and not told.here)
        assert leaving not in one.core.overlay.neighbours
        await until(lambda: not one.links)
        assert "shutdown" in one.core.book.get(leaving).last_error
    for node in nodes:
        node.close()


# --- what a member may not do --------------------------------------------------------------------------------------


async def say(connection: Connection, *bodies: bytes) -> None:
    stream = await connection.open_stream()
    await stream.write_frame(encode(Open("gossip")))
    for body in bodies:
        await stream.write_frame(encode(Gossip(0, bytes(8), body)))


async def test_who_passes_on_a_bulletin_its_author_did_not_sign_is_shut_out(tmp_path: Path) -> None:
    victim, hostile, honest = nodes = await cluster(tmp_path, "victim", "hostile", "honest")
    keys = victim.cluster.keys.spaces[victim.cluster.public]
    told = Told(bytes(8), 1, victim.clock_ms(), "t", b"forged")
    body = seal_bulletin(honest.identity, keys, told, honest.entropy)
    forged = body[:-1] + bytes([body[-1] ^ 1])
    async with all_running(nodes[:1]) as (driver,), AsyncExitStack() as stack, await open_endpoint() as endpoint:
        listening = reader(driver, stack)
        connection = await dial_as(hostile, driver, endpoint)
        await say(connection, forged)
        assert (await connection.wait_closed()).fault is Fault.BAD_SIGNATURE
        assert await fault_met(hostile, driver, endpoint) is Fault.BANNED
        assert not listening._waiting
    hostile.close()
    honest.close()


async def test_a_replayed_bulletin_is_read_once(tmp_path: Path) -> None:
    victim, hostile = nodes = await cluster(tmp_path, "victim", "hostile")
    keys = victim.cluster.keys.spaces[victim.cluster.public]
    bodies = [
        seal_bulletin(hostile.identity, keys, Told(b"one run.", 1, victim.clock_ms(), "t", text), hostile.entropy)
        for text in (b"said", b"another of that number")
    ]
    end = seal_bulletin(hostile.identity, keys, Told(b"one run.", 2, victim.clock_ms(), "t", b"end"), hostile.entropy)
    async with all_running(nodes[:1]) as (driver,), AsyncExitStack() as stack, await open_endpoint() as endpoint:
        listening = reader(driver, stack)
        connection = await dial_as(hostile, driver, endpoint)
        await say(connection, bodies[0], bodies[1], bodies[0], end)
        assert await texts(listening, 2) == ["said", "end"]
    hostile.close()


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("cis/changes", b"x", "the system's own"),
        ("", b"x", "1 to 128 bytes"),
        ("x" * 129, b"x", "1 to 128 bytes"),
        ("a\nb", b"x", "printable"),
        ("t", bytes(PAYLOAD_BYTES_MAX + 1), "at most 49,152"),
    ],
)
async def test_what_users_may_not_tell_is_refused(tmp_path: Path, topic: str, payload: bytes, why: str) -> None:
    local = LocalNode.create(Home(tmp_path / "solo"), "solo")
    async with all_running([local]) as (driver,):
        with pytest.raises(UsageError, match=why):
            driver.topics.broadcast(topic, payload)


async def test_a_reader_that_does_not_keep_up_loses_the_oldest_and_is_told_how_many() -> None:
    listening = Listening(None)
    for number in range(WAITING_MAX + 3):
        listening.put(Message("t", b"", 0, b"%d" % number))
    found = await listening.next()
    assert found is not None
    assert (found[0].payload, found[1]) == (b"3", 3)
    again = await listening.next()
    assert again is not None
    assert (again[0].payload, again[1]) == (b"4", 0)
    listening.end()
    rest = [await listening.next() for _ in range(WAITING_MAX - 1)]
    assert rest[-1] is None
