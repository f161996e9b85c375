"""One QUIC connection as its users see it: open and accept streams, close with a reason, learn of the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.net.closing import CloseReason, ConnectionLost
from cis.net.drive import Drive
from cis.net.hearing import Hearing, Registrar
from cis.net.limits import ConnectionStatistics, NetLimits
from cis.net.paths import unmapped
from cis.net.streams import Streams
from cis.net.waiting import Change

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.errors import Fault
    from cis.net.paths import Carrier, Path
    from cis.net.qh3_core import QuicCore, RawAddress
    from cis.net.stream import Stream


class Connection:
    """A connection to one peer, dialled or accepted; who that is, the handshake above finds out.

    ``ledger`` is told whose it is, and what streams are for that the peer opened; ``window_bytes`` is how much the peer
    may send before it is read.
    ``certificate_hash`` is the SHA-256 of the listener's certificate, the same on both sides. ``on_suspect`` is called
    when what was sent has gone unanswered for about a second, and not again before something was answered or ``move``.
    """

    def __init__(
        self,
        core: QuicCore,
        path: Path,
        registrar: Registrar,
        limits: NetLimits,
        listener_hash: bytes | None,
    ) -> None:
        self.is_dialler = listener_hash is None
        self.certificate_hash = listener_hash or b""
        self.authenticated = False
        self.established = False
        self.on_suspect: Callable[[], None] | None = None
        self._registrar = registrar
        self._changed = Change()
        hearing = self._hearing = Hearing(self, registrar, limits, self._changed)
        self._drive = Drive(core, path, limits, hearing, registrar.line)
        self._streams = Streams(self._drive, limits, registrar, is_dialler=self.is_dialler)
        self.ledger = self._streams.ledger
        self.window_bytes = core.window_bytes
        hearing.attend(self._drive, self._streams)
        if self.is_dialler:
            self._drive.flush_soon()

    @property
    def peer_address(self) -> tuple[str, int]:
        """Where the peer was when the connection began."""
        return unmapped(self._drive.footing.address)

    @property
    def path(self) -> Path:
        """Where its datagrams leave to now."""
        return self._drive.footing.path

    @property
    def suspect(self) -> bool:
        """Whether what was sent has gone unanswered for about a second."""
        return self._drive.footing.suspect

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

    def move(self, path: Path) -> None:
        """Send on ``path`` from now on, streams unbroken; what comes on any path is taken.

        The peer is asked at once, so that nothing waits out a timeout; it answers on its own path, which its
        ``move`` changes.
        """
        self._registrar.on_moved()
        self._drive.guarded(self._drive.probe, path)

    def adopt(self, path: Path) -> None:
        """Learn the kinds of the path it is on, and whether that is proven."""
        self._drive.footing.path = path

    def probe(self) -> None:
        """Make the peer answer now: a path that does not is suspected about a second later."""
        self._drive.guarded(self._drive.probe)

    async def open_stream(self, purpose: str | None = None) -> Stream:
        """Open a stream for a purpose (`traffic`), waiting for the peer's permission; raises ConnectionLost."""
        return await self._streams.open(purpose)

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

    def use_limits(self, limits: NetLimits) -> None:
        """Let other limits hold; ``window_bytes`` stays."""
        self._drive.limits = self._streams.limits = self._streams.intake.limits = self._hearing.limits = limits

    def statistics(self) -> ConnectionStatistics:
        """Count what has passed and what is open."""
        streams, health = self._streams, self._drive.core.health()
        return ConnectionStatistics(
            bytes_in=streams.bytes_in,
            bytes_out=streams.bytes_out,
            unread_bytes=streams.intake.unread_bytes,
            streams_local=streams.local,
            streams_remote=streams.remote,
            datagrams_in=self._drive.footing.datagrams_in,
            datagrams_out=self._drive.footing.datagrams_out,
            packets_lost=health.packets_lost,
            probe_timeouts=health.probe_timeouts,
            rtt_s=health.rtt_s,
            paused=self._drive.core.paused,
            path=self._drive.footing.path,
        )

    # What the endpoint asks.

    def receive(self, datagrams: list[bytes], carrier: Carrier, address: RawAddress) -> None:
        """Take in datagrams that carry one of this connection's ids."""
        self._drive.guarded(self._drive.receive, datagrams, carrier, address)

    def drop(self, text: str) -> None:
        """End without a word to the peer."""
        self._drive.drop(text)
