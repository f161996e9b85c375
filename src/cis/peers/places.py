"""Which addresses mean something on one network alone: the boundary of a LAN, as far as addresses show it."""

from __future__ import annotations

import ipaddress

_LOCAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, with or without a zone, rather than a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Tell whether an IP address means something on one network or machine alone; a name does not."""
    if not is_address(host):
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    found = inner or address
    return any(found in network for network in _LOCAL if network.version == found.version)
