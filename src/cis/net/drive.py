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

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.net.limits import NetLimits
    from cis.net.qh3_core import QuicCore, RawAddress

_log = logging.getLogger(__name__)
_BATCH = 256
_TIMER_STEP_S = 0.001
"""A deadline that stays due after it was handled is tried again no sooner: the loop must not spin."""


class Link(Protocol):
    """Where datagrams leave (``udp.UdpSocket``)."""

    @property
    def congested(self) -> bool:
        """Whether sending more now would only lengthen a queue."""

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        """Send, or keep for later; returns the error if they can never be sent."""

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once no longer congested."""


class Driven(Protocol):
    """Whom the drive works for (``connection.Connection``)."""

    established: bool

    def on_input(self) -> None:
        """The core has taken something in: deliver it."""

    def on_flushed(self) -> None:
        """Some data may have left."""

    def on_end(self) -> None:
        """``reason`` is settled."""

    def on_gone(self, *, crashed: bool) -> None:
        """Nothing will be sent or received any more, perhaps because the core raised."""


class Drive:
    """Runs a core on the event loop; ``reason`` is None until the connection has ended."""

    def __init__(self, core: QuicCore, link: Link, address: RawAddress, limits: NetLimits, driven: Driven) -> None:
        self.core = core
        self.address = address
        self.reason: CloseReason | None = None
        self._loop = asyncio.get_running_loop()
        self.last_received_at = self._loop.time()
        self._link = link
        self._limits = limits
        self._driven = driven
        self._gone = False
        self._flush_wanted = False
        self._timer: asyncio.Handle | None = None
        self._timer_at = self._not_before = 0.0
        self._keepalive = self._loop.call_later(limits.keepalive_s, self.guarded, self._keep_alive)

    def guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; if it raises, end the connection."""
        if self._gone:
            return
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - the per-peer boundary
            _log.debug("the QUIC core raised %s on a peer's input", type(error).__name__, exc_info=error)
            self._crash()

    def receive(self, datagrams: list[bytes], address: RawAddress) -> None:
        """Take in datagrams that carry one of this connection's ids."""
        self.last_received_at = self._loop.time()
        self.core.receive(datagrams, address, self.last_received_at)
        self.after_input()

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
        if self._link.congested:
            self._flush_when_writable()
        else:
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
        """End after the core raised; it may not even be able to say goodbye."""
        text = "the peer sent what the core cannot read"
        tell = self._driven.established and self.reason is None
        self.end(CloseReason(Fault.MALFORMED, text, by_peer=False, transport=False))
        try:
            if tell:
                self.core.close(int(Fault.MALFORMED), "")
                self._transmit()
        except Exception as error:  # noqa: BLE001 - the same boundary, on the way out
            _log.debug("and could not close: %s", type(error).__name__)
        self._vanish(crashed=True)

    def _transmit(self) -> None:
        now = self._loop.time()
        poll = self.core.poll
        batch: list[bytes] = []
        destination = self.address
        while (transmit := poll(now)) is not None:
            data, address = transmit
            if batch and (address != destination or len(batch) >= _BATCH):
                self._hand_over(batch, destination)
                batch = []
                if self._link.congested:
                    self._hand_over([data], address)
                    self._flush_when_writable()
                    return
            destination = address
            batch.append(data)
        if batch:
            self._hand_over(batch, destination)

    def _hand_over(self, batch: list[bytes], address: RawAddress) -> None:
        error = self._link.send(batch, address)
        if error is not None and not self._driven.established:
            text = f"cannot send there: {error.strerror}"
            self.end(CloseReason(Fault.NONE, text, by_peer=False, transport=True))
            self._loop.call_soon(self._vanish)

    def _flush_when_writable(self) -> None:
        if not self._flush_wanted:
            self._flush_wanted = True
            self._link.when_writable(lambda: self.guarded(self.flush))

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
        self.after_input()

    def _keep_alive(self) -> None:
        now = self._loop.time()
        due = self.last_received_at + self._limits.keepalive_s
        if due <= now + _TIMER_STEP_S:
            if self._driven.established and self.reason is None:
                self.core.ping()
                self.flush()
            due = now + self._limits.keepalive_s
        if not self._gone:
            self._keepalive = self._loop.call_at(due, self.guarded, self._keep_alive)

    def _vanish(self, *, crashed: bool = False) -> None:
        """Leave nothing behind: no timer, no route."""
        if not self._gone:
            self._gone = True
            self._keepalive.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._driven.on_gone(crashed=crashed)
