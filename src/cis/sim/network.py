"""Simulated links: latency, jitter, loss, duplication, reordering, bandwidth; partitions, one-way ones included.

Messages of gossip meet every fault as they are. Streams of sessions are what QUIC makes of the same network:
ordered and whole, losses turned into delay, until a partition or a crash cuts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cis.sim.kernel import Kernel

Address = Hashable


@dataclass(frozen=True)
class LinkProfile:
    """What a link does to what is sent over it; probabilities are per message."""

    latency_s: float = 0.02
    jitter_s: float = 0.01
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    """probability that a message is held back long enough to be overtaken"""
    bandwidth_bytes_per_s: float = 12_500_000.0
    retransmission_s: float = 0.2
    """what one loss costs a stream"""


@dataclass
class Network:
    """Carries bytes between addresses; `counts` proves that something happened."""

    kernel: Kernel
    profile: LinkProfile
    counts: Counter[str] = field(default_factory=Counter)
    _blocked: set[tuple[Address, Address]] = field(default_factory=set)
    _free_at: dict[tuple[Address, Address], float] = field(default_factory=dict)
    _stream_at: dict[tuple[Address, Address, Hashable], float] = field(default_factory=dict)

    def block(self, source: Address, destination: Address) -> None:
        """Let nothing through from one to the other."""
        self._blocked.add((source, destination))

    def unblock_all(self) -> None:
        """End all partitions."""
        self._blocked.clear()

    def reaches(self, source: Address, destination: Address) -> bool:
        """Tell whether what one sends arrives at the other."""
        return (source, destination) not in self._blocked

    def send(self, source: Address, destination: Address, size: int, arrive: Callable[[], None]) -> None:
        """Carry a message that may be lost, doubled or overtaken."""
        rng, profile = self.kernel.rng, self.profile
        if not self.reaches(source, destination) or rng.random() < profile.loss:
            self.counts["drops"] += 1
            return
        copies = 2 if rng.random() < profile.duplication else 1
        self.counts["duplicates"] += copies - 1
        for _ in range(copies):
            delay_s = self._delay_s(source, destination, size)
            if rng.random() < profile.reordering:
                delay_s += rng.uniform(0, 10 * (profile.latency_s + profile.jitter_s))
                self.counts["reordered"] += 1
            self.counts["deliveries"] += 1
            self.kernel.after(delay_s, arrive)

    def send_stream(
        self, source: Address, destination: Address, stream: Hashable, size: int, arrive: Callable[[], None]
    ) -> bool:
        """Carry a part of a stream, behind all before it; False when the way is blocked and the stream is cut."""
        if not self.reaches(source, destination):
            self.counts["drops"] += 1
            return False
        delay_s = self._delay_s(source, destination, size)
        while self.kernel.rng.random() < self.profile.loss:
            self.counts["drops"] += 1
            delay_s += self.profile.retransmission_s
        place = (source, destination, stream)
        when = max(self.kernel.now + delay_s, self._stream_at.get(place, 0.0))
        self._stream_at[place] = when
        self.counts["deliveries"] += 1
        self.kernel.at(when, arrive)
        return True

    def forget_stream(self, source: Address, destination: Address, stream: Hashable) -> None:
        """Forget the order kept for a stream that has ended."""
        self._stream_at.pop((source, destination, stream), None)

    def _delay_s(self, source: Address, destination: Address, size: int) -> float:
        profile, place = self.profile, (source, destination)
        begins = max(self.kernel.now, self._free_at.get(place, 0.0))
        ends = self._free_at[place] = begins + size / profile.bandwidth_bytes_per_s
        return ends - self.kernel.now + profile.latency_s + self.kernel.rng.uniform(0, profile.jitter_s)
