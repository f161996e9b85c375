"""The one UDP socket: batched reads and writes, and what to do when the kernel says no.

Reading takes a bounded burst per readiness so that one flooder cannot hold the loop. Datagrams the kernel did not
take wait in ``_waiting``, ``congested`` is true meanwhile, and connections stop producing until ``when_writable`` calls
them. Answers to strangers go on, so what waits is bounded: beyond that it is dropped.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING

from cis.net.limits import Drop, EndpointCounters
from cis.net.paths import unmapped
from cis.net.qh3_core import BatchedSocket, RawAddress, batched_socket

if TYPE_CHECKING:
    from collections.abc import Callable

Received = list[tuple[bytes, RawAddress]]

_log = logging.getLogger(__name__)
_ANY, _ANY_IPV4 = "::", "0.0.0.0"  # noqa: S104 - to listen everywhere is what was asked for
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_BURST = 32
_WAITING_MAX = 4096
"""Sendings that wait: more than all connections have made when the kernel takes no more."""
_BUFFER_BYTES = 8 << 20
_FORCED = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}
"""SO_RCVBUFFORCE and SO_SNDBUFFORCE of Linux, which Python does not name; they need CAP_NET_ADMIN."""


class UdpSocket:
    """A bound, non-blocking UDP socket on the running loop; a ``paths.Carrier``."""

    relayed = False

    def __init__(
        self, sock: socket.socket, on_received: Callable[[Received], None], counters: EndpointCounters
    ) -> None:
        self._socket = sock
        self.address = unmapped(sock.getsockname())
        self._loop = asyncio.get_running_loop()
        self._batched: BatchedSocket | None = batched_socket(sock.fileno())
        """a descriptor of its own on the port, closed with the last reference; None once this is closed"""
        self._on_received = on_received
        self._counters = counters
        self._waiting: deque[tuple[list[bytes], RawAddress]] = deque()
        self._when_writable: list[Callable[[], None]] = []
        self._loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    async def bind(
        cls, host: str, port: int, on_received: Callable[[Received], None], counters: EndpointCounters
    ) -> UdpSocket:
        """Bind to ``host``; raises OSError.

        ``::`` listens on both families, or on IPv4 alone where the machine has no IPv6.
        """
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        try:
            sock = _bound(family, address)
        except OSError as error:
            if host != _ANY or error.errno not in _NO_IPV6:
                raise
            sock = _bound(socket.AF_INET, (_ANY_IPV4, port))
        return cls(sock, on_received, counters)

    @property
    def congested(self) -> bool:
        return bool(self._waiting)

    def send_singly(self) -> None:
        """Leave the cutting into datagrams to nobody: a capture on loopback then shows what a network would carry."""
        if self._batched is not None:
            self._batched.disable_gso()

    async def resolve(self, host: str, port: int) -> RawAddress:
        """Find the address of ``host`` that the system prefers, of those this socket reaches; raises OSError.

        The system knows which family has a route (RFC 6724), this socket only which it can write.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            family = socket.AF_UNSPEC if self._socket.family == socket.AF_INET6 else socket.AF_INET
            found = await self._loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
            address = _raw(found[0][4])
            return address if len(address) > 2 else self.spell(*address)
        return self.spell(host, port)

    def spell(self, host: str, port: int) -> RawAddress:
        """Write a numeric address in this socket's own family; raises OSError if it has none of that kind.

        The scope of a link-local one (``fe80::1%eth0``) is the interface it is reached by.
        """
        version = ipaddress.ip_address(host).version
        if self._socket.family == socket.AF_INET6:
            plain, _, scope = host.partition("%")
            return (f"::ffff:{host}" if version == 4 else plain, port, 0, socket.if_nametoindex(scope) if scope else 0)
        if version != 4:
            raise OSError(errno.EAFNOSUPPORT, "this endpoint listens on IPv4 only")
        return host, port

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        """Send, or keep for later; returns the error if the kernel will never take them."""
        self._counters.datagrams_out += len(datagrams)
        self._counters.bytes_out += sum(map(len, datagrams))
        if len(address) == 2 and self._socket.family == socket.AF_INET6:
            address = self.spell(*address)
        if self._waiting:
            if len(self._waiting) < _WAITING_MAX:
                self._waiting.append((datagrams, address))
            else:
                self._counters.dropped[Drop.UNSENDABLE] += len(datagrams)
            return None
        return self._send_now(datagrams, address)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once the kernel has taken all that waits."""
        self._when_writable.append(callback)

    def close(self) -> None:
        """Try once more to send what waits, then close."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return
        self._loop.remove_reader(descriptor)
        if self._waiting:
            self._writable()
            if self._waiting:
                self._loop.remove_writer(descriptor)
        self._waiting.clear()
        self._when_writable.clear()
        self._batched = None
        self._socket.close()

    def _readable(self) -> None:
        received: Received = []
        for _ in range(_BURST):
            if self._batched is None:
                break  # closed by what was received
            try:
                batch = self._batched.recv()
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError as error:  # an ICMP error that came for an earlier datagram
                _log.debug("receive failed: %s", error.strerror)
                break
            if not batch:
                break
            received += batch
        if received:
            self._on_received(received)

    def _send_now(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        batched = self._batched
        while datagrams and batched is not None:
            try:
                sent = batched.send(datagrams, address)
            except (BlockingIOError, InterruptedError) as stop:
                self._wait(datagrams[getattr(stop, "datagrams_sent", 0) :], address)
                return None
            except OSError as error:
                sent = getattr(error, "datagrams_sent", 0)
                if failed := self._on_send_error(batched, error, datagrams[sent:], address):
                    return failed
                sent += 1
            else:
                if sent < len(datagrams):
                    self._wait(datagrams[sent:], address)
                    return None
            datagrams = datagrams[sent:]
        return None

    def _on_send_error(
        self, batched: BatchedSocket, error: OSError, rest: list[bytes], address: RawAddress
    ) -> OSError | None:
        """Deal with the first datagram of ``rest``: None if it is dealt with and the others may go on."""
        if error.errno == errno.EMSGSIZE:  # a path MTU probe that was too large (RFC 8899): its loss is the answer
            return None
        if len(rest) > 1:
            try:  # alone it needs no segmentation: if it passes, the interface cannot do GSO
                batched.send(rest[:1], address)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as again:
                error = again
            else:
                batched.disable_gso()
                return None
        self._counters.dropped[Drop.UNSENDABLE] += len(rest)
        return error

    def _wait(self, datagrams: list[bytes], address: RawAddress) -> None:
        if not datagrams:
            return
        if not self._waiting:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._waiting.appendleft((datagrams, address))

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        waiting, self._waiting = self._waiting, deque()
        while waiting and not self._waiting:
            self._send_now(*waiting.popleft())
        self._waiting.extend(waiting)
        if not self._waiting:
            callbacks, self._when_writable = self._when_writable, []
            for callback in callbacks:
                callback()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    """Make a bound socket; raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option in _FORCED:
            _grow_buffer(sock, option)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _grow_buffer(sock: socket.socket, option: int) -> None:
    """Ask for a buffer that holds a full flight; the kernel's answer is good enough."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _FORCED[option], _BUFFER_BYTES)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def _raw(address: tuple[object, ...]) -> RawAddress:
    host, port, *rest = address
    if rest:
        return str(host), int(str(port)), int(str(rest[0])), int(str(rest[1]))
    return str(host), int(str(port))
