"""Whole nodes over real QUIC: they meet, agree, part, come back, and refuse whom they should."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path

import msgspec
import pytest

from cis.errors import Fault, PeerFault, Unavailable, UsageError
from cis.model import Kind, Ref
from cis.model.change import SEQ_MAX
from cis.net import Certificate, Connection, Endpoint, NetLimits, Stream
from cis.node.core.events import PartingAsked
from cis.node.driver import Driver
from cis.node.entry import greeting, joining
from cis.node.entry.greeting import greet_as_dialler
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store import author
from cis.store.author import Write
from cis.store.log import LogReader
from cis.trust import HandshakeKey, Local, Membership
from cis.wire.content import Content
from cis.wire.gossip import Gossip
from cis.wire.membership import Role
from cis.wire.messages import FRAME_BYTES_MAX, MembershipIds, Open, Summary, Vector, encode
from cis.wire.segment import Segment
from tests.net.cluster import cluster, meet, put, running, state, until, value

pytestmark = pytest.mark.timeout(60)


async def dial_as(local: LocalNode, driver: Driver, endpoint: Endpoint) -> Connection:
    """Connect to a running node with the identity and membership of ``local``, but no more of a node than that."""
    connection = await endpoint.dial(*driver.endpoint.address)
    membership = local.cluster.membership
    brought = Local(
        local.identity,
        local.cluster.id,
        connection.certificate_hash,
        membership.chain(local.identity.node),
        membership.digest(),
        membership.judge,
    )
    key = HandshakeKey(local.cluster.keys.discovery_key)
    await greet_as_dialler(connection, brought, key, driver.local.identity.node, local.entropy)
    return connection


async def open_endpoint() -> Endpoint:
    return await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=lambda _: None)


async def fault_met(local: LocalNode, driver: Driver, endpoint: Endpoint) -> Fault:
    """Dial and return what the connection is closed for, before the handshake's last word arrives or after."""
    try:
        connection = await dial_as(local, driver, endpoint)
    except PeerFault as fault:
        return fault.fault
    return (await connection.wait_closed()).fault


async def test_writes_of_both_sides_reach_the_other_live(couple: tuple[LocalNode, LocalNode]) -> None:
    first, second = couple
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: one.links and two.links)
        await put(first, "a", b"1")
        await put(second, "b", b"2")
        await until(lambda: value(second, "a") == b"1" and value(first, "b") == b"2")
        await until(lambda: state(first) == state(second))


async def test_edits_made_apart_meet_and_the_loser_is_kept_as_a_sibling(
    couple: tuple[LocalNode, LocalNode],
) -> None:
    first, second = couple
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: one.links and two.links)
        await put(first, "key", b"before")
        await until(lambda: value(second, "key") == b"before")
    await put(first, "key", b"of the first")
    await put(second, "key", b"of the second")
    await put(first, "gone", b"x")
    async with running(first) as one, running(second) as two:
        meet(one, two)
        await until(lambda: value(second, "gone") == b"x" and state(first) == state(second))
    winners = {value(first, "key"), value(second, "key")}
    assert len(winners) == 1
    for local in couple:
        recalled = local.store.reader.recall(local.cluster.public, "key")
        assert recalled is not None
        kept = {part.content.value for part in recalled.siblings if part.content}
        assert kept == {b"of the first", b"of the second"} - winners


async def test_three_nodes_learn_of_each_other_from_the_one_they_joined_by(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "first", "second", "third")
    async with running(nodes[0]) as one, running(nodes[1]) as two, running(nodes[2]) as three:
        meet(two, one)
        meet(three, one)
        await until(lambda: all(len(driver.links) == 2 for driver in (one, two, three)))
        await put(nodes[2], "from the third", b"x")
        await until(lambda: value(nodes[1], "from the third") == b"x")
    for node in nodes:
        node.close()


async def test_a_change_reaches_a_node_that_is_connected_only_to_a_third(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "first", "middle", "last")
    async with running(nodes[0]) as one, running(nodes[1]) as two, running(nodes[2]) as three:
        for driver, node in ((one, nodes[2]), (three, nodes[0])):
            driver.report(PartingAsked(node.identity.node))
        meet(one, two)
        meet(three, two)
        await until(lambda: len(two.links) == 2)
        await put(nodes[0], "key", b"passed on")
        await until(lambda: value(nodes[2], "key") == b"passed on")
        assert len(one.links) == len(three.links) == 1
    for node in nodes:
        node.close()


async def test_a_joiner_brings_its_public_memories_and_keeps_its_private_ones(tmp_path: Path) -> None:
    founder, joiner = (LocalNode.create(Home(tmp_path / name), name) for name in ("founder", "joiner"))
    await put(joiner, "public", b"shared from now on")
    await asyncio.wrap_future(joiner.store.write([Write(joiner.cluster.public, Kind.COUNT, Content("count", added=3))]))
    await put(joiner, "private", b"mine", private=True)
    async with running(founder) as driver:
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, driver.addresses())
        await join(joiner, ticket, "joiner")
        async with running(joiner) as other:
            meet(other, driver)
            await until(lambda: value(founder, "public") == b"shared from now on")
    recalled = joiner.store.reader.recall(joiner.cluster.private, "private")
    assert recalled is not None
    counted = founder.store.reader.recall(founder.cluster.public, "count")
    assert counted is not None
    assert [part.content.added for part in counted.parts if part.content] == [3]
    founder.close()
    joiner.close()


async def test_a_ticket_works_once(tmp_path: Path) -> None:
    founder, joiner, other = (LocalNode.create(Home(tmp_path / name), name) for name in ("a", "b", "c"))
    async with running(founder) as driver:
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, driver.addresses())
        await join(joiner, ticket, "joiner")
        with pytest.raises(PeerFault, match="used or has expired") as refusal:
            await join(other, ticket, "other")
        assert refusal.value.fault is Fault.TICKET
    assert len(founder.cluster.membership.members()) == 2
    for node in (founder, joiner, other):
        node.close()


async def test_a_member_of_a_larger_cluster_may_not_join_another(tmp_path: Path, couple: tuple[LocalNode, ...]) -> None:
    stranger = LocalNode.create(Home(tmp_path / "stranger"), "stranger")
    async with running(stranger) as driver:
        ticket = stranger.cluster.invite(stranger.store, Role.WRITER, None, 60_000, driver.addresses())
        with pytest.raises(UsageError, match="1 other member"):
            await join(couple[1], ticket, "second")
    stranger.close()


async def test_an_unreachable_issuer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "LIMITS", NetLimits(handshake_timeout_s=0.2, handshake_retries=0))
    founder, joiner = (LocalNode.create(Home(tmp_path / name), name) for name in ("founder", "joiner"))
    async with running(founder) as driver:
        addresses = driver.addresses()
    ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, addresses)
    with pytest.raises(Unavailable, match="is `cis up` running there"):
        await join(joiner, ticket, "joiner")
    founder.close()
    joiner.close()


async def test_a_node_is_admitted_while_the_issuer_writes_and_merges(tmp_path: Path) -> None:
    founder, busy, joiner = (LocalNode.create(Home(tmp_path / name), name) for name in ("founder", "busy", "joiner"))
    async with running(founder) as driver:
        invite = founder.cluster.invite
        await join(busy, invite(founder.store, Role.WRITER, None, 60_000, driver.addresses()), "busy")
        async with running(busy) as other, asyncio.TaskGroup() as group:
            meet(other, driver)
            writing = [group.create_task(write_on(node)) for node in (founder, busy)]
            await join(joiner, invite(founder.store, Role.WRITER, None, 60_000, driver.addresses()), "joiner")
            for task in writing:
                task.cancel()
    assert len(founder.cluster.membership.members()) == 3
    for node in (founder, busy, joiner):
        node.close()


async def write_on(local: LocalNode) -> None:
    for number in itertools.count():
        await put(local, f"key {number}", b"value")


async def test_a_peer_that_hangs_up_during_a_session_harms_nobody(
    couple: tuple[LocalNode, LocalNode], caplog: pytest.LogCaptureFixture
) -> None:
    full, other = couple
    contents = [Content(f"key {number}", bytes(200)) for number in range(20_000)]
    writes = [Write(full.cluster.public, Kind.PUT, content) for content in contents]
    await asyncio.wrap_future(full.store.write(writes))
    async with running(full) as driver:
        for _ in range(10):
            async with await open_endpoint() as endpoint:
                connection = await dial_as(other, driver, endpoint)
                stream = await connection.open_stream()
                await stream.write_frame(encode(Open("sync")))
                await stream.write_frame(encode(Summary(bytes(32), [(full.cluster.public, bytes(32))])))
                await stream.write_frame(encode(MembershipIds([])))
                await stream.write_frame(encode(Vector(full.cluster.public, [])))
                while (await stream.read_frame(FRAME_BYTES_MAX) or b"")[1:2] != bytes([16]):
                    pass
                connection.close(Fault.NONE, "")
                await until(lambda: not driver.links)
        async with running(other) as honest:
            meet(honest, driver)
            await until(lambda: value(other, "key 19999") is not None)
    assert "failed" not in caplog.text


async def test_a_change_that_names_what_is_yet_to_be_written_does_not_swallow_it(
    couple: tuple[LocalNode, LocalNode],
) -> None:
    victim, hostile = couple
    await put(victim, "key", b"before")
    async with running(victim) as one, running(hostile) as two:
        meet(two, one)
        await until(lambda: value(hostile, "key") == b"before")
        ahead = Ref(victim.store.replica, SEQ_MAX, prefix=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(author, "refs_for_put", lambda *_: (ahead,))
            await put(hostile, "key", b"hostile")
        await until(lambda: value(victim, "key") == b"hostile")
        await put(victim, "key", b"after")
        assert value(victim, "key") == b"after"
        await until(lambda: value(hostile, "key") == b"after")


async def test_a_node_with_open_conflicts_settles_them_before_it_joins(tmp_path: Path) -> None:
    founder, joiner = (LocalNode.create(Home(tmp_path / name), name) for name in ("founder", "joiner"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(author, "refs_for_put", lambda *_: ())
        for text in (b"one", b"two"):
            await put(joiner, "key", text)
    async with running(founder) as driver:
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, driver.addresses())
        with pytest.raises(UsageError, match="conflicts"):
            await join(joiner, ticket, "joiner")
        await put(joiner, "key", b"settled")
        await join(joiner, ticket, "joiner")
    founder.close()
    joiner.close()


# --- who is refused ------------------------------------------------------------------------------------------------


async def test_a_stranger_without_the_key_learns_one_code_and_is_logged_once(
    tmp_path: Path, couple: tuple[LocalNode, LocalNode], caplog: pytest.LogCaptureFixture
) -> None:
    stranger = LocalNode.create(Home(tmp_path / "stranger"), "stranger")
    with caplog.at_level(logging.WARNING, "cis"):
        async with running(couple[0]) as driver, await open_endpoint() as endpoint:
            for _ in range(3):
                with pytest.raises(PeerFault) as refusal:
                    await dial_as(stranger, driver, endpoint)
                assert refusal.value.fault is Fault.REFUSED
            assert not driver.links
            async with running(couple[1]) as honest:
                meet(honest, driver)
                await until(lambda: driver.links)
    refusals = [record for record in caplog.records if "does not know this cluster" in record.getMessage()]
    assert len(refusals) == 1
    stranger.close()


async def test_a_dial_that_was_given_up_is_no_problem_of_the_listeners(couple: tuple[LocalNode, LocalNode]) -> None:
    """Of a round of dials all but one are given up, some as they have just come through."""
    async with running(couple[0]) as driver, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        connection.close(Fault.NONE, "the dial was given up")
        await until(lambda: driver.tally["handshake_none"])
        assert driver.problems == {}


async def test_who_knows_the_key_but_is_no_member_is_told_so(
    tmp_path: Path, couple: tuple[LocalNode, LocalNode]
) -> None:
    stranger = LocalNode.create(Home(tmp_path / "stranger"), "stranger")
    cluster_id, key = couple[0].cluster.id, HandshakeKey(couple[0].cluster.keys.discovery_key)
    async with running(couple[0]) as driver, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        empty = Membership(cluster_id)
        brought = Local(stranger.identity, cluster_id, connection.certificate_hash, (), empty.digest(), lambda *_: None)
        with pytest.raises(PeerFault, match="no member of the cluster") as refusal:
            await greet_as_dialler(connection, brought, key, None, stranger.entropy)
        assert refusal.value.fault is Fault.NOT_MEMBER
    stranger.close()


@pytest.mark.parametrize("says", [b"", b"\xff" * 300, b"GET / HTTP/1.1\r\n\r\n", (2**31).to_bytes(4, "big")])
async def test_garbage_or_silence_in_place_of_the_handshake_is_closed_on(
    couple: tuple[LocalNode, LocalNode], says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "HANDSHAKE_S", 0.3)
    async with running(couple[0]) as driver, await open_endpoint() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        stream = await connection.open_stream()
        if says:
            await stream.write(says)
        reason = await connection.wait_closed()
        assert reason.by_peer
        assert reason.fault in {Fault.REFUSED, Fault.TOO_LARGE}
        async with running(couple[1]) as honest:
            meet(honest, driver)
            await until(lambda: driver.links)


# --- what a member may not do ----------------------------------------------------------------------------------------


def own_segment(local: LocalNode) -> Segment:
    """What the node would send of its own log."""
    with local.store.snapshot() as snapshot:
        vector = snapshot.vector(local.cluster.public)
        log = LogReader(snapshot.connection, local.cluster.public)
        segment = log.segment(local.store.replica, 1, vector.contiguous(local.store.replica))
    assert segment is not None
    return segment


def altered(segment: Segment) -> Segment:
    bodies = bytearray(segment.bodies)
    bodies[7] ^= 1
    return msgspec.structs.replace(segment, bodies=bytes(bodies))


def renamed(segment: Segment, victim: LocalNode) -> Segment:
    return msgspec.structs.replace(segment, replica=bytes(victim.store.replica))


@pytest.mark.parametrize("attack", ["altered", "forged"])
async def test_a_changeset_altered_or_forged_is_refused_and_its_bringer_closed_on(
    couple: tuple[LocalNode, LocalNode], attack: str
) -> None:
    victim, hostile = couple
    await put(hostile, "key", b"value")
    segment = own_segment(hostile)
    bad = altered(segment) if attack == "altered" else renamed(segment, victim)
    before = state(victim)
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        stream: Stream = await connection.open_stream()
        await stream.write_frame(encode(Open("gossip")))
        await stream.write_frame(encode(Gossip(0, bytes(8), encode(bad))))
        reason = await connection.wait_closed()
        assert (reason.fault, reason.by_peer) == (Fault.BAD_SIGNATURE, True)
        assert "altered" in reason.text
    assert state(victim) == before
    assert value(victim, "key") is None


@pytest.mark.parametrize("frame", [b"\x93\x63\x01\x02", b"\xc1", encode(Open("sync"))])
async def test_nonsense_ends_that_link_and_bans_its_node_but_no_other(tmp_path: Path, frame: bytes) -> None:
    victim, hostile, honest = nodes = await cluster(tmp_path, "victim", "hostile", "honest")
    async with running(victim) as driver, await open_endpoint() as endpoint:
        connection = await dial_as(hostile, driver, endpoint)
        stream = await connection.open_stream()
        await stream.write_frame(encode(Open("gossip")))
        await stream.write_frame(frame)
        reason = await connection.wait_closed()
        assert (reason.fault, reason.by_peer) == (Fault.MALFORMED, True)
        assert await fault_met(hostile, driver, endpoint) is Fault.BANNED
        async with running(honest) as other:
            meet(other, driver)
            await until(lambda: driver.links)
    for node in nodes:
        node.close()


async def test_private_memories_reach_neither_another_store_nor_any_frame(
    couple: tuple[LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = couple
    frames: list[bytes] = []
    write_frame = Stream.write_frame

    async def recording(self: Stream, *parts: bytes) -> None:
        frames.append(b"".join(parts))
        await write_frame(self, *parts)

    monkeypatch.setattr(Stream, "write_frame", recording)
    await put(first, "secret-key", b"secret-value", private=True)
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: one.links and two.links)
        await put(first, "another-secret", b"secret-value", private=True)
        await put(first, "open", b"value")
        await until(lambda: value(second, "open") == b"value")
        await until(lambda: state(first) == state(second))
    sent = b"".join(frames)
    private = first.cluster.keys.private
    assert first.cluster.public in sent  # the recording sees what is sent
    assert private.space not in sent
    for text in ("secret-key", "another-secret", "secret-value"):
        assert text.encode() not in sent
        assert private.memory_id(text) not in sent
    with second.store.snapshot() as snapshot:
        assert snapshot.space_number(private.space) is None
