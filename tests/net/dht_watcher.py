"""Nodes of the DHT made for tests: they keep what they are given and can be asked for it, or lie."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any

import libtorrent as lt

Message = dict[bytes, Any]
Twist = Callable[[Message, Message], bytes | None]
"""Makes of a query and the honest reply what is sent, None for silence."""


class Watcher(asyncio.DatagramProtocol):
    """An honest node that remembers every query; ``twist`` makes a liar of it."""

    def __init__(self, others: list[Watcher], twist: Twist | None = None) -> None:
        self.id = os.urandom(20)
        self.queries: list[tuple[Message, tuple[str, int]]] = []
        self.items: dict[bytes, Message] = {}
        self.twist = twist
        self._others = others
        self.transport: asyncio.DatagramTransport

    @property
    def address(self) -> tuple[str, int]:
        found: tuple[str, int] = self.transport.get_extra_info("sockname")
        return found

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # of datagrams
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query: Message = lt.bdecode(data)  # type: ignore[assignment]  # the stubs know no bytes as keys
        if query.get(b"y") != b"q":
            return
        self.queries.append((query, address))
        reply = {b"t": query[b"t"], b"y": b"r", b"r": {b"id": self.id, **self._answer(query[b"q"], query[b"a"])}}
        raw = self.twist(query, reply) if self.twist is not None else lt.bencode(reply)
        if raw is not None:
            self.transport.sendto(raw, address)

    def _answer(self, what: bytes, asked: Message) -> Message:
        listed = b"".join(one.id + _compact(one.address) for one in self._others)
        if what == b"get":
            return {b"nodes": listed, b"token": b"token", **self.items.get(asked[b"target"], {})}
        if what == b"put":
            assert asked[b"token"] == b"token"
            if b"k" in asked:
                self.items[sha1(asked[b"k"], usedforsecurity=False).digest()] = {
                    key: asked[key] for key in (b"v", b"k", b"seq", b"sig")
                }
            return {}
        return {b"nodes": listed, b"token": b"token"}

    def puts(self) -> list[Message]:
        return [query[b"a"] for query, _ in self.queries if query[b"q"] == b"put"]


def _compact(address: tuple[str, int]) -> bytes:
    return bytes(map(int, address[0].split("."))) + address[1].to_bytes(2, "big")


@asynccontextmanager
async def watchers(count: int, twist: Twist | None = None) -> AsyncIterator[list[Watcher]]:
    """Run so many on loopback; each knows the others."""
    found: list[Watcher] = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(count):
            _, made = await loop.create_datagram_endpoint(lambda: Watcher(found, twist), local_addr=("127.0.0.1", 0))
            found.append(made)
        yield found
    finally:
        for one in found:
            one.transport.close()
