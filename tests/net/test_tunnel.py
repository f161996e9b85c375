"""Nodes that UDP cannot carry to each other connect through an anchor's tunnel, and nobody else gets into it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cis.anchor import attendance, tunnel_service
from cis.anchor.client import AnchorClient
from cis.anchor.limits import AnchorLimits
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import CHUNK_BYTES_MAX
from cis.anchor.tunnel import PATH, Attach, Attached, encode
from cis.anchor.tunnels import NOBODY
from cis.discovery.anchor import AnchorProvider
from cis.errors import Unavailable
from cis.net import Endpoint
from cis.node.driver import Driver
from cis.node.home.local import LocalNode
from cis.node.paths.negotiation import Theirs
from cis.reach.transports import address_of
from cis.reach.tunnel import AnchorTunnel
from tests.net.anchors import anchored
from tests.net.cluster import cluster, put, running, until, value

pytestmark = pytest.mark.timeout(180)
HOSTS = "127.0.0.1", "::1"
"""One listens on IPv4, the other on IPv6 alone: no datagram of one can reach the other."""
TOKEN = "a-token-of-some-length"


@asynccontextmanager
async def tunnelled(local: LocalNode, url: str, host: str, token: str = "") -> AsyncIterator[Driver]:
    """Run a node that knows an anchor and nothing else."""
    client = AnchorClient(AnchorPlace(url, token))
    options = {
        "host": host,
        "anchors": [client],
        "providers": [AnchorProvider(client, allow_loopback=True)],
        "transports": [AnchorTunnel([client])],
    }
    async with running(local, **options) as driver:
        yield driver


def kinds(*drivers: Driver) -> list[str]:
    return [path.kind for driver in drivers for path in driver.paths()]


async def test_two_nodes_without_udp_between_them_meet_and_sync_through_an_anchor(tmp_path: Path) -> None:
    one, two = await cluster(tmp_path, "one", "two")
    await put(one, "editor", b"dark")
    async with (
        anchored(tokens=(TOKEN,)) as url,
        tunnelled(one, url, HOSTS[0], TOKEN) as first,
        tunnelled(two, url, HOSTS[1], TOKEN) as second,
    ):
        await until(lambda: value(two, "editor") == b"dark", 60)
        await until(lambda: first.paths() and second.paths())
        for driver in (first, second):
            (path,) = driver.paths()
            assert (path.kind, path.local, path.remote, path.relayed) == ("tunnel", "tunnel", "tunnel", True)
            assert path.by_way_of == f"{url.removeprefix('http://')} (websocket)"


async def test_an_anchor_that_dies_amid_a_sync_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    one, two = await cluster(tmp_path, "one", "two")
    values = {f"memory-{n:03}": os.urandom(64 << 10) for n in range(200)}
    async with anchored() as url:
        port = urlsplit(url).port
    async with tunnelled(one, url, HOSTS[0]), tunnelled(two, url, HOSTS[1]) as second:
        async with anchored(port=port):
            await until(lambda: kinds(second) == ["tunnel"], 60)
            for key, content in values.items():
                await put(one, key, content)
            await until(lambda: value(two, "memory-000"))
        assert value(two, "memory-199") is None, "the sync was over before the anchor died"
        async with anchored(port=port):
            await until(lambda: value(two, "memory-199"), 90)
            await until(lambda: all(value(two, key) == content for key, content in values.items()))


async def test_a_tunnelled_connection_becomes_direct_once_it_can(tmp_path: Path, monkeypatch: Any) -> None:
    parted = True
    vetted, dial = Theirs.vetted, Endpoint.dial

    def no_candidates(self: Theirs, *given: Any, **named: Any) -> Any:
        return () if parted else vetted(self, *given, **named)

    async def no_dial(self: Endpoint, host: str, port: int) -> Any:
        if parted:
            raise Unavailable("parted")
        return await dial(self, host, port)

    monkeypatch.setattr(Theirs, "vetted", no_candidates)
    one, two = await cluster(tmp_path, "one", "two")
    monkeypatch.setattr(Endpoint, "dial", no_dial)
    async with anchored() as url, tunnelled(one, url, HOSTS[0]) as first, tunnelled(two, url, HOSTS[0]) as second:
        await until(lambda: kinds(first, second) == ["tunnel", "tunnel"], 60)
        (link,) = first.links.values()
        before = link.connection
        parted = False
        await until(lambda: kinds(first, second) == ["lan", "lan"], 60)
        (link,) = first.links.values()
        assert link.connection is before, "it moved, and was not made anew"
        tunnelling = first.outreach.tunnelling
        await until(lambda: not tunnelling._shown, 60)


async def test_where_the_anchor_carries_nothing_that_is_said_and_not_asked_again(tmp_path: Path) -> None:
    one, two = await cluster(tmp_path, "one", "two")
    async with (
        anchored(tunnel=False) as url,
        tunnelled(one, url, HOSTS[0]) as first,
        tunnelled(two, url, HOSTS[1]) as second,
    ):

        def said() -> str:
            told = (*first.explain(two.identity.node), *second.explain(one.identity.node))
            return " ".join(attempt.outcome for attempt in told)

        await until(lambda: "carries nothing between nodes" in said() or "no anchor to tunnel through" in said(), 60)
        assert kinds(first, second) == []


# --- who means it no good ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def attached(url: str, channel: bytes, *, opens: bool, token: str = "") -> AsyncIterator[ClientConnection]:
    async with connect(url.replace("http", "ws", 1) + PATH, compression=None, max_queue=None) as socket:
        await socket.send(encode(Attach(1, token, channel, opens)))
        yield socket


async def reason(socket: ClientConnection) -> str:
    """Read until the anchor ends the connection; returns why it did."""
    async with asyncio.timeout(30):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_reason or ""


async def test_a_third_party_that_guesses_gets_nothing_and_disturbs_nobody() -> None:
    channel = os.urandom(32)
    async with anchored() as url, attached(url, channel, opens=True) as first:
        assert await first.recv() == encode(Attached())
        async with attached(url, channel, opens=False) as second:
            assert await second.recv() == encode(Attached())
            for guess, opens in ((os.urandom(32), False), (channel, False), (channel, True)):
                async with attached(url, guess, opens=opens) as third:
                    assert await reason(third) == NOBODY
            await first.send(b"bundle")
            assert await second.recv() == b"bundle"


async def test_without_the_token_nobody_is_let_in() -> None:
    async with anchored(tokens=(TOKEN,)) as url, attached(url, bytes(32), opens=True) as socket:
        assert "access token" in await reason(socket)


async def test_who_floods_is_slowed_down_and_what_waits_is_bounded(monkeypatch: Any) -> None:
    made: list[Any] = []
    connected = tunnel_service.Tunnels.connect

    def connecting(self: Any, host: str, now: float) -> Any:
        made[:] = [self]
        return connected(self, host, now)

    monkeypatch.setattr(tunnel_service.Tunnels, "connect", connecting)
    monkeypatch.setattr(attendance, "SEND_S", 1.0)
    limits = AnchorLimits(tunnel_bytes_per_s=64 << 20, tunnel_queue_bytes=256 << 10)
    channel = os.urandom(32)
    async with anchored(limits=limits) as url, attached(url, channel, opens=True) as deaf:
        await deaf.recv()
        deaf.transport.pause_reading()
        async with attached(url, channel, opens=False) as flooding:
            with suppress(ConnectionClosed):  # until the other end is cut off, as it takes nothing
                while True:
                    await flooding.send(bytes(CHUNK_BYTES_MAX))
                    assert made[0].waiting <= 2 * limits.tunnel_queue_bytes
        deaf.transport.abort()
        await until(lambda: made[0].channels == 0 and made[0].waiting == 0)


async def test_a_channel_ends_that_nobody_comes_to_and_one_that_has_carried_all_it_may() -> None:
    limits = AnchorLimits(tunnel_wait_s=0.5, tunnel_bytes_max=100_000)
    async with anchored(limits=limits) as url, attached(url, bytes(32), opens=True) as alone:
        assert await reason(alone) == "nobody came"
        async with attached(url, bytes(32), opens=True) as first, attached(url, bytes(32), opens=False) as second:
            for _ in range(10):
                await second.send(bytes(CHUNK_BYTES_MAX))
            assert "as much as one channel may" in await reason(second)
            assert await reason(first) == "the other end has left"


async def test_a_node_is_not_harmed_by_what_the_other_end_sends() -> None:
    channel = os.urandom(32)
    taken: list[bytes] = []

    def take(_: object, received: list[tuple[bytes, Any]]) -> None:
        assert all(address == address_of(channel) for _, address in received)
        taken.extend(data for data, _ in received)

    async with anchored() as url:
        client = AnchorClient(AnchorPlace(url))
        given: Any = client
        given._line = object()  # it is up, for all the transport knows
        transport = AnchorTunnel([client])
        (place,) = transport.places()
        async with transport.open(place, channel, waits=True, take=take) as found:
            async with attached(url, channel, opens=False) as hostile:
                await hostile.recv()
                for junk in (b"", b"\x00", b"\xff" * CHUNK_BYTES_MAX, b"\x00\x02ok\xff"):
                    await hostile.send(junk)
                await hostile.send("text")
                await until(lambda: b"ok" in taken)
            async with asyncio.timeout(10):
                await found.wait_ended()
            assert found.send([b"x"], address_of(channel)) is not None
        assert taken == [b"ok"]
        with pytest.raises(Unavailable, match=NOBODY):
            async with transport.open(place, channel, waits=False, take=take):
                pass
