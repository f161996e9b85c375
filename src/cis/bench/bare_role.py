"""A process that is one end of the bare pair."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cis.bench.bare import BarePeer
from cis.net import Certificate


class BareRole:
    """``listen`` on one side; ``send``, ``handshake`` or ``round_trips`` on the other."""

    def __init__(self, _: asyncio.TaskGroup) -> None:
        self._peer: BarePeer | None = None
        self._received = 0

    async def close(self) -> None:
        if self._peer is not None:
            self._peer.close()

    async def on_listen(self) -> dict[str, Any]:
        """Take whatever comes, and answer the end of a stream with how much that was."""
        certificate = Certificate.generate()
        self._peer = BarePeer((certificate.pem, certificate.key_pem))
        self._peer.on_data = self._count
        return {"host": self._peer.address[0], "port": self._peer.address[1]}

    async def on_send(self, host: str, port: int, size: int) -> dict[str, Any]:
        """Send so many bytes on one stream; the clock stops when the other side has said that it has them."""
        peer = BarePeer()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        peer.on_data = lambda _stream, data, _ended: None if answered.done() else answered.set_result(data)
        try:
            await peer.connect((host, port))
            began = time.perf_counter()
            await peer.send(size)
            arrived = int(await answered)
            elapsed_s = time.perf_counter() - began
            peer.hang_up()
        finally:
            peer.close()
        assert arrived == size, (arrived, size)
        return {"elapsed_s": elapsed_s}

    async def on_handshake(self, host: str, port: int) -> dict[str, Any]:
        """Connect once and hang up."""
        if self._peer is None:
            self._peer = BarePeer()
        began = time.perf_counter()
        await self._peer.connect((host, port))
        elapsed_s = time.perf_counter() - began
        self._peer.hang_up()
        return {"elapsed_s": elapsed_s}

    async def on_round_trips(self, host: str, port: int, count: int, size: int) -> dict[str, Any]:
        """Send so many bytes on a stream of their own and await the answer, so often, over one connection."""
        peer = BarePeer()
        loop, elapsed_ms = asyncio.get_running_loop(), []
        try:
            await peer.connect((host, port))
            for number in range(count):
                answered: asyncio.Future[bytes] = loop.create_future()
                peer.on_data = lambda _stream, data, _ended, one=answered: one.set_result(data)  # type: ignore[misc] # bound now
                began = time.perf_counter()
                peer.answer(4 * number, bytes(size))
                arrived = int(await answered)
                elapsed_ms.append((time.perf_counter() - began) * 1e3)
                assert arrived == size, (arrived, size)
            peer.hang_up()
        finally:
            peer.close()
        return {"elapsed_ms": elapsed_ms}

    def _count(self, stream: int, data: bytes, ended: bool) -> None:  # noqa: FBT001 - as qh3's event has it
        self._received += len(data)
        if ended and self._peer is not None:
            self._peer.answer(stream, b"%d" % self._received)
            self._received = 0
