"""HTTP on the control socket: requests in turn, streams that end when somebody leaves, bounds on what comes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cis.api.control import control_http
from cis.api.control.control_http import ControlServer
from cis.api.control.control_socket import bind_control
from cis.api.http_serving import Answer

BODY_BYTES_MAX = 1000
PATIENCE_S, POLL_S = 10.0, 0.005
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Scene:
    """A server that answers with what it was sent, and streams for as long as it is listened to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = ControlServer(self.answer, body_bytes_max=BODY_BYTES_MAX)
        self.done: list[str] = []
        self.sent = 0
        self.may_end = asyncio.Event()

    async def answer(self, method: str, path: str, body: bytes | None) -> Answer:
        match path:
            case "/slow":
                await self.may_end.wait()
                self.done.append("slow")
            case "/stream":
                return Answer(200, "text/plain", self.parts())
            case "/watch":
                return Answer(200, "text/plain", self.nothing_yet())
            case "/broken":
                raise ValueError("broken")
        return Answer(200, "text/plain", b"too large" if body is None else f"{method} {path} ".encode() + body)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        try:
            while not self.may_end.is_set():
                yield b"x" * 10_000
                self.sent += 10_000
                await asyncio.sleep(0)
        finally:
            self.done.append("stream")

    async def nothing_yet(self) -> AsyncGenerator[bytes, None]:
        try:
            await self.may_end.wait()
            yield b"end"
        finally:
            self.done.append("watch")

    async def connect(self) -> Streams:
        return await asyncio.open_unix_connection(str(self.path))


@pytest.fixture(autouse=True)
async def _within_patience() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_S):
        yield


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path / "home" / "control.sock")
    listening = bind_control(scene.path)
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.server.run_on(listening))
        yield scene
        scene.may_end.set()
        scene.server.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(POLL_S)


def ask(client: Streams, path: str, body: bytes = b"", method: str = "POST") -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: cis\r\nContent-Length: {len(body)}\r\n\r\n"
    client[1].write(head.encode() + body)


async def head_of(client: Streams) -> bytes:
    return await client[0].readuntil(b"\r\n\r\n")


async def answer_of(client: Streams) -> bytes:
    head = await head_of(client)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await client[0].readexactly(int(length.split(b":")[1]))


async def test_a_connection_carries_one_request_after_the_other_even_sent_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, "/first?query", b"body")
        ask(client, "/second", method="GET")
        assert await answer_of(client) == b"POST /first body"
        assert await answer_of(client) == b"GET /second "


async def test_who_leaves_ends_the_stream_and_not_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, "/stream")
        assert b"chunked" in await head_of(client)
        silent = await scene.connect()
        ask(silent, "/watch")
        await head_of(silent)
        client[1].close()
        await until(lambda: scene.done == ["stream"])
        silent[1].close()
        await until(lambda: scene.done == ["stream", "watch"])
        await until(lambda: not scene.server.connections)
        other = await scene.connect()
        ask(other, "/other")
        assert await answer_of(other) == b"POST /other "


async def test_what_was_asked_for_is_done_though_who_asked_has_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, "/slow")
        await until(lambda: scene.server.connections)
        client[1].close()
        await until(lambda: not scene.server.connections)
        scene.may_end.set()
        await until(lambda: scene.done == ["slow"])


async def test_a_stream_waits_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        client[1].transport.pause_reading()
        ask(client, "/stream")
        await until(lambda: scene.server.connections and not scene.server.connections[0]._may_write.is_set())
        before = scene.sent
        for _ in range(1000):
            await asyncio.sleep(0)
        assert scene.sent == before < 2_000_000
        client[1].transport.abort()


async def test_of_a_body_that_is_too_large_nothing_more_is_kept_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, "/large", bytes(BODY_BYTES_MAX * 5000))
        assert await answer_of(client) == b"too large"
        ask(client, "/fits", b"y" * BODY_BYTES_MAX)
        assert len(await answer_of(client)) == len("POST /fits ") + BODY_BYTES_MAX


@pytest.mark.parametrize("path", ["/here", "/stream"])
async def test_a_head_is_answered_without_a_body(tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, path, method="HEAD")
        assert b"200" in await head_of(client)
        ask(client, "/next")
        assert await answer_of(client) == b"POST /next "
    assert not caplog.records


@pytest.mark.parametrize("said", [b"\x00\xff junk\r\n\r\n", b"POST /" + b"a" * 70_000, b"POST / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_http_ends_its_connection_alone(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path) as scene:
        client, other = await scene.connect(), await scene.connect()
        client[1].write(said)
        assert await client[0].read() == b""
        ask(other, "/other")
        assert await answer_of(other) == b"POST /other "


async def test_a_defect_ends_its_connection_alone_and_is_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as scene:
        client, other = await scene.connect(), await scene.connect()
        ask(client, "/broken")
        assert await client[0].read() == b""
        assert "broken" in caplog.text
        ask(other, "/other")
        assert await answer_of(other) == b"POST /other "


async def test_another_user_is_cut_off_before_a_byte_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_http, "is_same_user", lambda _: False)
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        ask(client, "/slow")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await head_of(client)
        assert scene.done == []


async def test_closing_finishes_what_is_being_answered_and_waits_for_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        idle, busy = await scene.connect(), await scene.connect()
        ask(busy, "/slow")
        ask(idle, "/first")
        assert await answer_of(idle) == b"POST /first "
        scene.server.close()
        assert await idle[0].read() == b""
        scene.may_end.set()
        assert await answer_of(busy) == b"POST /slow "
        assert await busy[0].read() == b""


async def test_what_takes_too_long_is_cut_off_when_the_server_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cis.api.http_serving.GRACE_S", 0.05)
    async with serving(tmp_path) as scene:
        client: Any = await scene.connect()
        ask(client, "/slow")
        await until(lambda: scene.server.connections and not scene.server.connections[0]._idle)
        scene.server.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await head_of(client)
    assert scene.done == []


async def test_a_client_that_asks_whether_to_go_on_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as scene:
        client = await scene.connect()
        client[1].write(b"POST /e HTTP/1.1\r\nHost: cis\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert b" 100 " in await head_of(client)
        client[1].write(b"b")
        assert await answer_of(client) == b"POST /e b"
