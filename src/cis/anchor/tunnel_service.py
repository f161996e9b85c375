"""The tunnel over HTTP: a WebSocket for each end of a channel."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.routing import WebSocketRoute

from cis.anchor.attendance import Attendance, host_of, turn_away
from cis.anchor.tunnel import PATH
from cis.anchor.tunnels import Passage, Tunnels
from cis.errors import Denied

if TYPE_CHECKING:
    from starlette.websockets import WebSocket


def tunnel_route(tunnels: Tunnels) -> WebSocketRoute:
    """Return where the tunnel is."""

    async def attend(websocket: WebSocket) -> None:
        try:
            passage = tunnels.connect(host_of(websocket), time.monotonic())
        except Denied as denied:
            await turn_away(websocket, denied)
            return
        try:
            await websocket.accept()
            await _Attendance(tunnels, websocket, passage).run()
        finally:
            tunnels.leave(passage)

    return WebSocketRoute(PATH, attend)


class _Attendance(Attendance):
    def __init__(self, tunnels: Tunnels, websocket: WebSocket, passage: Passage) -> None:
        super().__init__(websocket, passage)
        self._tunnels = tunnels
        self._passage = passage

    async def read(self) -> None:
        """Read which channel it is, then what goes into it."""
        tunnels, passage = self._tunnels, self._passage
        try:
            async with asyncio.timeout(tunnels.limits.hello_s):
                data = await self.next_message()
        except TimeoutError:
            passage.end("it did not say which channel")
            return
        if data is not None:
            tunnels.attach(passage, data, time.monotonic())
        while data is not None and passage.ending is None:
            data = await self.next_message()
            if data is not None and passage.ending is None:
                await asyncio.sleep(tunnels.take(passage, data, time.monotonic()))

    def next_to_send(self) -> bytes | None:
        """Return what came for it out of the channel."""
        return self._tunnels.sent(self._passage)
