"""The channels of an anchor's tunnel: a machine without sockets, which passes on what it cannot read.

A `Passage` is one connection. Nobody can tell a channel's id who was not told it: it has 256 bits, and guesses are
counted. What comes too fast is waited with (`Tunnels.take` says how long), and what the other end does not take in time
is dropped, as a router does: the ends notice and slow down (RFC 9002). ::

    passage = tunnels.connect(host, now)
    tunnels.attach(passage, data, now)
    pause_s = tunnels.take(passage, data, now)     # the other end's outbox may hold it now
    tunnels.leave(passage)
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cis.anchor.limits import AddressRates, AnchorLimits, address_of
from cis.anchor.protocol import VERSION
from cis.anchor.tunnel import BUNDLE_BYTES_MAX, Attached, decode_attach, encode
from cis.errors import Denied, PeerFault
from cis.rate import Bucket

NOBODY = "nobody waits in that channel"
COST_MIN = 256
"""Bytes a message counts for at the least, as each takes time."""


@dataclass(eq=False)
class Channel:
    """Two places; ``other`` is empty until who was told the id has come."""

    opened_by: Passage
    began: float
    other: Passage | None = None
    heard_at: float = field(default=0.0)

    def facing(self, passage: Passage) -> Passage | None:
        """Return who is at the other end."""
        return self.other if passage is self.opened_by else self.opened_by


class Passage:
    """One connection; ``ending`` says why it is to be closed."""

    def __init__(self, address: str, pace: Bucket) -> None:
        self.address = address
        self.pace = pace
        self.id: bytes | None = None
        self.carried = 0
        self.queued = 0
        self.outbox: deque[bytes] = deque()
        self.ending: str | None = None
        self.on_change: Callable[[], None] = _nothing

    def end(self, why: str) -> None:
        """Have the connection closed; the first reason counts."""
        if self.ending is None:
            self.ending = why
            self.on_change()


class Tunnels:
    """All channels; ``token_problem`` says of a token and an address why it lets nobody in."""

    def __init__(
        self, limits: AnchorLimits, rates: AddressRates, token_problem: Callable[[str, str, float], str | None] | None
    ) -> None:
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self.waiting = 0
        self._rates = rates
        self._token_problem = token_problem
        self._channels: dict[bytes, Channel] = {}
        self._connected: Counter[str] = Counter()
        self._pace = _second(limits.tunnels_bytes_per_s)

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self._channels)

    def connect(self, host: str, now: float) -> Passage:
        """Let a connection in; `Denied` where there are too many."""
        address, limits = address_of(host), self.limits
        if self._connected.total() >= 2 * limits.tunnels_max:
            raise Denied("this anchor carries as many channels as it may")
        if self._connected[address] >= limits.tunnels_per_address:
            raise Denied("as many channels end at this address as may")
        if not self._rates.take("tunnels", address, 1, now):
            raise Denied("too many channels from this address: try again in a minute")
        self._connected[address] += 1
        return Passage(address, _second(limits.tunnel_bytes_per_s))

    def attach(self, passage: Passage, data: bytes, now: float) -> None:
        """Take its first message: let it into the channel it names, or have it closed."""
        try:
            asked = decode_attach(data)
            if asked.version != VERSION:
                raise Denied(f"this anchor speaks version {VERSION}")
            if self._token_problem is not None:
                problem = self._token_problem(asked.token, passage.address, now)
                if problem is not None:
                    raise Denied(problem)
            self._enter(passage, asked.channel, now, opens=asked.opens)
        except PeerFault as fault:
            self.counts["malformed"] += 1
            passage.end(fault.detail)
        except Denied as denied:
            self.counts["refused"] += 1
            passage.end(str(denied))
        else:
            self._put(passage, encode(Attached()))

    def take(self, passage: Passage, data: bytes, now: float) -> float:
        """Pass a message on, unless it is too much; returns for how many seconds to take no other."""
        channel = self._channels.get(passage.id) if passage.id is not None else None
        if channel is None or len(data) > BUNDLE_BYTES_MAX:
            passage.end(NOBODY)
            return 0.0
        cost = max(len(data), COST_MIN)
        passage.carried += cost
        if passage.carried > self.limits.tunnel_bytes_max:
            passage.end("it has carried as much as one channel may: open another")
            return 0.0
        channel.heard_at = now
        other = channel.facing(passage)
        if other is None or other.queued + len(data) > self.limits.tunnel_queue_bytes or self._is_full(len(data)):
            self.counts["dropped_bytes"] += len(data)
        else:
            self.counts["bytes"] += len(data)
            self._put(other, data)
        return max(passage.pace.spend(cost, now), self._pace.spend(cost, now))

    def sent(self, passage: Passage) -> bytes | None:
        """Return what is to be sent next, if anything; it counts as waiting no more."""
        if not passage.outbox:
            return None
        data = passage.outbox.popleft()
        passage.queued -= len(data)
        self.waiting -= len(data)
        return data

    def leave(self, passage: Passage) -> None:
        """Forget a connection, and end the one it led to."""
        self._connected -= Counter({passage.address: 1})
        self.waiting -= passage.queued
        passage.outbox.clear()
        passage.queued = 0
        channel = self._channels.get(passage.id) if passage.id is not None else None
        if channel is not None and passage in (channel.opened_by, channel.other):
            self._close(passage.id or b"", "the other end has left")

    def tick(self, now: float) -> None:
        """End channels nobody came to, and those nothing has passed for a while."""
        for id_, channel in list(self._channels.items()):
            if channel.other is None and now - channel.began > self.limits.tunnel_wait_s:
                self._close(id_, "nobody came")
            elif now - max(channel.heard_at, channel.began) > self.limits.tunnel_idle_s:
                self._close(id_, "nothing was sent for a while")

    def _enter(self, passage: Passage, id_: bytes, now: float, *, opens: bool) -> None:
        channel = self._channels.get(id_)
        if opens:
            if channel is not None:
                raise Denied(NOBODY)
            if len(self._channels) >= self.limits.tunnels_max:
                raise Denied("this anchor carries as many channels as it may")
            self._channels[id_] = Channel(passage, now)
        elif channel is None or channel.other is not None:
            raise Denied(NOBODY)
        else:
            channel.other = passage
            self.counts["joined"] += 1
        passage.id = id_

    def _close(self, id_: bytes, why: str) -> None:
        channel = self._channels.pop(id_)
        for passage in (channel.opened_by, channel.other):
            if passage is not None:
                passage.id = None
                passage.end(why)

    def _is_full(self, size: int) -> bool:
        return self.waiting + size > self.limits.tunnels_queues_bytes_max

    def _put(self, passage: Passage, data: bytes) -> None:
        passage.outbox.append(data)
        passage.queued += len(data)
        self.waiting += len(data)
        passage.on_change()


def _second(per_s: float) -> Bucket:
    """Return a bucket that holds what comes in a second."""
    return Bucket(per_s=per_s, burst=per_s)


def _nothing() -> None:
    """Nobody waits."""
