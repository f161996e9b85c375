"""One UDP socket that listens and dials, and finds for each datagram the connection it belongs to.

Datagrams are told apart by connection id (RFC 9000 §5.2), so both roles share the port and the NAT mapping.
It knows nothing of trust: who a peer is is settled above, on the first stream, and reported back by
``Connection.mark_authenticated``::

    async with await Endpoint.open("::", 7677, Certificate.generate(), on_connection=serve) as endpoint:
        connection = await endpoint.dial("192.0.2.7", 7677)
        stream = await connection.open_stream()
"""

from __future__ import annotations

import asyncio
import logging
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from cis.errors import Fault, TimedOut, Unavailable
from cis.net.connection import Connection
from cis.net.doorway import Doorway, Newcomer
from cis.net.keylog import open_keylog
from cis.net.limits import Drop, EndpointCounters, EndpointStatistics, NetLimits
from cis.net.paths import Path, unmapped
from cis.net.qh3_core import CID_BYTES, QuicCore, RawAddress, configuration_of, with_window
from cis.net.retry import RetryTokens
from cis.net.roster import Roster
from cis.net.udp import Received, UdpSocket

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cis.net.certificate import Certificate
    from cis.net.paths import Carrier
    from cis.net.shaping import Bandwidth

_log = logging.getLogger(__name__)
_LONG_HEADER = 0x80
_STUN_END = 0x40
_STUN_COOKIE = bytes.fromhex("2112a442")
_STUN_HEADER_BYTES = 20
_SHORT_CID_END = 1 + CID_BYTES
_DEFAULT_LIMITS = NetLimits()


class Endpoint:
    """Listens and dials on one socket; use as an async context manager."""

    def __init__(
        self, certificate: Certificate, limits: NetLimits, on_connection: Callable[[Connection], None]
    ) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._counters = EndpointCounters()
        self._roster = Roster(self._counters, limits, on_connection)
        self.traffic = self._roster.traffic
        """what passed on streams since the start, by peer and purpose"""
        self.line = self._roster.line
        """has the limits of bandwidth"""
        tokens = RetryTokens(os.urandom(32))
        self._doorway = Doorway(limits, self._counters, tokens, self._roster)
        self._dials = asyncio.Semaphore(limits.dialling_max)
        self._keylog = open_keylog(os.environ)
        self._dialling = configuration_of(limits, None, self._keylog)
        self._closed = False
        self.on_stun: Callable[[bytes, RawAddress, Carrier], None] | None = None
        """gets STUN (RFC 8489) that came on the socket or over another carrier; None: it is dropped"""
        self._socket: UdpSocket
        self.use_certificate(certificate)

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        certificate: Certificate,
        *,
        limits: NetLimits = _DEFAULT_LIMITS,
        on_connection: Callable[[Connection], None],
    ) -> Self:
        """Bind and begin to listen; ``host`` ``::`` listens on IPv4 too.

        ``on_connection`` gets each accepted connection once its QUIC handshake is done. Raises Unavailable if
        the address cannot be bound.
        """
        endpoint = cls(certificate, limits, on_connection)
        try:
            endpoint._socket = await UdpSocket.bind(
                host, port, lambda received: endpoint.receive_via(endpoint._socket, received), endpoint._counters
            )
        except OSError as error:
            what = f"cannot listen on UDP {host} port {port}: {error.strerror}"
            raise Unavailable(f"{what}; choose another address or port, 0 for any that is free") from error
        if endpoint._keylog is not None:
            endpoint._socket.send_singly()
        return endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where it really listens, also after asking for port 0."""
        return self._socket.address

    @property
    def carrier(self) -> Carrier:
        """The UDP socket, as a carrier of paths."""
        return self._socket

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The established connections, oldest first."""
        return tuple(c for c in self._roster.everyone if c.established and not c.closing)

    def use_certificate(self, certificate: Certificate) -> None:
        """Show this certificate to those who dial from now on (RULES A: a fresh one per slot and network)."""
        self._listening = configuration_of(self._limits, certificate, self._keylog)
        self._certificate_hash = certificate.hash

    def apply(self, limits: NetLimits, bandwidth: Bandwidth) -> None:
        """Let other limits hold from now on, for the connections there are too.

        Those whose credit fits the new ones no more are closed, to be made anew.
        """
        self._limits = limits
        self._doorway.use_limits(limits)
        self._roster.use_limits(limits)
        self.line.use(bandwidth)

    def statistics(self) -> EndpointStatistics:
        """Count what has passed and who is here."""
        counters = self._counters
        occupants = self._roster.occupants()
        established = len(self.connections)
        return EndpointStatistics(
            datagrams_in=counters.datagrams_in,
            datagrams_out=counters.datagrams_out,
            bytes_in=counters.bytes_in,
            bytes_out=counters.bytes_out,
            retries_sent=counters.retries_sent,
            version_negotiations_sent=counters.version_negotiations_sent,
            handshakes_timed_out=counters.handshakes_timed_out,
            dials_unanswered=counters.dials_unanswered,
            stun_in=counters.stun_in,
            moves=counters.moves,
            suspicions=counters.suspicions,
            paused=counters.paused,
            dropped=MappingProxyType(dict(counters.dropped)),
            refused=MappingProxyType(dict(counters.refused)),
            cut=MappingProxyType(dict(counters.cut)),
            connections=established,
            handshaking=len(occupants) - established,
            unauthenticated=sum(one.stranger for one in occupants),
        )

    async def dial(self, host: str, port: int) -> Connection:
        """Connect, in at most ``1 + handshake_retries`` attempts of ``handshake_timeout_s`` each.

        Raises TimedOut if nobody answers, Unavailable if the address cannot be used or the peer refuses.
        """
        try:
            address = await self._socket.resolve(host, port)
        except (OSError, OverflowError) as error:
            raise Unavailable(f"cannot dial {host} port {port}: {error}; check the address") from error
        return await self._dial(Path(self._socket, address), f"{host} port {port}")

    async def dial_over(self, path: Path) -> Connection:
        """Connect on a path that is known, as ``dial`` does; raises what it raises."""
        return await self._dial(path, "the peer on the path agreed")

    def expect(self, path: Path) -> Callable[[], None]:
        """Let a peer in that will dial on ``path``, without Retry and without taking a stranger's place.

        This holds until the call returned is made, and for a few connections; one that came before is adopted.
        """
        where = unmapped(path.address)
        for connection in self._roster.everyone:
            held = connection.path
            if not connection.is_dialler and held.carrier is path.carrier and unmapped(held.address) == where:
                connection.adopt(path)
        return self._doorway.expect(path)

    def uses(self, carrier: Carrier) -> bool:
        """Tell whether a connection stands on that carrier, one on the way in or out included."""
        return any(one.path.carrier is carrier and not one.closing for one in self._roster.everyone)

    def receive_via(self, carrier: Carrier, received: Received) -> None:
        """Take in what came over a carrier, the socket or another; never raises, whatever that is.

        Runs of datagrams of one connection and address are handed over together.
        """
        if self._closed:
            return
        self._counters.datagrams_in += len(received)
        routes = self._roster.routes
        run: list[bytes] = []
        owner: Connection | None = None
        run_cid = b""
        source: RawAddress = ("", 0)
        size = 0
        for data, address in received:
            size += len(data)
            cid = data[1:_SHORT_CID_END] if data and data[0] < _LONG_HEADER else _destination_cid(data)
            if cid == run_cid and (address is source or address == source) and owner is not None:
                run.append(data)
                continue
            if owner is not None:
                owner.receive(run, carrier, source)
            run, owner, run_cid, source = [data], routes.get(cid), cid, address
            if owner is None:
                self._on_unrouted(data, carrier, address)
        if owner is not None:
            owner.receive(run, carrier, source)
        self._counters.bytes_in += size

    async def close(self, fault: Fault = Fault.SHUTDOWN, reason: str = "") -> None:
        """Close every connection with this reason, then the socket."""
        if self._closed:
            return
        self._closed = True
        for connection in self._roster.everyone:
            connection.close(fault, reason)
        self._socket.close()
        for connection in self._roster.everyone:
            connection.drop("the endpoint is closed")
        self.line.close()
        if self._keylog is not None:
            self._keylog.close()

    async def _dial(self, path: Path, whom: str) -> Connection:
        attempts = 1 + self._limits.handshake_retries
        async with self._dials:
            for _ in range(attempts):
                if connection := await self._attempt(path):
                    return connection
        waited = attempts * self._limits.handshake_timeout_s
        raise TimedOut(
            f"no QUIC answer from {whom} within {waited:g} s ({attempts} attempts); "
            "check that the node is up and that UDP reaches it"
        )

    async def _attempt(self, path: Path) -> Connection | None:
        """Make one attempt; None if nobody answered."""
        if self._closed:
            raise Unavailable("the endpoint is closed; open another")
        if self._roster.settled >= self._limits.connections_max:
            most = self._limits.connections_max
            raise Unavailable(f"{most} connections are open, all that connections_max allows; close one")
        core = QuicCore.dialling(
            with_window(self._dialling, self.line.window_bytes(path, self._limits.window_bytes)),
            path.address,
            self._loop.time(),
        )
        connection = Connection(core, path, self._roster, self._limits, None)
        self._roster.enter(connection, core.host_cid)
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                await connection.wait_established()
        except TimeoutError:
            self._counters.dials_unanswered += 1
            return None
        except asyncio.CancelledError:
            if connection.established:  # in this very turn: nobody else will ever have it
                connection.close(Fault.NONE, "the dial was given up")
            raise
        finally:
            if not connection.established:
                connection.drop("the dial was given up")
        return connection

    def _on_unrouted(self, data: bytes, carrier: Carrier, address: RawAddress) -> None:
        """Deal with what belongs to no connection: STUN, or a stranger's."""
        if self.on_stun is not None and is_stun(data):
            self._counters.stun_in += 1
            try:
                self.on_stun(data, address, carrier)
            except Exception as error:  # noqa: BLE001 - the boundary to whoever sent it
                _log.debug("a STUN message raised %s", type(error).__name__, exc_info=error)
                self._counters.dropped[Drop.MALFORMED] += 1
        elif newcomer := self._doorway.consider(data, carrier, address, self._loop.time()):
            self._accept(newcomer, data, address)

    def _accept(self, newcomer: Newcomer, data: bytes, address: RawAddress) -> None:
        if self._closed:
            return
        path, retry_cid = newcomer.path, newcomer.retry_cid
        configuration = with_window(self._listening, self.line.window_bytes(path, self._limits.window_bytes))
        core = QuicCore.listening(configuration, newcomer.original_cid, retry_cid, address_proven=path.proven)
        connection = Connection(core, path, self._roster, self._limits, self._certificate_hash)
        proven = retry_cid is not None or path.proven
        cids = newcomer.destination_cid, core.host_cid
        self._roster.enter(connection, *cids, proven=proven, expected=newcomer.expected)
        self._roster.expect_handshake(connection, self._limits.handshake_timeout_s)
        connection.receive([data], path.carrier, address)
        if not core.proven:  # an Initial's keys are public: who cannot even use those gets no place
            self._counters.dropped[Drop.MALFORMED] += 1
            connection.drop("no readable packet")


def is_stun(data: bytes) -> bool:
    """Tell STUN from everything else on the socket (RFC 7983 §7, RFC 8489 §5)."""
    return len(data) >= _STUN_HEADER_BYTES and data[0] < _STUN_END and data[4:8] == _STUN_COOKIE


def _destination_cid(data: bytes) -> bytes:
    """Cut the destination connection id out of a long header (RFC 8999 §5.1)."""
    return data[6 : 6 + data[5]] if len(data) > 5 else b""
