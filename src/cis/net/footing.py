"""What one connection stands on: the path it sends on, whether that still answers, whether the peer is elsewhere.

The core is told one constant address, whatever the path beneath it is. The path changes by ``take`` (ICE has found
another) or where the peer shows to be elsewhere (``follow``); silence is judged by ``vigil``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cis.net.follow import Follower
from cis.net.paths import Path
from cis.net.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.net.line import Line
    from cis.net.paths import Carrier
    from cis.net.qh3_core import QuicCore, RawAddress

_FEW = 20
"""Datagrams too few to know a path's loss by."""


class Walker(Protocol):
    """Whose footing it is (``drive.Drive``)."""

    @property
    def settled(self) -> bool:
        """Whether the handshake is done and the end has not come."""

    def guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; if it raises, end the connection."""

    def probe(self) -> None:
        """Make the peer answer now."""


class Footing:
    """``path`` is where datagrams leave to; ``address`` is the peer's as the core is told it."""

    def __init__(self, core: QuicCore, path: Path, walker: Walker, on_silent: Callable[[], None], line: Line) -> None:
        self.path = path
        self.share = line.share(lambda: self.path)
        self.address = path.address
        self.datagrams_in = self.datagrams_out = 0
        self._core = core
        self._walker = walker
        self._on_silent = on_silent
        self._loop = asyncio.get_running_loop()
        self._vigil = Vigil()
        self._follower = Follower()
        self._asking: asyncio.Handle | None = None

    @property
    def suspect(self) -> bool:
        """Whether the path has been silent for too long."""
        return self._vigil.suspect

    def take(self, path: Path) -> None:
        """Stand on another path."""
        self.path = path
        self._follower.forget()
        self._vigil.begin_again(self._loop.time())

    def send(self, batch: list[bytes]) -> OSError | None:
        """Send; returns the error if the path will never take it."""
        self.datagrams_out += len(batch)
        self.share.sent(batch)
        error = self.path.carrier.send(batch, self.path.address)
        if error is not None:
            self.doubt()
        return error

    def receive(self, datagrams: list[bytes], carrier: Carrier, address: RawAddress, now: float) -> bool:
        """Give the core what came, from wherever; tells and raises what the core does."""
        self.datagrams_in += len(datagrams)
        self.share.received(datagrams)
        path = self.path
        here = path.leads_to(carrier, address)
        authentic = self._core.receive(datagrams, self.address, now)
        if here and authentic and address != path.address:
            self.path = replace(path, address=address)  # the same, as the carrier itself writes it
        if here or not self._walker.settled:
            self._follower.forget()
        elif authentic:
            self._follower.seen((carrier, address), sum(map(len, datagrams)))
        if self._vigil.asking:
            self.look()
        return authentic

    def on_pong(self, uid: int) -> None:
        """Follow the peer if this acknowledges the PING sent where it seems to be."""
        place = self._follower.answered(uid)
        if place is not None:
            carrier, address = place
            local = self.path.local if carrier is self.path.carrier else "relay" if carrier.relayed else "host"
            self.take(Path(carrier, address, local, "prflx", proven=True))

    def ask_there(self, now: float) -> None:
        """Send a PING where the peer seems to be: what was due before has just left, so the next datagram has it."""
        place = self._follower.place
        if place is None or (uid := self._follower.question(now)) is None or place[0].congested:
            return
        self._core.probes.ping(uid)
        datagrams = self._core.poll(now)
        size = sum(map(len, datagrams))
        if not datagrams:
            return
        if not self._follower.may_send(size):
            self.send(datagrams)
            return
        self._follower.asked(uid, size, now)
        self.datagrams_out += 1
        self.share.sent(datagrams)
        carrier, address = place
        carrier.send(datagrams, address)

    def doubt(self) -> None:
        """Begin to ask whether the path is dead."""
        if self._walker.settled and self._vigil.doubt(self._loop.time()):
            self._asking = self._loop.call_soon(self._walker.guarded, self._ask)

    def look(self) -> None:
        """Stop asking once there is an answer."""
        if not self._core.probes.unanswered:
            self._vigil.rest()

    def leave(self) -> None:
        """Stop for good."""
        self._vigil.rest()
        if self._asking is not None:
            self._asking.cancel()

    def _ask(self) -> None:
        """Send a PING, again and again, until there is an answer."""
        self.look()
        if not self._vigil.asking or not self._walker.settled:
            self._vigil.rest()
            return
        health = self._core.health()
        loss = health.packets_lost / (self.datagrams_out + _FEW)
        if self._vigil.ask(self._loop.time(), loss=loss, rtt_s=health.rtt_s or 0.0):
            self._on_silent()
        self._asking = self._loop.call_later(self._vigil.ask_again_in_s, self._walker.guarded, self._ask)
        self._walker.probe()
