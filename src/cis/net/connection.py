"""One QUIC connection as its users see it: open and accept streams, close with a reason, learn of the end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from cis.errors import Fault
from cis.net.closing import CloseReason, ConnectionLost
from cis.net.drive import Drive, Link
from cis.net.limits import ConnectionStatistics, Cut, NetLimits
from cis.net.qh3_core import ALPN, QuicCore, RawAddress
from cis.net.streams import Streams
from cis.net.udp import unmapped
from cis.net.waiting import Change

if TYPE_CHECKING:
    from cis.net.stream import Stream


class Registrar(Protocol):
    """Who keeps account of connections (``roster.Roster``)."""

    def on_route(self, connection: Connection, cid: bytes, *, live: bool) -> None:
        """Datagrams for ``cid`` are (no longer) this connection's."""

    def on_established(self, connection: Connection) -> None:
        """The QUIC handshake is done."""

    def on_closing(self, connection: Connection) -> None:
        """It has ended, but may still repeat its goodbye."""

    def on_buffered(self) -> None:
        """A connection holds so much unread that all of them together may hold too much."""

    def on_cut(self, why: Cut) -> None:
        """A connection is being ended for taking too much."""

    def on_paused(self) -> None:
        """A peer has to stop until more is read."""

    def on_gone(self, connection: Connection, *, crashed: bool) -> None:
        """It will neither send nor receive again."""


class Connection:
    """A connection to one peer, dialled or accepted; who that is, the handshake above finds out.

    ``certificate_hash`` is the SHA-256 of the listener's certificate, the same on both sides.
    """

    def __init__(
        self,
        core: QuicCore,
        link: Link,
        registrar: Registrar,
        address: RawAddress,
        limits: NetLimits,
        listener_hash: bytes | None,
    ) -> None:
        self.is_dialler = listener_hash is None
        self.certificate_hash = listener_hash or b""
        self.authenticated = False
        self.established = False
        self._registrar = registrar
        self._limits = limits
        self._changed = Change()
        self._drive = Drive(core, link, address, limits, self)
        self._streams = Streams(self._drive, limits, registrar, is_dialler=self.is_dialler)
        if self.is_dialler:
            self._drive.flush_soon()

    @property
    def peer_address(self) -> tuple[str, int]:
        """Where the peer was when the connection began."""
        return unmapped(self._drive.address)

    @property
    def rtt_s(self) -> float | None:
        """Smoothed round-trip time, once measured."""
        return self._drive.core.health().rtt_s

    @property
    def last_received_at(self) -> float:
        """When the last datagram came, by the loop's clock."""
        return self._drive.last_received_at

    @property
    def closing(self) -> bool:
        """Whether it has ended."""
        return self._drive.reason is not None

    def mark_authenticated(self) -> None:
        """Stop counting this connection among the strangers."""
        self.authenticated = True

    async def open_stream(self) -> Stream:
        """Open a stream, waiting for the peer's permission; raises ConnectionLost."""
        return await self._streams.open()

    async def accept_stream(self) -> Stream:
        """Return the next stream the peer opened, in the order of their numbers; raises ConnectionLost."""
        return await self._streams.accept()

    def close(self, fault: Fault, reason: str) -> None:
        """End the connection and tell the peer why, in at most 200 bytes; unsent data is lost."""
        self._drive.close(fault, reason)

    async def wait_closed(self) -> CloseReason:
        """Wait for the end, whoever brings it about, and return why."""
        while self._drive.reason is None:
            await self._changed.wait()
        return self._drive.reason

    async def wait_established(self) -> None:
        """Wait for the QUIC handshake; raises ConnectionLost."""
        while not self.established:
            if self._drive.reason is not None:
                raise ConnectionLost(self._drive.reason)
            await self._changed.wait()

    def statistics(self) -> ConnectionStatistics:
        """Count what has passed and what is open."""
        streams, health = self._streams, self._drive.core.health()
        return ConnectionStatistics(
            bytes_in=streams.bytes_in,
            bytes_out=streams.bytes_out,
            unread_bytes=streams.unread_bytes,
            streams_local=streams.local,
            streams_remote=streams.remote,
            packets_lost=health.packets_lost,
            probe_timeouts=health.probe_timeouts,
            paused=self._drive.core.paused,
        )

    # What the endpoint asks.

    def receive(self, datagrams: list[bytes], address: RawAddress) -> None:
        """Take in datagrams that carry one of this connection's ids."""
        self._drive.guarded(self._drive.receive, datagrams, address)

    def drop(self, text: str) -> None:
        """End without a word to the peer."""
        self._drive.drop(text)

    # What the core and the drive report.

    def on_handshake_completed(self, alpn: str | None, *, resumed: bool) -> None:
        """Take the certificate's hash, or stop if there is nothing to bind the handshake above to."""
        shown = self._drive.core.peer_certificate() if self.is_dialler else None
        if resumed or alpn != ALPN or (self.is_dialler and not shown):
            self.close(Fault.REFUSED, "")
            return
        if shown:
            self.certificate_hash = hashlib.sha256(shown).digest()
        self.established = True
        self._changed.notify()
        self._registrar.on_established(self)

    def on_connection_id(self, cid: bytes, *, live: bool) -> None:
        """Pass a new or retired id on."""
        self._registrar.on_route(self, cid, live=live)

    def on_input(self) -> None:
        """Deliver what arrived; a stranger who sends more than a handshake is dropped."""
        self._drive.core.deliver(self, self._streams)
        if not self.authenticated and _presumes(self._streams, self._limits, is_dialler=self.is_dialler):
            self._registrar.on_cut(Cut.UNPROVEN)
            self.drop("more than a handshake before it was done")
            return
        self._streams.on_input()
        if self._streams.unread_bytes > self._limits.buffered_noticed_bytes:
            self._registrar.on_buffered()

    def on_flushed(self) -> None:
        """Wake writers."""
        self._streams.on_flushed()

    def on_end(self) -> None:
        """Wake everybody who waits."""
        self._changed.notify()
        self._streams.on_end()
        self._registrar.on_closing(self)

    def on_gone(self, *, crashed: bool) -> None:
        """Be forgotten."""
        self._registrar.on_gone(self, crashed=crashed)


def _presumes(streams: Streams, limits: NetLimits, *, is_dialler: bool) -> bool:
    """Whether a stranger has sent more than a handshake takes."""
    if is_dialler:
        return streams.bytes_in > limits.unproven_listener_bytes_max
    too_many = streams.opened_by_peer > limits.unauthenticated_streams_max
    return too_many or streams.bytes_in > limits.unauthenticated_bytes_max
