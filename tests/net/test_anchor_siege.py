"""An anchor and who means it no good: what one connection makes it hold, and for how long, is bounded."""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.utils import accept_key

from cis.anchor import attendance, serving, strict
from cis.anchor import line as line_module
from cis.anchor.attendance import CLOSE_CODE
from cis.anchor.limits import AnchorLimits
from cis.anchor.line import PINGS_BURST, open_line
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import (
    CHUNK_BYTES_MAX,
    RECORD_BYTES_MAX,
    TAGS_MAX,
    Claim,
    Hello,
    LookUp,
    Register,
    Welcome,
    encode,
)
from cis.anchor.strict import ASIDE_BURST, QUEUED_MAX
from cis.errors import Unavailable
from cis.trust.beacons import Beacon
from cis.trust.identity import Identity
from tests.net.anchors import anchored
from tests.net.cluster import until
from tests.net.test_anchor import Member, attending

pytestmark = pytest.mark.timeout(60)
CONTINUATION, TEXT, BINARY, PING, PONG = 0, 1, 2, 9, 10
UPGRADE = (
    b"GET /v1 HTTP/1.1\r\nHost: anchor\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(kind: int, data: bytes = b"", *, ends: bool = True) -> bytes:
    """Return a frame under the mask of zeros (RFC 6455)."""
    length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
    return bytes((0x80 * ends | kind,)) + length + bytes(4) + data


@asynccontextmanager
async def greeted(url: str) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Connect, and say what makes an anchor listen."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port, limit=1 << 16)
    try:
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(BINARY, encode(Hello(1))))
        await reader.readexactly(2 + len(encode(Welcome(bytes(32), 0))))
        yield reader, writer
    finally:
        writer.transport.abort()


async def cut_off(reader: StreamReader) -> bool:
    """Tell whether the anchor ends the connection soon; what it says until then is read."""
    try:
        async with asyncio.timeout(3):
            while await reader.read(1 << 16):
                pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("kind", [PING, PONG, CONTINUATION])
async def test_frames_that_are_no_message_come_at_a_rate(kind: int) -> None:
    async with anchored() as url, greeted(url) as (reader, writer):
        if kind == CONTINUATION:
            writer.write(frame(BINARY, ends=False))
        writer.write(frame(kind, ends=kind != CONTINUATION) * (ASIDE_BURST + 2))
        assert await cut_off(reader)


async def test_more_messages_at_once_than_a_node_sends_are_refused_and_not_kept() -> None:
    async with anchored() as url, greeted(url) as (reader, writer):
        writer.write(frame(BINARY, encode(LookUp(1, ()))) * 2 * QUEUED_MAX)
        assert await cut_off(reader)


async def test_what_strangers_do_writes_nothing_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    limits = msgspec.structs.replace(AnchorLimits(), connections_per_address=1)
    async with anchored(limits=limits) as url, greeted(url) as (reader, writer):
        with pytest.raises(InvalidStatus):
            await connect(f"ws{url[4:]}/v1")
        writer.write(frame(TEXT, b"\xff"))
        await reader.readuntil(CLOSE_CODE.to_bytes(2))
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@pytest.mark.parametrize(("send_s", "ping_s"), [(0.3, 60.0), (60.0, 0.2)])
async def test_who_reads_nothing_is_cut_off_with_what_waits_for_it(
    send_s: float, ping_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asked for is no more than one answer ahead of what it reads, and goes with it."""
    monkeypatch.setattr(attendance, "SEND_S", send_s)
    monkeypatch.setattr(serving, "PING_S", ping_s)
    monkeypatch.setattr(strict, "GOODBYE_S", 0.1)
    async with anchored() as url, stuck(url, monkeypatch) as connection:
        await until(lambda: connection.disconnected)


async def test_an_anchor_that_ends_waits_for_nobody_who_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        async with anchored() as url:
            connection = await stack.enter_async_context(stuck(url, monkeypatch))
            await until(lambda: not connection.writable.is_set())
        assert connection.disconnected
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@asynccontextmanager
async def stuck(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[strict.Strict]:
    """Ask for more than sockets buffer and read nothing of it; yields the anchor's end."""
    made: list[strict.Strict] = []
    connection_made = strict.Strict.connection_made

    def remember(connection: strict.Strict, transport: asyncio.BaseTransport) -> None:
        made.append(connection)
        connection_made(connection, transport)

    tags = await filled(url)
    monkeypatch.setattr(strict.Strict, "connection_made", remember)
    async with greeted(url) as (reader, writer):
        reader._transport.pause_reading()
        for number in range(1, 80):
            writer.write(frame(BINARY, encode(LookUp(number, tags))))
        await until(lambda: made)
        yield made[0]


async def test_an_anchor_that_pings_and_reads_nothing_is_parted_with() -> None:
    async with hostile((bytes((0x80 | PING, 125)) + bytes(125)) * 4 * PINGS_BURST) as place:
        with pytest.raises(Unavailable, match="ended the connection"):
            async with asyncio.timeout(5), open_line(place) as line:
                await line.heard()


async def test_a_node_that_ends_does_not_wait_for_an_anchor_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_module, "CLOSE_S", 0.1)
    async with hostile(b"") as place:
        opened: list[ClientConnection] = []
        connected = line_module._connected

        async def seen(place: AnchorPlace) -> ClientConnection:
            opened.append(await connected(place))
            return opened[0]

        monkeypatch.setattr(line_module, "_connected", seen)

        async def use() -> None:
            async with open_line(place) as line:
                while True:
                    await line.say(bytes(CHUNK_BYTES_MAX))

        async with asyncio.TaskGroup() as group:
            using = group.create_task(use())
            await until(lambda: opened and opened[0].transport.get_write_buffer_size() > CHUNK_BYTES_MAX)
            using.cancel()
            _, unfinished = await asyncio.wait([using], timeout=5)
            assert not unfinished


async def test_a_cluster_that_looks_up_more_than_an_anchor_lets_is_registered_and_finds_whom_it_may() -> None:
    member = Member()
    member.others = [Member() for _ in range(TAGS_MAX + 1)]
    first, last = member.others[0], member.others[-1]
    limits = msgspec.structs.replace(AnchorLimits(), tags_looked_up_per_minute=TAGS_MAX)
    async with anchored(limits=limits) as url:
        place = AnchorPlace(url)
        async with attending(first, place) as one, attending(last, place) as other:
            await until(lambda: one.up and other.up)
            async with attending(member, place) as client:
                await until(lambda: client.up)
                assert member.found == [b"record"]
                assert "too many requests" in str(client.problem)
                assert await other.post(member.tag, b"offer")
                await until(lambda: member.heard == [b"offer"])


async def test_a_node_whose_record_finds_no_place_listens_all_the_same() -> None:
    first, second = Member(), Member()
    limits = msgspec.structs.replace(AnchorLimits(), records_max=1)
    async with anchored(limits=limits) as url, attending(first, AnchorPlace(url)) as one:
        await until(lambda: one.up)
        async with attending(second, AnchorPlace(url)) as other:
            await until(lambda: other.up)
            assert "as many records" in str(other.problem)
            assert await one.post(second.tag, b"offer")
            await until(lambda: second.heard == [b"offer"])


@asynccontextmanager
async def hostile(says: bytes) -> AsyncIterator[AnchorPlace]:
    """Serve what greets as an anchor does, says that, and reads nothing any more."""
    held: list[StreamWriter] = []

    async def attend(reader: StreamReader, writer: StreamWriter) -> None:
        held.append(writer)
        asked = await reader.readuntil(b"\r\n\r\n")
        key = next(line.split()[1] for line in asked.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key.decode()).encode() + b"\r\n\r\n"
        )
        welcome = encode(Welcome(bytes(32), 0))
        writer.write(bytes((0x80 | BINARY, len(welcome))) + welcome + says)
        writer.transport.pause_reading()

    server = await asyncio.start_server(attend, "127.0.0.1", 0)
    try:
        yield AnchorPlace(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        for writer in held:
            writer.transport.abort()
        server.close()


async def filled(url: str) -> tuple[bytes, ...]:
    """Register as much as one look-up returns."""
    tags = []
    place = AnchorPlace(url)
    for start in range(0, TAGS_MAX, 8):
        async with open_line(place) as line:
            for slot in range(start, start + 8):
                beacon = Beacon(Identity.generate(os.urandom), bytes(32), slot)
                claim = beacon.claim(line.challenge, place.authority.encode())
                await line.ask(Claim(line.next_number(), beacon.key, claim))
                await line.ask(Register(line.next_number(), beacon.tag, 60, bytes(RECORD_BYTES_MAX)))
                tags.append(beacon.tag)
    return tuple(tags)
