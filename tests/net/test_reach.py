"""Whole nodes that cannot dial each other: paths negotiated through a third, raced, moved and mended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cis.model import Candidate
from cis.net import Connection, Stream
from cis.net.qh3_core import RawAddress
from cis.node.driver import Driver
from cis.node.home.local import LocalNode
from cis.node.paths import mending, outreach
from cis.peers.peer import ICE
from cis.reach.options import ReachOptions
from cis.wire.messages import Open, Ping, Pong, decode, encode
from tests.net.cluster import cluster, meet, put, running, until, value
from tests.net.reaching import TURNSERVER, turn_server

pytestmark = pytest.mark.timeout(60)
needs_turn = pytest.mark.skipif(TURNSERVER is None, reason="turnserver (coturn) is not installed")


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[tuple[LocalNode, LocalNode, LocalNode]]:
    one, two, three = await cluster(tmp_path, "common", "left", "right")
    yield one, two, three
    for local in (one, two, three):
        local.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


NOTHING = ReachOptions(upnp=False)


def only_dials(driver: Driver, other: Driver) -> list[int]:
    """Let a node dial no address but another's; all else it dials is silence. Returns the ports dialled in vain."""
    really, in_vain = driver.endpoint.dial, []

    async def dial(host: str, port: int) -> Connection:
        if port == other.endpoint.address[1]:
            return await really(host, port)
        in_vain.append(port)
        try:
            await asyncio.Event().wait()
        finally:
            in_vain.remove(port)
        raise AssertionError

    driver.endpoint.dial = dial  # type: ignore[method-assign]  # what a NAT does to a dial
    return in_vain


async def apart(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode], reach: ReachOptions = NOTHING
) -> tuple[Driver, Driver, Driver]:
    """Run three nodes, two of which can dial the common one alone, and have not met it yet."""
    common, left, right = [await stack.enter_async_context(running(local, reach=reach)) for local in trio]
    only_dials(left, common)
    only_dials(right, common)
    return common, left, right


async def all_meet(common: Driver, *others: Driver) -> None:
    for driver in others:
        meet(driver, common)
        await until(lambda driver=driver: driver.links)


def wall(one: Driver, other: Driver) -> Callable[[], None]:
    """Lose what two nodes send each other straight, until the call returned is made."""
    undo = []
    for here, there in ((one, other), (other, one)):
        carrier, port = here.endpoint.carrier, there.endpoint.address[1]
        really = carrier.send

        def send(
            datagrams: list[bytes], address: RawAddress, really: Callable = really, port: int = port
        ) -> OSError | None:
            return None if address[1] == port else really(datagrams, address)

        carrier.send = send  # type: ignore[method-assign]  # what a firewall does
        undo.append(lambda carrier=carrier, really=really: setattr(carrier, "send", really))

    def mend() -> None:
        for step in undo:
            step()

    return mend


def between(driver: Driver, other: Driver) -> Connection | None:
    link = driver.core.link_to(other.local.identity.node)
    return driver.links[link.id].connection if link is not None and link.id in driver.links else None


async def pong(stream: Stream, number: int) -> int:
    await stream.write_frame(encode(Ping(number)))
    frame = await stream.read_frame(64)
    assert frame is not None
    answer = decode(frame)
    assert isinstance(answer, Pong)
    return answer.number


async def test_two_nodes_that_cannot_dial_each_other_connect_by_what_a_third_carries(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode]
) -> None:
    common, left, right = await apart(stack, trio)
    await all_meet(common, left, right)
    await until(lambda: between(left, right) and between(right, left))
    link = left.core.link_to(right.local.identity.node)
    other = right.core.link_to(left.local.identity.node)
    assert link is not None
    assert other is not None
    assert {one.via.source for one in (link, other) if one.via is not None} == {ICE}
    assert between(left, right).path.proven
    assert common.tally["forwards"] >= 2
    await put(left.local, "key", b"value")
    await until(lambda: value(right.local, "key") == b"value")


async def test_dials_still_under_way_are_given_up_once_there_is_a_connection(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode]
) -> None:
    common, left, right = [await stack.enter_async_context(running(local, reach=NOTHING)) for local in trio]
    in_vain = only_dials(left, common)
    await all_meet(common, left, right)
    await until(lambda: between(left, right) and between(right, left))
    await until(lambda: not in_vain)
    node = right.local.identity.node
    peer = left.core.book.get(node)
    assert peer is not None
    assert not peer.under_way
    assert all(attempt.outcome for attempt in left.explain(node))


async def test_nobody_waits_for_ice_where_an_address_can_be_dialled(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode]
) -> None:
    common, left, right = [await stack.enter_async_context(running(local, reach=NOTHING)) for local in trio]
    await all_meet(common, left, right)
    await until(lambda: between(left, right))
    assert {attempt.where for attempt in left.explain(right.local.identity.node)} <= {
        f"127.0.0.1:{right.endpoint.address[1]}"
    }
    assert common.tally["forwards"] == 0


@needs_turn
async def test_a_relayed_connection_becomes_direct_without_breaking_streams(
    stack: AsyncExitStack,
    trio: tuple[LocalNode, LocalNode, LocalNode],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn = await stack.enter_async_context(turn_server(tmp_path))
    reach = ReachOptions(upnp=False, turn_servers=(turn.server(),), relay_hold_s=0.2)
    common, left, right = await apart(stack, trio, reach)
    lift = wall(left, right)
    await all_meet(common, left, right)
    await until(lambda: between(left, right) and between(right, left))
    ends = between(left, right), between(right, left)
    await until(lambda: all(end.path.relayed for end in ends))
    (facts,) = [one for one in left.paths() if one.node == right.local.identity.node]
    assert (facts.kind, facts.relayed) == ("relayed", True)
    async with await ends[0].open_stream() as stream:
        await stream.write_frame(encode(Open("ping")))
        assert await pong(stream, 1) == 1
        caplog.set_level(logging.INFO, "cis.node.paths.mending")
        lift()
        await until(lambda: not any(end.path.relayed for end in ends))
        assert await pong(stream, 2) == 2
        stream.finish()
    assert (between(left, right), between(right, left)) == ends
    await put(left.local, "key", b"value")
    await until(lambda: value(right.local, "key") == b"value")
    said = [one for one in caplog.messages if one.startswith("connection with right is now direct (was relayed)")]
    assert len(said) == 1
    assert "127.0.0.1" not in caplog.text


@needs_turn
async def test_a_connection_whose_path_died_goes_on_by_another(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode], tmp_path: Path
) -> None:
    turn = await stack.enter_async_context(turn_server(tmp_path))
    reach = ReachOptions(upnp=False, turn_servers=(turn.server(),), relay_hold_s=0.2)
    common, left, right = await apart(stack, trio, reach)
    await all_meet(common, left, right)
    await until(lambda: between(left, right) and between(right, left))
    ends = between(left, right), between(right, left)
    assert not any(end.path.relayed for end in ends)
    wall(left, right)
    await put(left.local, "key", b"value")
    await until(lambda: all(end.path.relayed for end in ends))
    await until(lambda: not ends[0].suspect and not ends[1].suspect)
    assert (between(left, right), between(right, left)) == ends
    await until(lambda: value(right.local, "key") == b"value")


async def test_a_connection_with_no_other_path_ends_within_seconds(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "SILENT_S", 1.0)
    monkeypatch.setattr("cis.reach.agent.SEARCH_S", 1.0)
    common, left, right = await apart(stack, trio)
    await all_meet(common, left, right)
    await until(lambda: between(left, right) and between(right, left))
    wall(left, right)
    between(left, right).probe()
    await until(lambda: between(left, right) is None)


async def test_after_a_change_of_the_network_peers_are_asked_and_told_where_this_node_is_now(
    stack: AsyncExitStack, trio: tuple[LocalNode, LocalNode, LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    common, left, _ = [await stack.enter_async_context(running(local, reach=NOTHING)) for local in trio]
    await all_meet(common, left)
    node = left.local.identity.node
    await until(lambda: between(common, left) and between(left, common).on_suspect)
    really = outreach.own_candidates
    moved = Candidate("192.0.2.77", 7677, "direct")
    monkeypatch.setattr(outreach, "own_candidates", lambda *given: (moved, *really(*given)))
    probes = []
    monkeypatch.setattr(Connection, "probe", lambda *connection: probes.extend(connection))
    left.outreach.on_network_change("an address came")
    known = common._meeting.finder.records.candidates_of
    await until(lambda: moved in known(node))
    assert probes == [between(left, common)]
