"""One end of an aioquic pair, by its asyncio API with its defaults; ``python -m bench.peers.aioquic_end``."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve as serve_quic
from aioquic.quic.configuration import QuicConfiguration

from cis.bench.roles import serve
from cis.net import Certificate

if TYPE_CHECKING:
    from aioquic.asyncio.server import QuicServer

_ALPN = ["bench/1"]
_CHUNK = bytes(64 << 10)


class AioquicEnd:
    """``listen`` on one side; ``send`` or ``handshake`` on the other."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._server: QuicServer | None = None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def on_listen(self) -> dict[str, Any]:
        """Take whatever comes, and answer the end of a stream with how much that was."""
        configuration, certificate = QuicConfiguration(is_client=False, alpn_protocols=_ALPN), Certificate.generate()
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder) / "chain", Path(folder) / "key"
            chain.write_bytes(certificate.pem)
            key.write_bytes(certificate.key_pem)
            configuration.load_cert_chain(chain, key)
        self._server = await serve_quic("127.0.0.1", 0, configuration=configuration, stream_handler=self._on_stream)
        transport = self._server._transport  # noqa: SLF001 - it tells its port in no other way
        assert transport is not None
        port = transport.get_extra_info("sockname")[1]
        return {"host": "127.0.0.1", "port": port}

    async def on_send(self, host: str, port: int, size: int) -> dict[str, Any]:
        """Send so many bytes on one stream; the clock stops when the other side has said that it has them."""
        async with connect(host, port, configuration=_dialling()) as connection:
            began = time.perf_counter()
            reader, writer = await connection.create_stream()
            for start in range(0, size, len(_CHUNK)):
                writer.write(_CHUNK[: size - start])
                await writer.drain()
            writer.write_eof()
            arrived = int(await reader.read())
            elapsed_s = time.perf_counter() - began
        assert arrived == size, (arrived, size)
        return {"elapsed_s": elapsed_s}

    async def on_handshake(self, host: str, port: int) -> dict[str, Any]:
        """Connect once and hang up."""
        began = time.perf_counter()
        async with connect(host, port, configuration=_dialling()):
            return {"elapsed_s": time.perf_counter() - began}

    def _on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._group.create_task(_count(reader, writer))


def _dialling() -> QuicConfiguration:
    return QuicConfiguration(is_client=True, alpn_protocols=_ALPN, verify_mode=ssl.CERT_NONE)


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    received = 0
    while data := await reader.read(1 << 20):
        received += len(data)
    writer.write(b"%d" % received)
    writer.write_eof()


if __name__ == "__main__":
    serve(AioquicEnd)
