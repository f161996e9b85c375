"""What was said once and is said again, and what is said in another's name: handshakes, tickets, changesets, gossip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cis.errors import Denied, Fault, PeerFault
from cis.model import Kind
from cis.net import Certificate, Connection, Endpoint, Stream
from cis.node.driver import Driver
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.trust.bulletins import Told, seal_bulletin
from cis.wire.content import Content
from cis.wire.gossip import Gossip
from cis.wire.membership import Role
from cis.wire.messages import Open, encode
from cis.wire.segment import Segment
from tests.net.cluster import meet, put, running, state, until, value
from tests.net.test_node import dial_as, open_endpoint, own_segment

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """Everything written as a frame, by the stream's number."""
    frames: list[tuple[int, bytes]] = []
    write_frame = Stream.write_frame

    async def recording(self: Stream, *parts: bytes) -> None:
        frames.append((self.stream_id, b"".join(parts)))
        await write_frame(self, *parts)

    monkeypatch.setattr(Stream, "write_frame", recording)
    return frames


async def gossip_over(connection: Connection, *bodies: bytes) -> None:
    stream = await connection.open_stream()
    await stream.write_frame(encode(Open("gossip")))
    for body in bodies:
        await stream.write_frame(encode(Gossip(1, bytes(8), body)))


# --- handshakes and tickets ------------------------------------------------------------------------------------------


async def test_a_handshake_heard_once_opens_nothing_when_it_is_said_again(
    couple: tuple[LocalNode, LocalNode], recorded: list[tuple[int, bytes]]
) -> None:
    listener, dialler = couple
    async with running(listener) as driver, await open_endpoint() as endpoint:
        recorded.clear()
        await dial_as(dialler, driver, endpoint)
        await until(lambda: driver.links)
        said = [frame for stream, frame in recorded if stream == 0]
        hello, _, proof, _ = said[:4]
        # The listener's nonce is new each time, so the proof is none, even where the hello still holds.
        assert "could not prove the identity" in await said_again(endpoint, driver, hello, proof)
        assert "hello" in await said_again(endpoint, driver, proof)
        driver.endpoint.use_certificate(Certificate.generate())
        assert "does not know this cluster" in await said_again(endpoint, driver, hello, proof)
        assert len(driver.links) == 1


async def said_again(endpoint: Endpoint, driver: Driver, *frames: bytes) -> str:
    """Say frames on a connection's first stream; returns why the listener refused, which it tells its user alone."""
    connection = await endpoint.dial(*driver.endpoint.address)
    stream = await connection.open_stream()
    for frame in frames:
        await stream.write_frame(frame)
    reason = await connection.wait_closed()
    assert (reason.fault, reason.text) == (Fault.REFUSED, "")
    return driver.problems["an incoming connection"]


async def test_a_ticket_that_was_used_admits_nobody_else(tmp_path: Path) -> None:
    founder, joiner, thief = (LocalNode.create(Home(tmp_path / name), name) for name in ("a", "b", "c"))
    async with running(founder) as driver:
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, driver.addresses())
        await join(joiner, ticket, "joiner")
        with pytest.raises(PeerFault) as refusal:
            await join(thief, ticket, "thief")
        assert refusal.value.fault in {Fault.TICKET, Fault.REFUSED}
    assert {member.name for member in founder.cluster.membership.members()} == {"a", "joiner"}
    for node in (founder, joiner, thief):
        node.close()


# --- changesets and gossip -------------------------------------------------------------------------------------------


async def test_a_changeset_told_again_changes_nothing_and_blames_nobody(couple: tuple[LocalNode, LocalNode]) -> None:
    victim, teller = couple
    await put(teller, "key", b"first")
    old = encode(own_segment(teller))
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(teller, driver, endpoint)
        await gossip_over(connection, old)
        await until(lambda: value(victim, "key") == b"first")
        await put(victim, "key", b"second")
        before = state(victim)
        await gossip_over(connection, old, old)
        await _settled(driver, received=3)
        assert (state(victim), value(victim, "key")) == (before, b"second")
        assert not connection.closing


async def test_a_changeset_of_another_cluster_is_refused(tmp_path: Path, couple: tuple[LocalNode, LocalNode]) -> None:
    victim, teller = couple
    foreign = LocalNode.create(Home(tmp_path / "foreign"), "foreign")
    await put(foreign, "key", b"foreign")
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(teller, driver, endpoint)
        await gossip_over(connection, encode(own_segment(foreign)))
        assert (await connection.wait_closed()).fault is Fault.UNAUTHORISED
    assert value(victim, "key") is None
    foreign.close()


async def test_a_broadcast_told_again_is_read_once(couple: tuple[LocalNode, LocalNode]) -> None:
    listener, teller = couple
    async with running(listener) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(teller, driver, endpoint)
        body = bulletin(teller, 1, b"once")
        with driver.topics.listen("t") as listening:
            await gossip_over(connection, body, body, bulletin(teller, 2, b"end"), body)
            read = [await listening.next() for _ in range(2)]
            await _settled(driver, received=4)
            assert [found[0].payload for found in read if found] == [b"once", b"end"]
            assert not listening._waiting


async def test_a_broadcast_of_long_ago_is_not_taken_for_new(couple: tuple[LocalNode, LocalNode]) -> None:
    listener, teller = couple
    async with running(listener) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(teller, driver, endpoint)
        stale = bulletin(teller, 1, b"stale", run=b"earlier!", sent_ms=teller.clock_ms() - 3_600_000)
        with driver.topics.listen("t") as listening:
            await gossip_over(connection, bulletin(teller, 1, b"now"), stale, bulletin(teller, 2, b"end"))
            read = [await listening.next() for _ in range(2)]
            await _settled(driver, received=3)
            assert [found[0].payload for found in read if found] == [b"now", b"end"]
            assert not listening._waiting


# --- in another's name -----------------------------------------------------------------------------------------------


@pytest.fixture
async def reader_too(tmp_path: Path) -> AsyncIterator[tuple[LocalNode, LocalNode, LocalNode]]:
    """An admin, a writer, and one that may only read."""
    admin, writer, reader = (LocalNode.create(Home(tmp_path / name), name) for name in ("admin", "writer", "reader"))
    async with running(admin) as driver:
        for node, role in ((writer, Role.WRITER), (reader, Role.READER)):
            ticket = admin.cluster.invite(admin.store, role, None, 60_000, driver.addresses())
            await join(node, ticket, node.home.folder.name)
        async with running(writer) as other:
            meet(other, driver)
            await until(lambda: len(writer.cluster.membership.members()) == 3)
    yield admin, writer, reader
    for node in (admin, writer, reader):
        node.close()


async def test_a_reader_may_not_write_and_is_told_so(reader_too: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    *_, reader = reader_too
    write = Write(reader.cluster.public, Kind.PUT, Content("key", b"value"))
    [outcome] = await asyncio.wrap_future(reader.store.write([write]))
    assert isinstance(outcome, Denied)
    assert value(reader, "key") is None


async def told_by(reader: LocalNode, driver: Driver, endpoint: Endpoint, segment: Segment) -> Fault:
    connection = await dial_as(reader, driver, endpoint)
    await gossip_over(connection, encode(segment))
    return (await connection.wait_closed()).fault


async def test_what_a_reader_writes_regardless_is_accepted_by_nobody(
    reader_too: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, writer, reader = reader_too
    head = writer.cluster.authority(writer.cluster.public)
    monkeypatch.setattr(reader.cluster, "authority", lambda space: head)
    monkeypatch.setattr(reader.cluster, "judge", lambda *_: None)
    await put(reader, "key", b"not allowed")
    before = state(admin)
    async with running(admin) as driver, await open_endpoint() as endpoint:
        assert await told_by(reader, driver, endpoint, own_segment(reader)) is Fault.UNAUTHORISED
    assert (state(admin), value(admin, "key")) == (before, None)


@pytest.mark.parametrize("forgery", ["renamed", "unsigned", "extended", "altered"])
async def test_a_reader_that_relays_a_forged_changeset_in_a_writers_name_is_found_out(
    reader_too: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch, forgery: str
) -> None:
    admin, writer, reader = reader_too
    await put(writer, "honest", b"value")
    genuine = own_segment(writer)
    head = writer.cluster.authority(writer.cluster.public)
    monkeypatch.setattr(reader.cluster, "authority", lambda space: head)
    monkeypatch.setattr(reader.cluster, "judge", lambda *_: None)
    await put(reader, "honest", b"forged")
    own = own_segment(reader)
    replace = msgspec.structs.replace
    forged = {
        "renamed": replace(own, replica=genuine.replica),
        "unsigned": replace(own, replica=genuine.replica, signature=genuine.signature),
        "extended": replace(own, replica=genuine.replica, first=2, previous=own.previous),
        "altered": replace(genuine, bodies=own.bodies[: len(genuine.bodies)].ljust(len(genuine.bodies), b"\0")),
    }[forgery]
    async with running(admin) as driver, await open_endpoint() as endpoint:
        assert await told_by(reader, driver, endpoint, forged) in {Fault.BAD_SIGNATURE, Fault.BAD_HASH, Fault.MALFORMED}
    assert value(admin, "honest") is None


async def test_a_reader_may_relay_what_a_writer_signed(reader_too: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    admin, writer, reader = reader_too
    await put(writer, "honest", b"value")
    async with running(admin) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(reader, driver, endpoint)
        await gossip_over(connection, encode(own_segment(writer)))
        await until(lambda: value(admin, "honest") == b"value")
        assert not connection.closing


@pytest.mark.parametrize("forgery", ["author", "number", "text"])
async def test_a_broadcast_in_anothers_name_ends_the_link_of_who_told_it(
    reader_too: tuple[LocalNode, LocalNode, LocalNode], forgery: str
) -> None:
    admin, writer, reader = reader_too
    body = msgspec.msgpack.decode(bulletin(reader if forgery == "author" else writer, 1, b"forged"))
    statement = msgspec.msgpack.decode(body[1])
    place, value_ = {"author": (0, writer.identity.node), "number": (2, 9), "text": (6, bytes(64))}[forgery]
    statement[place] = value_
    forged = msgspec.msgpack.encode([body[0], msgspec.msgpack.encode(statement), body[2]])
    async with running(admin) as driver, await open_endpoint() as endpoint:
        with driver.topics.listen(None) as listening:
            connection = await dial_as(reader, driver, endpoint)
            await gossip_over(connection, forged)
            assert (await connection.wait_closed()).fault is Fault.BAD_SIGNATURE
            assert not listening._waiting


def bulletin(
    local: LocalNode, number: int, payload: bytes, run: bytes = b"12345678", sent_ms: int | None = None
) -> bytes:
    keys = local.cluster.keys.spaces[local.cluster.public]
    told = Told(run, number, local.clock_ms() if sent_ms is None else sent_ms, "t", payload)
    return seal_bulletin(local.identity, keys, told, local.entropy)


async def _settled(driver: Driver, received: int) -> None:
    """Wait until gossip has brought so many bodies and nothing is being examined any more."""
    machine = driver.core.overlay._machine
    await until(lambda: machine.statistics().payloads >= received and not driver.core._examining)
    await asyncio.sleep(0)
