"""Connections before they are WebSockets: so many at once, from one address and in all, and not for long.

They are counted when they are accepted, before TLS. Behind a proxy all come from its address, and it bounds whom it
lets through.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cis.anchor.limits import AnchorLimits, address_of

REQUEST_S = 10.0
"""How long whoever connects may take to ask for something."""
SPARE = 64
"""Connections beside those of nodes: of who asks how the anchor is, or comes while another goes."""
SPARE_PER_ADDRESS = 4


class Doorway(socket.socket):
    """A listening socket that accepts nobody who would be one too many; takes the place of the one it is made from."""

    def __init__(self, bound: socket.socket, limits: AnchorLimits, proxies: Collection[str]) -> None:
        super().__init__(fileno=bound.detach())
        self._limits = limits
        self._proxies = frozenset(proxies)
        self._held: list[tuple[str, socket.socket]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; what is one too many is closed, and told like one that went before."""
        connection, address = super().accept()
        if not self._has_place(address[0]):
            connection.close()
            raise ConnectionAbortedError
        self._held.append((address_of(address[0]), connection))
        return connection, address

    def _has_place(self, host: str) -> bool:
        self._held = [(address, held) for address, held in self._held if held.fileno() != -1]
        if len(self._held) >= self._limits.connections_max + SPARE:
            return False
        address = address_of(host)
        from_there = sum(one == address for one, _ in self._held)
        return host in self._proxies or from_there < self._limits.connections_per_address + SPARE_PER_ADDRESS


class Impatient(H11Protocol):
    """HTTP/1.1 by uvicorn, cut off where no WebSocket comes of it in time."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower upstream
        """Begin to wait."""
        self._patience = self.loop.call_later(REQUEST_S, transport.abort)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._rest()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection on."""
        self._rest()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer has begun; what was asked before it gets none any more.

        Upstream goes on answering, on a connection that takes no answer, and logs a traceback for each.
        """
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _rest(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
