"""Whether an address is one of this machine's own networks: loopback, link-local, or on the subnet of an interface.

Private addresses alone say little: another site's, reached over a tunnel, look the same. Of public ones only those of
the /64 an interface is in count (RFC 4291 §2.5.4), for a network with IPv6 gives its devices such addresses.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import ifaddr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FRESH_S = 30.0
"""How long what the interfaces said is believed."""
_REMEMBERED_MAX = 4096
_SUBNET_LENGTH_MAX = {4: 30, 6: 64}
"""Longer prefixes join two ends, or stand for one address: no network others are on."""


def interface_networks() -> list[Network]:
    """Return the subnets of this machine's interfaces."""
    networks: list[Network] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            networks.append(ipaddress.ip_network(f"{text}/{ip.network_prefix}", strict=False))
    return networks


class Nearby:
    """Remembers what it judged for a while; ``networks`` are asked for at most every `FRESH_S`."""

    def __init__(
        self, clock: Callable[[], float], networks: Callable[[], Sequence[Network]] = interface_networks
    ) -> None:
        self._clock = clock
        self._networks = networks
        self._known: dict[str, bool] = {}
        self._until = clock()
        self._subnets: list[Network] = []

    def covers(self, host: str) -> bool:
        """Tell whether an address is nearby; what is no address is not."""
        if self._clock() >= self._until or len(self._known) >= _REMEMBERED_MAX:
            self._until = self._clock() + FRESH_S
            self._known.clear()
            self._subnets = [one for one in self._networks() if _holds_others(one)]
        near = self._known.get(host)
        if near is None:
            near = self._known[host] = self._judge(host)
        return near

    def _judge(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback or address.is_link_local:
            return True
        return any(address.version == subnet.version and address in subnet for subnet in self._subnets)


def _holds_others(subnet: Network) -> bool:
    if subnet.prefixlen > _SUBNET_LENGTH_MAX[subnet.version]:
        return False
    return subnet.is_private if subnet.version == 4 else subnet.prefixlen == 64 or subnet.is_private
