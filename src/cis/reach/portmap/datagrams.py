"""A question by UDP, asked again until it is answered; used by all three protocols, on sockets of their own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from cis.reach.portmap.values import NoAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
_Opened: TypeAlias = "tuple[Inbox, asyncio.DatagramTransport]"

WAITS_S = (0.25, 0.5, 1.0)
"""How long each try waits. RFC 6886 starts like this and goes on for a minute; a router is a millisecond away, and
what it does not answer now it is asked again later."""
DATAGRAM_MAX = 2048
"""Larger ones are dropped: PCP allows 1,100 bytes, an answer to a search has a few hundred."""
_WAITING_MAX = 64
_MULTICAST_HOPS = 2


class Inbox(asyncio.DatagramProtocol):
    """Datagrams as they came, at most 64 waiting; those beyond are dropped."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[bytes, str] | OSError] = asyncio.Queue(_WAITING_MAX)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if len(data) <= DATAGRAM_MAX:
            self._put((data, str(addr[0])))

    def error_received(self, exc: Exception) -> None:
        self._put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    def _put(self, item: tuple[bytes, str] | OSError) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(item)

    async def wait_datagram(self) -> tuple[bytes, str]:
        """The next datagram and the address it came from; OSError for what the network reported instead."""
        item = await self._waiting.get()
        if isinstance(item, OSError):
            raise item
        return item


@asynccontextmanager
async def open_inbox(own: str, *, remote: tuple[str, int] | None = None) -> AsyncIterator[_Opened]:
    """A socket at our address; with ``remote``, one that hears nobody else. OSError if there is no such address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.settimeout(0)
        bound.bind((own, 0))
        if remote is not None:
            bound.connect(remote)
        else:
            bound.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _MULTICAST_HOPS)
            bound.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        transport, inbox = await asyncio.get_running_loop().create_datagram_endpoint(Inbox, sock=bound.dup())
        try:
            yield inbox, transport
        finally:
            transport.close()


async def ask(own: str, server: tuple[str, int], request: bytes, accept: Callable[[bytes], T | None]) -> T:
    """The first answer that ``accept`` makes something of; what that raises ends the asking. `NoAnswer` if none."""
    try:
        async with open_inbox(own, remote=server) as (inbox, transport):
            for wait_s in WAITS_S:
                transport.sendto(request)
                try:
                    async with asyncio.timeout(wait_s):
                        return await _accepted(inbox, accept)
                except TimeoutError:
                    continue
    except OSError as error:
        raise NoAnswer(f"the router does not listen there ({error.strerror or error})") from error
    raise NoAnswer("the router did not answer")


async def _accepted(inbox: Inbox, accept: Callable[[bytes], T | None]) -> T:
    while True:
        data, _ = await inbox.wait_datagram()
        answer = accept(data)
        if answer is not None:
            return answer
