"""uvicorn's WebSocket, held to what a node needs of one, since anybody may be at the other end.

What is sent has left when `send` returns, but for what a socket buffers, so who reads slowly is waited for and not
written to. Frames that are no message of their own (pings, pongs, fragments) come at a rate, as each costs time and
an answer; many small messages at once are refused. A connection that is over, or whose ping went unanswered, is cut
where its last bytes are not taken: closing alone would keep them for as long as the other side likes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cis.rate import Bucket

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.frames import Frame

ASIDE_PER_S: Final = 2
ASIDE_BURST: Final = 60
"""Frames that are no message; a node pings, and answers pings, three times a minute."""
QUEUED_MAX: Final = 4096
"""Messages that came in one read, and wait; pairing sends some hundreds."""
GOODBYE_S: Final = 10.0


class Strict(WebSocketsSansIOProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self._aside = Bucket(per_s=ASIDE_PER_S, burst=ASIDE_BURST)
        super().connection_made(transport)

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._bears():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong."""
        if self._bears():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment."""
        if self._bears():
            super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        """Take text as bytes, which are no message: upstream logs a traceback where it is none in UTF-8."""
        self.handle_bytes(event)

    def send_receive_event_to_app(self) -> None:
        """Take a message."""
        if self.queue.qsize() < QUEUED_MAX:
            super().send_receive_event_to_app()
        else:
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        """Give up on who does not answer."""
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        """End the connection with the server."""
        super().shutdown()
        if not self.writable.is_set():
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and return once there is place for more."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was answered: upstream logs that it was not
        await self.writable.wait()

    async def run_asgi(self) -> None:
        """Serve, then end the connection, whether or not the other side lets it end."""
        await super().run_asgi()
        self.loop.call_later(GOODBYE_S, self.transport.abort)

    def _bears(self) -> bool:
        if self._aside.take(1, self.loop.time()):
            return True
        self.transport.abort()
        return False
