"""The tunnel over HTTP: a WebSocket for each end of a channel, with one reader that waits its turn, and one writer."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cis.anchor.tunnel import PATH
from cis.anchor.tunnels import Passage, Tunnels
from cis.errors import Denied

SEND_S = 20.0
GOODBYE_S = 5.0
CLOSE_CODE = 4000
_REASON_BYTES_MAX = 120
"""RFC 6455 §5.5.1 leaves 123."""


def tunnel_route(tunnels: Tunnels) -> WebSocketRoute:
    """Return where the tunnel is."""

    async def attend(websocket: WebSocket) -> None:
        host = websocket.client.host if websocket.client is not None else ""
        try:
            passage = tunnels.connect(host, time.monotonic())
        except Denied as denied:
            await websocket.send_denial_response(PlainTextResponse(f"{denied}\n", 429))
            return
        try:
            await websocket.accept()
            await _Attendance(tunnels, websocket, passage).run()
        finally:
            tunnels.leave(passage)

    return WebSocketRoute(PATH, attend)


class _Attendance:
    def __init__(self, tunnels: Tunnels, websocket: WebSocket, passage: Passage) -> None:
        self._tunnels = tunnels
        self._websocket = websocket
        self._passage = passage
        self._changed = asyncio.Event()
        self._gone = False
        passage.on_change = self._changed.set

    async def run(self) -> None:
        """Read and write until either side ends it."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):  # it is gone, or reads nothing
                await self._write()
            reading.cancel()

    async def _read(self) -> None:
        tunnels, passage = self._tunnels, self._passage
        try:
            async with asyncio.timeout(tunnels.limits.hello_s):
                data = await self._next()
        except TimeoutError:
            passage.end("it did not say which channel")
            return
        if data is not None:
            tunnels.attach(passage, data, time.monotonic())
        while data is not None and passage.ending is None:
            data = await self._next()
            if data is not None and passage.ending is None:
                await asyncio.sleep(tunnels.take(passage, data, time.monotonic()))
        self._gone = data is None
        self._changed.set()

    async def _next(self) -> bytes | None:
        """Return the next message, None once there will be no more."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            return None
        return event.get("bytes") or b""

    async def _write(self) -> None:
        passage = self._passage
        while not self._gone:
            while passage.ending is None and (data := self._tunnels.sent(passage)) is not None:
                async with asyncio.timeout(SEND_S):
                    await self._websocket.send_bytes(data)
            if passage.ending is not None:
                async with asyncio.timeout(GOODBYE_S):
                    while (data := self._tunnels.sent(passage)) is not None:
                        await self._websocket.send_bytes(data)
                    await self._websocket.close(CLOSE_CODE, passage.ending[:_REASON_BYTES_MAX])
                return
            self._changed.clear()
            await self._changed.wait()
