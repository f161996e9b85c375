"""Addresses of the servers a node was told of by name; a name that fails is a fact, kept for a while like an answer.

A resolver that does not answer may hold its caller for many seconds, so each question runs on a thread of its own,
which neither the loop nor the end of the program waits for. The same question is asked once at a time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

Address = tuple[str, int]
"""Host and port in plain spelling: an IP address, IPv4 never mapped into IPv6."""

_ANSWERED_FOR_S = 300.0
_FAILED_FOR_S = 15.0


def is_usable(host: str, port: int) -> bool:
    """Whether packets can be sent there at all: a plain unicast IP address without a scope, and a port."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    nowhere = address.is_unspecified or address.is_multicast or address.is_link_local or "%" in host
    return not nowhere and 0 < port < 1 << 16


def plain(host: str) -> str:
    """Spell an IP address as this room does: IPv4 mapped into IPv6 as IPv4."""
    address = ipaddress.ip_address(host)
    return str((address.version == 6 and address.ipv4_mapped) or address)


@dataclass(frozen=True, slots=True)
class _Answer:
    hosts: tuple[str, ...]
    until: float


class Names:
    """Answers ``lookup`` from what was resolved lately; of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, _Answer] = {}
        self._asking: dict[str, asyncio.Future[tuple[str, ...]]] = {}

    async def lookup(self, host: str, port: int) -> tuple[Address, ...]:
        """Return the addresses of a host, those of its first family first; none where the name fails."""
        try:
            return ((str(ipaddress.ip_address(host)), port),)
        except ValueError:
            pass
        known = self._known.get(host)
        if known is None or known.until <= self._loop.time():
            hosts = await asyncio.shield(self._asking.get(host) or self._ask(host))
        else:
            hosts = known.hosts
        return tuple((one, port) for one in hosts)

    def forget(self) -> None:
        """Ask again from now on: another network may resolve differently."""
        self._known.clear()

    def _ask(self, host: str) -> asyncio.Future[tuple[str, ...]]:
        future: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        self._asking[host] = future
        threading.Thread(target=self._resolve, args=(host,), name="resolving", daemon=True).start()
        return future

    def _resolve(self, host: str) -> None:
        """Run on the thread; the loop may be gone when the resolver answers at last."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            hosts = tuple(dict.fromkeys(str(one[4][0]) for one in found))
        except (OSError, UnicodeError):
            hosts = ()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._answered, host, hosts)

    def _answered(self, host: str, hosts: tuple[str, ...]) -> None:
        lasts = _ANSWERED_FOR_S if hosts else _FAILED_FOR_S
        self._known[host] = _Answer(hosts, self._loop.time() + lasts)
        future = self._asking.pop(host)
        if not future.done():
            future.set_result(hosts)
