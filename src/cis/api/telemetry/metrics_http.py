"""Pages for monitors over HTTP/1.1: each asked for by GET on a connection of its own, read within bounds, then closed.

Who connects is a stranger: a head that is too long, slowness beyond `PATIENCE_S` and connections above
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

from cis.api.http_serving import Answer, Asked, HttpServer

_log = logging.getLogger(__name__)

PATIENCE_S = 10.0
CONNECTIONS_MAX = 16
PLAIN = "text/plain; charset=utf-8"
_CLOSE = (("connection", "close"),)


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

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Serve until left; yields where. Raises OSError where the address cannot be had."""
        server = HttpServer(self._answer, body_bytes_max=0, connections_max=CONNECTIONS_MAX, patience_s=PATIENCE_S)
        create = asyncio.get_running_loop().create_server
        async with server.serving(lambda made: create(made, host, port, start_serving=False)) as listening:
            found_host, found_port, *_ = listening.sockets[0].getsockname()
            yield found_host, found_port

    async def _answer(self, asked: Asked) -> Answer:
        page = await self._page(asked)
        return Answer(page.status, page.media, page.text.encode(), _CLOSE)

    async def _page(self, asked: Asked) -> Page:
        make = self._pages.get(asked.path)
        if make is None:
            return Page(404, f"there are {', '.join(self._pages)}\n")
        if asked.method not in {"GET", "HEAD"}:
            return Page(405, "this is read by GET\n")
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await make()
        except TimeoutError:
            return Page(503, f"the node does not answer within {PATIENCE_S:g} s\n")
        except Exception:  # noqa: BLE001 - the boundary of one request: a defect met in a page ends that request alone
            _log.exception("the page %s failed", asked.path)
            return Page(500, "the node met a defect of its own: its log says more\n")
