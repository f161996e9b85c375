"""An in-process network of carriers: what a relay or another interface would carry, with loss, a cap and death."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cis.net import Endpoint, Path
from cis.net.qh3_core import RawAddress

LOCAL, REMOTE = ("192.0.2.1", 4001), ("198.51.100.2", 4002)


@dataclass(eq=False)
class FakeCarrier:
    """One end of a wire; what is sent here arrives at ``other``'s endpoint as coming from ``address``."""

    endpoint: Endpoint
    address: RawAddress
    relayed: bool = True
    other: FakeCarrier | None = None
    seeming: RawAddress | None = None
    """where what is sent seems to come from; nobody is there"""
    dead: bool = False
    loss: float = 0.0
    largest: int = 65535
    delay_s: float = 0.0
    room: int = 1 << 20
    """datagrams that may wait before it is congested"""
    per_turn: int = 1 << 20
    random: Random = field(default_factory=lambda: Random(7))
    sent: int = 0
    oversized: int = 0
    most_waiting: int = 0
    error: OSError | None = None
    _waiting: list[bytes] = field(default_factory=list)
    _callbacks: list[Callable[[], None]] = field(default_factory=list)

    @property
    def congested(self) -> bool:
        return len(self._waiting) >= self.room

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        assert self.other is not None
        if self.error is not None:
            return self.error
        self.sent += len(datagrams)
        if address == self.other.address:
            if not self._waiting:
                asyncio.get_running_loop().call_later(self.delay_s, self._turn)
            self._waiting += datagrams
            self.most_waiting = max(self.most_waiting, len(self._waiting))
        return None

    def when_writable(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def _turn(self) -> None:
        assert self.other is not None
        going, self._waiting = self._waiting[: self.per_turn], self._waiting[self.per_turn :]
        self.oversized += sum(len(one) > self.largest for one in going)
        kept = [one for one in going if len(one) <= self.largest and self.random.random() >= self.loss]
        if kept and not self.dead:
            source = self.seeming or self.address
            self.other.endpoint.receive_via(self.other, [(one, source) for one in kept])
        if self._waiting:
            asyncio.get_running_loop().call_later(self.delay_s, self._turn)
        if not self.congested:
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()

    def path(self, local: str = "host", remote: str = "host", *, proven: bool = False) -> Path:
        """The way to the other end."""
        assert self.other is not None
        return Path(self, self.other.address, local, remote, proven)


def wire(
    a: Endpoint, b: Endpoint, near: RawAddress = LOCAL, far: RawAddress = REMOTE, **traits: float
) -> tuple[FakeCarrier, FakeCarrier]:
    """Join two endpoints by a wire of the same traits in both directions."""
    one, other = FakeCarrier(a, near), FakeCarrier(b, far)
    one.other, other.other = other, one
    other.random.seed(8)
    for end in (one, other):
        for name, value in traits.items():
            setattr(end, name, value)
    return one, other


def kill(*carriers: FakeCarrier, dead: bool = True) -> None:
    for carrier in carriers:
        carrier.dead = dead
