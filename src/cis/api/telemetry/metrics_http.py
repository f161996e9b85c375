"""Pages for monitors over HTTP/1.1: each asked for by GET on a connection of its own, read within bounds, then closed.

Who connects is a stranger: a head above `HEAD_BYTES_MAX`, slowness beyond `PATIENCE_S` and connections above
`CONNECTIONS_MAX` end what they are met in, and nothing else. ::

    server = PageServer({"/healthz": healthy})
    async with server.listening("127.0.0.1", 9467) as place: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import h11

_log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 8 * 1024
PATIENCE_S = 10.0
CONNECTIONS_MAX = 16
PLAIN = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """What is answered."""

    status: int
    text: str
    media: str = PLAIN


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""By their paths."""


class PageServer:
    """Serves pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._connections = 0

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Serve until left; yields where. Raises OSError where the address cannot be had."""
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = group.create_task(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(begin, host, port, limit=HEAD_BYTES_MAX, start_serving=False)
        async with asyncio.TaskGroup() as group:
            try:
                await server.start_serving()
                found_host, found_port, *_ = server.sockets[0].getsockname()
                yield found_host, found_port
            finally:
                server.close()
                for task in list(tasks):
                    task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                async with asyncio.timeout(PATIENCE_S):
                    await self._converse(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            _log.debug("a monitor was not answered: %s", error)
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(HEAD_BYTES_MAX))
        if not isinstance(event, h11.Request):
            return
        page = await self._page(event)
        body = page.text.encode()
        headers = [("content-type", page.media), ("content-length", str(len(body))), ("connection", "close")]
        answer = [h11.Response(status_code=page.status, headers=headers)]
        parts = [*answer, *([h11.Data(data=body)] if event.method != b"HEAD" else []), h11.EndOfMessage()]
        writer.write(b"".join(http.send(part) or b"" for part in parts))
        await writer.drain()

    async def _page(self, request: h11.Request) -> Page:
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        make = self._pages.get(path)
        if make is None:
            return Page(404, f"there are {', '.join(self._pages)}\n")
        if request.method not in {b"GET", b"HEAD"}:
            return Page(405, "this is read by GET\n")
        try:
            return await make()
        except Exception:  # noqa: BLE001 - the boundary of one request: a defect met in a page ends that request alone
            _log.exception("the page %s failed", path)
            return Page(500, "the node met a defect of its own: its log says more\n")
