"""A router that started again says so by multicast, to 224.0.0.1 port 5350 (RFC 6886 § 3.2.1, RFC 6887 § 14.1.1).

Whoever hears it need not wait for the next check. Anybody on the local network can say the same: only the
gateway's address counts, and one announcement in ten seconds; it leads to one question to the router.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PORT = 5350
APART_S = 10.0
_PCP_ANNOUNCE = bytes([2, 0x80])
_NATPMP_ADDRESS = bytes([0, 0x80])


class Announcements(asyncio.DatagramProtocol):
    """Calls ``heard`` for an announcement of the gateway, whose address ``gateway`` gives."""

    def __init__(
        self,
        gateway: Callable[[], str | None],
        heard: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._heard = heard
        self._clock = clock
        self._last: float | None = None

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if data[:2] not in {_PCP_ANNOUNCE, _NATPMP_ADDRESS} or addr[0] != self._gateway():
            return
        now = self._clock()
        if self._last is None or now - self._last >= APART_S:
            self._last = now
            self._heard()


@asynccontextmanager
async def listening(announcements: Announcements) -> AsyncIterator[None]:
    """Listen for the duration; where the port cannot be had the checks alone must do."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.settimeout(0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other clients of the machine listen there too
        try:
            bound.bind(("", PORT))
        except OSError:
            yield
            return
        transport, _ = await loop.create_datagram_endpoint(lambda: announcements, sock=bound.dup())
        try:
            yield
        finally:
            transport.close()
