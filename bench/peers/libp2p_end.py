"""One end of a py-libp2p pair, with its defaults but one; ``python -m bench.peers.libp2p_end tcp|quic``.

Over TCP that is Noise and Yamux, over QUIC aioquic with windows of py-libp2p's. It runs on trio, so it speaks the lines
of `cis.bench.roles` by itself.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

if TYPE_CHECKING:
    from libp2p.abc import IHost, INetStream

PROTOCOL = TProtocol("/bench/1")
_CHUNK = bytes(64 << 10)
_SIZE_BYTES = 8
_PLACES = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}


async def run(transport: str) -> None:
    """Answer requests until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    place = Multiaddr(_PLACES[transport])
    host = new_host(
        key_pair=create_new_key_pair(),
        listen_addrs=[place],
        enable_quic=transport == "quic",
        # With room for another connection it waits 250 ms for one by another address, of which there is none.
        connection_config=ConnectionConfig(max_connections_per_peer=1),
    )
    host.set_stream_handler(PROTOCOL, _count)
    async with host.run(listen_addrs=[place]):
        lines = trio.wrap_file(sys.stdin)
        async for line in lines:
            request = json.loads(line)
            try:
                answer = await _answer(host, request)
            except Exception as error:  # noqa: BLE001 - told to the parent, which decides
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


async def _answer(host: IHost, request: dict[str, Any]) -> dict[str, Any]:
    match request["request"]:
        case "listen":
            return {"at": str(host.get_addrs()[0])}
        case "handshake":
            info = info_from_p2p_addr(Multiaddr(request["at"]))
            began = time.perf_counter()
            await host.connect(info)
            elapsed_s = time.perf_counter() - began
            await host.disconnect(info.peer_id)
            return {"elapsed_s": elapsed_s}
        case "send":
            return {"elapsed_s": await _send(host, Multiaddr(request["at"]), int(request["size"]))}
        case other:
            raise ValueError(f"no such request: {other}")


async def _send(host: IHost, at: Multiaddr, size: int) -> float:
    """Return seconds until the other side has said that it has so many bytes, on one stream of a fresh connection."""
    info = info_from_p2p_addr(at)
    await host.connect(info)
    began = time.perf_counter()
    stream = await host.new_stream(info.peer_id, [PROTOCOL])
    await stream.write(size.to_bytes(_SIZE_BYTES))
    for start in range(0, size, len(_CHUNK)):
        await stream.write(_CHUNK[: size - start])
    said = await stream.read(1)
    elapsed_s = time.perf_counter() - began
    assert said == b".", said
    await host.disconnect(info.peer_id)
    return elapsed_s


async def _count(stream: INetStream) -> None:
    """Answer once as many bytes came as the first eight announced."""
    head = b""
    while len(head) < _SIZE_BYTES:
        head += await stream.read(_SIZE_BYTES - len(head))
    left = int.from_bytes(head)
    while left:
        left -= len(await stream.read(min(left, len(_CHUNK))))
    await stream.write(b".")


if __name__ == "__main__":
    trio.run(run, sys.argv[1])
