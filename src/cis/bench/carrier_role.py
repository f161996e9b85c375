"""A process that is one end of our endpoint, without a node on top."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cis.errors import Fault
from cis.net import Certificate, Connection, ConnectionLost, Endpoint

_CHUNK = bytes(1 << 20)


class CarrierRole:
    """``listen`` on one side, ``send`` on the other."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._endpoint: Endpoint | None = None

    async def close(self) -> None:
        if self._endpoint is not None:
            await self._endpoint.close()

    async def on_listen(self) -> dict[str, Any]:
        """Take whatever comes, and answer the end of a stream with how much that was."""
        self._endpoint = await self._open()
        host, port = self._endpoint.address
        return {"host": host, "port": port}

    async def on_send(self, host: str, port: int, size: int) -> dict[str, Any]:
        """Send so many bytes on one stream; the clock stops when the other side has said that it has them."""
        async with await self._open() as endpoint:
            connection = await endpoint.dial(host, port)
            began = time.perf_counter()
            async with await connection.open_stream() as stream:
                for start in range(0, size, len(_CHUNK)):
                    await stream.write(_CHUNK[: size - start])
                stream.finish()
                arrived = int(await stream.read())
            elapsed_s = time.perf_counter() - began
            connection.close(Fault.NONE, "")
        assert arrived == size, (arrived, size)
        return {"elapsed_s": elapsed_s}

    async def _open(self) -> Endpoint:
        return await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=self._on_connection)

    def _on_connection(self, connection: Connection) -> None:
        self._group.create_task(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        connection.mark_authenticated()
        try:
            stream = await connection.accept_stream()
            received = 0
            while data := await stream.read():
                received += len(data)
            await stream.write(b"%d" % received)
            stream.finish()
        except ConnectionLost:
            return
