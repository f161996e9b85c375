"""Pages for monitors: answered one by one, within bounds, whoever asks and however."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cis.api.http_serving import HEAD_BYTES_MAX
from cis.api.telemetry import metrics_http
from cis.api.telemetry.metrics_http import CONNECTIONS_MAX, Page, PageServer

PATIENCE_S = 10.0
Place = tuple[str, int]


async def fine() -> Page:
    return Page(200, "fine\n")


async def broken() -> Page:
    raise ValueError("dear secret")


async def stuck() -> Page:
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def serving() -> AsyncIterator[Place]:
    async with PageServer({"/fine": fine, "/broken": broken, "/stuck": stuck}).listening("127.0.0.1", 0) as place:
        yield place


async def said(place: Place, data: bytes) -> bytes:
    """Send, and return all that is answered until the server closes."""
    reader, writer = await asyncio.open_connection(*place)
    async with asyncio.timeout(PATIENCE_S):
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /fine HTTP/1.1", b"200", b"fine\n"),
        (b"GET /fine?at=once HTTP/1.0", b"200", b"fine\n"),
        (b"HEAD /fine HTTP/1.1", b"200", b""),
        (b"POST /fine HTTP/1.1", b"405", b"this is read by GET\n"),
        (b"GET /other HTTP/1.1", b"404", b"there are /fine, /broken, /stuck\n"),
        (b"GET /broken HTTP/1.1", b"500", b"the node met a defect of its own: its log says more\n"),
    ],
)
async def test_a_page_is_answered_once_and_the_connection_closed(
    request_line: bytes, status: bytes, body: bytes
) -> None:
    async with serving() as place:
        head, _, found = (await said(place, request_line + b"\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert found == body
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize("data", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"x" * (2 * HEAD_BYTES_MAX)])
async def test_what_is_no_request_is_cut_off_and_others_are_served_on(data: bytes) -> None:
    async with serving() as place:
        assert await said(place, data) == b""
        assert b"fine" in await said(place, b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_who_is_slow_is_cut_off_and_a_page_that_is_slow_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http, "PATIENCE_S", 0.05)
    async with serving() as place:
        assert await said(place, b"GET /fine HTTP/1.1\r\n") == b""
        assert b" 503 " in await said(place, b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"fine" in await said(place, b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_connections_above_the_limit_are_closed_unread() -> None:
    async with serving() as place:
        waiting = [await asyncio.open_connection(*place) for _ in range(CONNECTIONS_MAX)]
        assert await said(place, b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        waiting[0][1].write(b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert b"fine" in await waiting[0][0].read()
            while b"fine" not in await said(place, b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"):
                pass
        for _, writer in waiting:
            writer.close()


async def test_a_port_that_is_taken_is_an_error_of_the_system_alone() -> None:
    async with serving() as (host, port):
        with pytest.raises(OSError, match="address already in use"):
            async with PageServer({}).listening(host, port):
                pass
