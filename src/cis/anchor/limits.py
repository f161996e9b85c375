"""How much one connection, one address, and all together may take of an anchor.

An address is an IPv4 address or a network of 64 bits, since whoever has one IPv6 address has them all. What comes at a
rate is paid for from a bucket that refills (a token bucket); the buckets of addresses not heard of lately are
forgotten, as they are full again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

import msgspec

from cis.errors import UsageError

ADDRESSES_MAX = 16_384


@dataclass(frozen=True)
class Rate:
    """So many at once, and so many a minute on average."""

    burst: int
    per_minute: float


class AnchorLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each may be set in a file of TOML, by the same name."""

    connections_max: int = 4096
    connections_per_address: int = 32
    connects_per_minute: int = 60
    requests_per_minute: int = 600
    posts_per_minute: int = 300
    post_bytes_per_minute: int = 512 << 10
    tags_looked_up_per_minute: int = 6000
    claims_per_connection: int = 8
    records_max: int = 50_000
    records_bytes_max: int = 64 << 20
    records_per_address: int = 128
    tokens_refused_per_minute: int = 6
    rooms_max: int = 512
    rooms_per_address: int = 2
    rooms_per_hour: int = 60
    room_bytes_max: int = 16 << 20
    queue_bytes: int = 128 << 10
    queues_bytes_max: int = 64 << 20
    hello_s: float = 5.0
    tunnels_max: int = 256
    tunnels_per_address: int = 16
    tunnels_per_minute: int = 60
    tunnel_bytes_per_s: int = 1 << 20
    tunnel_bytes_max: int = 4 << 30
    tunnel_queue_bytes: int = 256 << 10
    tunnel_wait_s: float = 20.0
    tunnel_idle_s: float = 60.0
    tunnels_bytes_per_s: int = 16 << 20
    tunnels_queues_bytes_max: int = 32 << 20

    def checked(self) -> AnchorLimits:
        """Return them; `UsageError` where one is not above 0."""
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise UsageError(f"the limit {name} is {getattr(self, name)}: it must be above 0")
        return self


def limits_of(values: dict[str, Any]) -> AnchorLimits:
    """Return the defaults with these in place of some; `UsageError` for what is unknown or ill-typed."""
    try:
        return msgspec.convert(values, AnchorLimits).checked()
    except msgspec.ValidationError as error:
        names = ", ".join(AnchorLimits.__struct_fields__)
        raise UsageError(f"the limits cannot be read: {error}; there are {names}") from None


def address_of(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class Bucket:
    """What is left of a rate at a moment; ``now`` is any clock that does not go back."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Pay, unless too little is left."""
        refilled = self._left + (now - self._at) * self._rate.per_minute / 60
        self._left, self._at = min(float(self._rate.burst), refilled), now
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def spend(self, amount: float, now: float) -> float:
        """Pay whether enough is left or not; returns in how many seconds nothing will be owed."""
        self.take(0, now)
        self._left -= amount
        return max(0.0, -self._left * 60 / self._rate.per_minute)


class Buckets:
    """One bucket of a rate for each address; of more than `ADDRESSES_MAX` those used longest ago are forgotten."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._held: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str, amount: float, now: float) -> bool:
        """Pay for an address, unless too little is left."""
        bucket = self._held.get(address)
        if bucket is None:
            bucket = self._held[address] = Bucket(self._rate, now)
            while len(self._held) > ADDRESSES_MAX:
                self._held.popitem(last=False)
        self._held.move_to_end(address)
        return bucket.take(amount, now)

    def __len__(self) -> int:
        return len(self._held)


class Rates:
    """The buckets of all addresses, as the limits say; ``refused`` counts by name what was not paid for."""

    def __init__(self, limits: AnchorLimits) -> None:
        a_minute = {
            "connects": limits.connects_per_minute,
            "requests": limits.requests_per_minute,
            "posts": limits.posts_per_minute,
            "post_bytes": limits.post_bytes_per_minute,
            "tags": limits.tags_looked_up_per_minute,
            "tokens": limits.tokens_refused_per_minute,
            "tunnels": limits.tunnels_per_minute,
        }
        self._buckets = {name: Buckets(Rate(each, each)) for name, each in a_minute.items()}
        self._buckets["rooms"] = Buckets(Rate(max(1, limits.rooms_per_hour // 6), limits.rooms_per_hour / 60))
        self.refused = dict.fromkeys(self._buckets, 0)

    def take(self, name: str, address: str, amount: float, now: float) -> bool:
        """Pay from the bucket of that name; an amount below 0 is given back."""
        if self._buckets[name].take(address, amount, now):
            return True
        self.refused[name] += 1
        return False
