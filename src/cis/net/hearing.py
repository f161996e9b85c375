"""What becomes of what a core and its drive report of one connection: the handshake's end, input, silence, the end."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Protocol

from cis.errors import Fault
from cis.net.limits import Cut, NetLimits
from cis.net.qh3_core import ALPN

if TYPE_CHECKING:
    from cis.net.connection import Connection
    from cis.net.drive import Drive
    from cis.net.line import Line
    from cis.net.streams import Streams
    from cis.net.traffic import Traffic
    from cis.net.waiting import Change


class Registrar(Protocol):
    """Who keeps account of connections (``roster.Roster``)."""

    @property
    def line(self) -> Line:
        """What is to be shared with others."""

    @property
    def traffic(self) -> Traffic:
        """Where what passes on streams is counted."""

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

    def on_moved(self) -> None:
        """A connection was put on another path."""

    def on_silent(self) -> None:
        """A path is suspected to be dead."""

    def on_gone(self, connection: Connection, *, crashed: bool) -> None:
        """It will neither send nor receive again."""


class Hearing:
    """Implements ``drive.Driven`` and ``qh3_core.ConnectionEvents`` for a connection."""

    _drive: Drive
    _streams: Streams

    def __init__(self, connection: Connection, registrar: Registrar, limits: NetLimits, changed: Change) -> None:
        self._connection = connection
        self._registrar = registrar
        self.limits = limits
        self._changed = changed

    def attend(self, drive: Drive, streams: Streams) -> None:
        """Hear of these."""
        self._drive = drive
        self._streams = streams

    @property
    def established(self) -> bool:
        """Whether the QUIC handshake is done."""
        return self._connection.established

    def on_handshake_completed(self, alpn: str | None, *, resumed: bool) -> None:
        """Take the certificate's hash, or stop if there is nothing to bind the handshake above to."""
        connection = self._connection
        shown = self._drive.core.peer_certificate() if connection.is_dialler else None
        if resumed or alpn != ALPN or (connection.is_dialler and not shown):
            connection.close(Fault.REFUSED, "")
            return
        if shown:
            connection.certificate_hash = hashlib.sha256(shown).digest()
        connection.established = True
        self._changed.notify()
        self._registrar.on_established(connection)

    def on_connection_id(self, cid: bytes, *, live: bool) -> None:
        """Pass a new or retired id on."""
        self._registrar.on_route(self._connection, cid, live=live)

    def on_pong(self, uid: int) -> None:
        """A PING of this number was acknowledged."""
        self._drive.footing.on_pong(uid)

    def on_input(self) -> None:
        """Deliver what arrived; a stranger who sends more than a handshake is dropped."""
        connection, streams = self._connection, self._streams
        self._drive.core.deliver(self, streams)
        if not connection.authenticated and _presumes(streams, self.limits, is_dialler=connection.is_dialler):
            self._registrar.on_cut(Cut.UNPROVEN)
            connection.drop("more than a handshake before it was done")
            return
        streams.on_input()
        if streams.intake.unread_bytes > self.limits.buffered_noticed_bytes:
            self._registrar.on_buffered()

    def on_flushed(self) -> None:
        """Wake writers."""
        self._streams.on_flushed()

    def on_silent(self) -> None:
        """Tell whoever can find another path; a failure of theirs is none of the peer's."""
        self._registrar.on_silent()
        if self._connection.on_suspect is not None:
            asyncio.get_running_loop().call_soon(self._connection.on_suspect)

    def on_end(self) -> None:
        """Wake everybody who waits."""
        self._changed.notify()
        self._streams.on_end()
        self._registrar.on_closing(self._connection)

    def on_gone(self, *, crashed: bool) -> None:
        """Be forgotten."""
        self._registrar.on_gone(self._connection, crashed=crashed)


def _presumes(streams: Streams, limits: NetLimits, *, is_dialler: bool) -> bool:
    """Whether a stranger has sent more than a handshake takes."""
    if is_dialler:
        return streams.bytes_in > limits.unproven_listener_bytes_max
    too_many = streams.opened_by_peer > limits.unauthenticated_streams_max
    return too_many or streams.bytes_in > limits.unauthenticated_bytes_max
