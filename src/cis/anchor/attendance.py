"""One WebSocket that an anchor serves: one reader, which waits its turn, and one writer of what waits to be sent."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from cis.errors import Denied

SEND_S = 20.0
"""How long one message may take to leave."""
GOODBYE_S = 5.0
"""How long all that waits may take, once the connection is to be closed."""
CLOSE_CODE = 4000
_REASON_BYTES_MAX = 120
"""RFC 6455 §5.5.1 leaves 123."""


class Guest(Protocol):
    """Whoever is at the other end; ``ending`` says why the connection is to be closed."""

    ending: str | None
    on_change: Callable[[], None]


class Attendance(ABC):
    """Belongs to one connection, accepted already; a subclass says what is read, and what waits."""

    def __init__(self, websocket: WebSocket, guest: Guest) -> None:
        self._websocket = websocket
        self._guest = guest
        self._changed = asyncio.Event()
        self._gone = False
        guest.on_change = self._changed.set

    @abstractmethod
    async def read(self) -> None:
        """Read until `next_message` gives none, or the guest is to go."""

    @abstractmethod
    def next_to_send(self) -> bytes | None:
        """Return what is to be sent next, if anything."""

    async def run(self) -> None:
        """Read and write until either side ends it."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):  # it is gone, or reads nothing
                await self._write()
            reading.cancel()

    async def next_message(self) -> bytes | None:
        """Return the next message, None once there will be no more; what is text is no message of ours."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            self._gone = True
            return None
        return event.get("bytes") or b""

    async def _read(self) -> None:
        await self.read()
        self._changed.set()

    async def _write(self) -> None:
        while not self._gone:
            while self._guest.ending is None and (data := self.next_to_send()) is not None:
                async with asyncio.timeout(SEND_S):
                    await self._websocket.send_bytes(data)
            if self._guest.ending is not None:
                async with asyncio.timeout(GOODBYE_S):
                    while (data := self.next_to_send()) is not None:
                        await self._websocket.send_bytes(data)
                    await self._websocket.close(CLOSE_CODE, self._guest.ending[:_REASON_BYTES_MAX])
                return
            self._changed.clear()
            await self._changed.wait()


async def turn_away(websocket: WebSocket, denied: Denied) -> None:
    """Answer a connection that is not accepted."""
    await websocket.send_denial_response(PlainTextResponse(f"{denied}\n", 429))


def host_of(websocket: WebSocket) -> str:
    """Return where a connection comes from."""
    return websocket.client.host if websocket.client is not None else ""
