"""Who is connected: which connection id is whose, what counts against limits, who is on the way out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cis.errors import Fault
from cis.net.admission import Occupant, network_of
from cis.net.limits import Cut, Drop
from cis.net.line import Line
from cis.net.traffic import Traffic
from cis.rate import Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cis.net.connection import Connection
    from cis.net.limits import ConnectionStatistics, EndpointCounters, NetLimits

_log = logging.getLogger(__name__)
_LINGERING_MAX = 256
"""Closed connections that may repeat their goodbye (RFC 9000 §10.2); beyond it the oldest falls silent."""


@dataclass(slots=True)
class _Entry:
    network: str
    since: float
    proven: bool = False
    expected: bool = False
    cids: set[bytes] = field(default_factory=set)
    deadline: asyncio.TimerHandle | None = None


class Roster:
    """Implements ``hearing.Registrar``; ``on_accepted`` gets each accepted connection when it is ready."""

    def __init__(
        self, counters: EndpointCounters, limits: NetLimits, on_accepted: Callable[[Connection], None]
    ) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._failed: Rates[str] = Rates(per_s=limits.failed_per_address_per_s, burst=limits.failed_per_address_burst)
        self.line = Line(lambda: _renew(self.everyone, self.line, self._limits))
        self.traffic = Traffic()
        self.routes: dict[bytes, Connection] = {}
        self._counters = counters
        self._on_accepted = on_accepted
        self._entries: dict[Connection, _Entry] = {}
        self._lingering: dict[Connection, None] = {}

    def use_limits(self, limits: NetLimits) -> None:
        """Let other limits hold for all connections."""
        self._limits = limits
        for connection in self.everyone:
            connection.use_limits(limits)

    @property
    def everyone(self) -> tuple[Connection, ...]:
        """All connections, those on the way in or out included."""
        return tuple(self._entries)

    def occupants(self) -> list[Occupant]:
        """What counts against the limits, in the order it came: all but those that have ended."""
        now = self._loop.time()
        return [
            Occupant(
                entry.network,
                not connection.is_dialler,
                connection.authenticated,
                entry.proven or connection.established,
                now - entry.since,
                connection,
                entry.expected,
            )
            for connection, entry in self._entries.items()
            if not connection.closing
        ]

    @property
    def settled(self) -> int:
        """How many connections are authenticated."""
        return sum(one.authenticated and not one.closing for one in self._entries)

    def failed_too_often(self, network: str) -> bool:
        """Whether connections from there came to nothing too often lately."""
        return self._failed.spent(network, self._loop.time())

    def evict(self, who: object) -> None:
        """End the connection of an occupant, in favour of another."""
        for connection in self.everyone:
            if connection is who:
                self._counters.cut[Cut.EVICTED] += 1
                connection.drop("another address needed its place")

    def on_buffered(self) -> None:
        """Look what lies unread in all connections; where it is too much, end the one that holds most."""
        held = {one: _buffered(one.statistics(), self._limits) for one in self._entries if not one.closing}
        if sum(held.values()) > self._limits.buffered_in_all_max_bytes:
            self._counters.cut[Cut.BUFFERED] += 1
            max(held, key=held.__getitem__).close(Fault.BUSY, "too much lies unread here")

    def enter(self, connection: Connection, *cids: bytes, proven: bool = False, expected: bool = False) -> None:
        """Begin to keep account of a connection that answers to ``cids``; ``proven``: its address is."""
        network = network_of(connection.peer_address[0])
        self._entries[connection] = _Entry(network, self._loop.time(), proven, expected)
        for cid in cids:
            self.on_route(connection, cid, live=True)

    def expect_handshake(self, connection: Connection, within_s: float) -> None:
        """Drop an accepted connection that is not established in time."""
        if (entry := self._entries.get(connection)) is not None:
            entry.deadline = self._loop.call_later(within_s, self._give_up_on, connection)

    def on_route(self, connection: Connection, cid: bytes, *, live: bool) -> None:
        """Add or remove an id; nobody can take over an id that is another's."""
        entry = self._entries.get(connection)
        if entry is None:
            return
        if live:
            if self.routes.setdefault(cid, connection) is connection:
                entry.cids.add(cid)
        elif cid in entry.cids:
            entry.cids.discard(cid)
            del self.routes[cid]

    def on_established(self, connection: Connection) -> None:
        """Stop the clock and hand an accepted connection over."""
        self._stop_clock(connection)
        if connection.is_dialler:
            return
        try:
            self._on_accepted(connection)
        except Exception:  # noqa: BLE001 - our own fault, which must not be blamed on the peer
            _log.exception("the handler of new connections failed")
            connection.close(Fault.INTERNAL, "")

    def on_closing(self, connection: Connection) -> None:
        """Let it repeat its goodbye, out of everyone's way."""
        self._stop_clock(connection)
        self._lingering[connection] = None
        if len(self._lingering) > _LINGERING_MAX:
            next(iter(self._lingering)).drop("")

    def on_cut(self, why: Cut) -> None:
        """Count it."""
        self._counters.cut[why] += 1

    def on_paused(self) -> None:
        """Count it."""
        self._counters.paused += 1

    def on_moved(self) -> None:
        """Count it."""
        self._counters.moves += 1

    def on_silent(self) -> None:
        """Count it."""
        self._counters.suspicions += 1

    def on_gone(self, connection: Connection, *, crashed: bool) -> None:
        """Forget it."""
        if crashed:
            self._counters.dropped[Drop.CRASHED_CORE] += 1
        self._stop_clock(connection)
        self._lingering.pop(connection, None)
        if entry := self._entries.pop(connection, None):
            proven = entry.proven or connection.established
            stranger = not connection.is_dialler and not connection.authenticated and not entry.expected
            if proven and stranger:
                self._failed.spend(entry.network, self._loop.time())
            for cid in entry.cids:
                del self.routes[cid]

    def _stop_clock(self, connection: Connection) -> None:
        entry = self._entries.get(connection)
        if entry is not None and entry.deadline is not None:
            entry.deadline.cancel()
            entry.deadline = None

    def _give_up_on(self, connection: Connection) -> None:
        self._counters.handshakes_timed_out += 1
        connection.drop("the handshake took too long")


def _renew(connections: Iterable[Connection], line: Line, limits: NetLimits) -> None:
    """End those whose credit, given once and for all, does not fit the limits: they are made anew."""
    for one in connections:
        if one.authenticated and not line.fits(one.path, one.window_bytes, limits.window_bytes):
            one.close(Fault.SHUTDOWN, "other limits hold now: connect again")


def _buffered(one: ConnectionStatistics, limits: NetLimits) -> int:
    """What may lie unread, here and in the core of a connection that is paused."""
    return one.unread_bytes + (limits.window_bytes if one.paused else 0)
