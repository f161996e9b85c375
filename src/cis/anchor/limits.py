"""How much one connection, one address, and all together may take of an anchor.

An address is an IPv4 address or a network of 64 bits, since whoever has one IPv6 address has them all. What comes at a
rate is paid for from a bucket that refills (`cis.rate`); of more than `ADDRESSES_MAX` addresses the one
used longest ago is forgotten, and begins with a full bucket should it come again.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

import msgspec

from cis.errors import UsageError
from cis.rate import Rates

ADDRESSES_MAX = 16_384


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


def address_rates(per_s: float, burst: float) -> Rates[str]:
    """Return a bucket for each address; of more than `ADDRESSES_MAX` those used longest ago are forgotten."""
    return Rates(per_s=per_s, burst=burst, keys_max=ADDRESSES_MAX)


class AddressRates:
    """The rates of each address, as the limits say; ``refused`` counts by name what was not paid for."""

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
        self._rates = {name: address_rates(each / 60, each) for name, each in a_minute.items()}
        self._rates["rooms"] = address_rates(limits.rooms_per_hour / 3600, max(1, limits.rooms_per_hour // 6))
        self.refused = dict.fromkeys(self._rates, 0)

    def take(self, name: str, address: str, amount: float, now: float) -> bool:
        """Pay from the address's bucket of that name."""
        if self._rates[name].take(address, now, amount):
            return True
        self.refused[name] += 1
        return False

    def is_spent(self, name: str, address: str, now: float) -> bool:
        """Tell whether nothing is left in that bucket, which then counts as refused."""
        spent = self._rates[name].spent(address, now)
        self.refused[name] += spent
        return spent
