"""What moves one QUIC core: input, output, its deadline, keepalive and its end.

It runs on loop callbacks alone, no task. Every way in from the wire or from a timer passes through
``guarded``, the per-peer boundary: whatever a peer's bytes make the core raise ends this connection and is
counted, nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from cis.errors import Fault
from cis.net.closing import CloseReason, clipped, reason_of
from cis.net.footing import Footing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.net.limits import NetLimits
    from cis.net.line import Line
    from cis.net.paths import Carrier, Path
    from cis.net.qh3_core import QuicCore, RawAddress

_log = logging.getLogger(__name__)
_BATCH = 256
_HASTENED_IN_DOUBT = 8
"""The others are kept for a path that works: they are not without end."""
_HASTENED_AT_MOVE = 8
"""A path begins with so many pairs of datagrams where nothing else can leave: about QUIC's initial window."""
_TIMER_STEP_S = 0.001
"""A deadline that stays due after it was handled is tried again no sooner: the loop must not spin."""


class Driven(Protocol):
    """Whom the drive works for (``connection.Connection``)."""

    @property
    def established(self) -> bool:
        """Whether the QUIC handshake is done."""

    def on_input(self) -> None:
        """The core has taken something in: deliver it."""

    def on_flushed(self) -> None:
        """Some data may have left."""

    def on_silent(self) -> None:
        """The path is suspected to be dead."""

    def on_end(self) -> None:
        """``reason`` is settled."""

    def on_gone(self, *, crashed: bool) -> None:
        """Nothing will be sent or received any more, perhaps because the core raised."""


class Drive:
    """Runs a core on the event loop; ``reason`` is None until the connection has ended."""

    def __init__(self, core: QuicCore, path: Path, limits: NetLimits, driven: Driven, line: Line) -> None:
        self.core = core
        self.footing = Footing(core, path, self, driven.on_silent, line)
        self.reason: CloseReason | None = None
        self._loop = asyncio.get_running_loop()
        self.last_received_at = self._loop.time()
        self.limits = limits
        self._driven = driven
        self._gone = False
        self._flush_wanted = False
        self._held_by: Carrier | None = None
        """which has no room now, and will call"""
        self._timer: asyncio.Handle | None = None
        self._timer_at = self._not_before = 0.0
        first = min(limits.keepalive_s, limits.idle_timeout_s)
        self._keepalive = self._loop.call_later(first, self.guarded, self._keep_alive)

    def guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; if it raises, end the connection."""
        if self._gone:
            return
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - the per-peer boundary
            _log.debug("the QUIC core raised %s", type(error).__name__, exc_info=error)
            self._crash()

    @property
    def settled(self) -> bool:
        """Whether the handshake is done and the end has not come."""
        return self._driven.established and self.reason is None

    def probe(self, path: Path | None = None) -> None:
        """Make the peer answer now, on another path from now on if one is given.

        A PING does that, but where the window is full of what may never be answered not even that leaves.
        """
        hastened = 1 if self.core.probes.unanswered < _HASTENED_IN_DOUBT else 0
        if path is not None:
            hastened = _HASTENED_AT_MOVE
            self.footing.take(path)
        for turn in range(hastened + 1):
            if turn:
                self.core.probes.hasten()
                self.flush()
            before = self.footing.datagrams_out
            self.core.probes.ping()
            self.flush()
            if self.footing.datagrams_out > before or self.footing.path.carrier.congested:
                return

    def receive(self, datagrams: list[bytes], carrier: Carrier, address: RawAddress) -> None:
        """Take in datagrams that carry one of this connection's ids."""
        now = self._loop.time()
        if self.footing.receive(datagrams, carrier, address, now):
            self.last_received_at = now
        self.after_input()
        if not self._gone:
            self.footing.ask_there(now)

    def after_input(self) -> None:
        """Deliver what the core made of its input, and send what follows from it."""
        core = self.core
        if core.paused and core.state != "connected":
            core.resume()  # the end, and why, must not wait for a reader
        self._driven.on_input()
        if self.reason is None and (closed := core.closed) is not None:
            transport = not closed.application
            self.end(reason_of(closed.code, closed.text, by_peer=closed.by_peer, transport=transport))
        self.flush()

    def flush_soon(self) -> None:
        """Send at the end of this turn of the loop, together with whatever else is written in it."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self._loop.call_soon(self.guarded, self.flush)

    def flush(self) -> None:
        """Send all that may be sent now, and set the timer."""
        self._flush_wanted = False
        if self._gone:
            return
        self._transmit()
        self._driven.on_flushed()
        if self.core.terminated:
            self._vanish()
        else:
            self._set_timer()

    def close(self, fault: Fault, text: str) -> None:
        """End with a word to the peer."""
        if self.reason is None:
            self.core.close(int(fault), clipped(text))
            self.end(CloseReason(fault, clipped(text), by_peer=False, transport=False))
            self.guarded(self.flush)

    def drop(self, text: str) -> None:
        """End without a word: what is on the other side is not worth a packet, or not there."""
        self.end(CloseReason(Fault.NONE, text, by_peer=False, transport=True))
        self._vanish()

    def end(self, reason: CloseReason) -> None:
        """Settle why the connection ended; the first word counts."""
        if self.reason is None:
            self.reason = reason
            self._driven.on_end()

    def _crash(self) -> None:
        """End after the core raised; it may not even be able to say goodbye.

        The peer is not blamed: where packets are lost the core raises by itself ("reserved stream is missing").
        """
        tell = self._driven.established and self.reason is None
        self.end(CloseReason(Fault.INTERNAL, "the QUIC core failed", by_peer=False, transport=False))
        try:
            if tell:
                self.core.close(int(Fault.INTERNAL), "")
                self._transmit()
        except Exception as error:  # noqa: BLE001 - the same boundary, on the way out
            _log.debug("and could not close: %s", type(error).__name__)
        self._vanish(crashed=True)

    def _transmit(self) -> None:
        now = self._loop.time()
        while not self._held_back() and (batch := self.core.poll(now, _BATCH)):
            self._hand_over(batch)
            if len(batch) < _BATCH:
                return

    def _hand_over(self, batch: list[bytes]) -> None:
        error = self.footing.send(batch)
        if error is not None and not self._driven.established:
            text = f"cannot send there: {error.strerror}"
            self.end(CloseReason(Fault.NONE, text, by_peer=False, transport=True))
            self._loop.call_soon(self._vanish)

    def _held_back(self) -> bool:
        """Whether the carrier has no room; it calls once when it has."""
        carrier = self.footing.path.carrier
        if carrier.congested and carrier is not self._held_by:
            self._held_by = carrier
            carrier.when_writable(self._let_go)
        return carrier.congested

    def _let_go(self) -> None:
        self._held_by = None
        self.guarded(self.flush)

    def _set_timer(self) -> None:
        """Arm for the core's deadline; a timer that is early stays, for it only looks and arms again."""
        deadline = self.core.deadline()
        if deadline is not None:
            deadline = max(deadline, self._not_before)
        if self._timer is not None:
            if deadline is not None and self._timer_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self.guarded, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        deadline = self.core.deadline()
        if deadline is None or deadline > now + _TIMER_STEP_S:
            self._set_timer()
            return
        self._not_before = now + _TIMER_STEP_S
        self.core.handle_deadline(max(now, deadline))
        if self.core.probes.unanswered:
            self.footing.doubt()
        self.after_input()

    def _keep_alive(self) -> None:
        """Make the peer speak where it has been silent, and end where it has been for too long (RFC 9000 §10.1)."""
        if self.reason is not None:
            return
        now, limits = self._loop.time(), self.limits
        end = self.last_received_at + limits.idle_timeout_s
        if end <= now + _TIMER_STEP_S:
            self.drop("idle timeout: the peer fell silent")
            return
        due = self.last_received_at + limits.keepalive_s
        if due <= now + _TIMER_STEP_S:
            due = now + limits.keepalive_s
            if self.settled:
                self.core.probes.ping()
                self.flush()
        if not self._gone:
            self._keepalive = self._loop.call_at(min(due, end), self.guarded, self._keep_alive)

    def _vanish(self, *, crashed: bool = False) -> None:
        """Leave nothing behind: no timer, no route."""
        if not self._gone:
            self._gone = True
            self._keepalive.cancel()
            self.footing.leave()
            if self._timer is not None:
                self._timer.cancel()
            self._driven.on_gone(crashed=crashed)
