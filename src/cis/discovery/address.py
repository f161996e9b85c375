"""Addresses as people write them, and which addresses a node is willing to dial.

What others tell of addresses is a hint and can be a weapon: a stranger's record must not make a node send
packets to the metadata service of its cloud, to its own services, or into a private network it happens to
stand in (RULES A). So an address is dialled only where its source could know it::

    dialable("192.168.1.7", Source.MDNS)          # True: the local network speaks of itself
    dialable("192.168.1.7", Source.RELAYED)       # False: what somebody else says of a private network
    dialable("169.254.169.254", Source.STATIC)    # False, whoever says it
"""

from __future__ import annotations

import enum
import ipaddress
import re

from cis.errors import UsageError

PORT_DEFAULT = 7677
_HOST_LENGTH_MAX = 253

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_NEVER = (
    ipaddress.ip_address("169.254.169.254"),  # the metadata service of most clouds
    ipaddress.ip_address("169.254.170.2"),  # and of containers
    ipaddress.ip_address("168.63.129.16"),
    ipaddress.ip_address("100.100.100.200"),
    ipaddress.ip_address("fd00:ec2::254"),
)


class Source(enum.Enum):
    """Who speaks of an address."""

    STATIC = "static"
    """The user, in the settings or on the command line."""
    MDNS = "mdns"
    """The local network, of itself."""
    MEMBER = "member"
    """A member, of itself: its own signed record, or its invite."""
    RELAYED = "relayed"
    """Anybody, of somebody else."""


_MAY_NAME_PRIVATE = frozenset({Source.STATIC, Source.MDNS, Source.MEMBER})
_MAY_NAME_INTERFACES = frozenset({Source.STATIC, Source.MDNS})
_INTERFACE = re.compile(r"[A-Za-z0-9_.:-]{1,32}")


def dialable(host: str, source: Source, *, allow_loopback: bool = False) -> bool:
    """Whether an IP address may be dialled; a host name is not an address, so False until it is resolved.

    Multicast, broadcast, unspecified, reserved and metadata addresses never are; loopback ones only with
    ``allow_loopback``; private and link-local ones only where ``source`` can know them. A link-local one of IPv6
    means something on one interface alone, so it has to name that (``fe80::1%eth0``), which nobody elsewhere can.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address.is_link_local or address.scope_id is not None):
        scope = address.scope_id or ""
        return address.is_link_local and source in _MAY_NAME_INTERFACES and _INTERFACE.fullmatch(scope) is not None
    address = _embedded(address)
    if address.is_loopback:
        return allow_loopback
    if address in _NEVER or address.is_multicast or address.is_unspecified or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv4Address) and address in _THIS_NETWORK:
        return False
    return (address.is_global and not _is_site_local(address)) or source in _MAY_NAME_PRIVATE


def _embedded(address: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64), so that no rule is walked around."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _is_site_local(address: _Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.is_site_local


def split_endpoint(text: str, default_port: int = PORT_DEFAULT) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; `UsageError` for anything else."""
    host, port = _parts(text.strip())
    if not host or len(host) > _HOST_LENGTH_MAX or not _is_host(host):
        raise UsageError(f"{text!r} names no host: write host:port, or [address]:port for IPv6")
    if port is None:
        return host, default_port
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UsageError(f"{text!r} has no usable port: it is a number from 1 to 65535")
    return host, int(port)


def join_endpoint(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parts(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and rest[0] != ":"):
            return ("", None)
        return (host, rest[1:] if rest else None)
    if text.count(":") > 1:
        return (text, None)
    host, colon, port = text.partition(":")
    return (host, port if colon else None)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return all(_is_label(label) for label in labels) and not labels[-1].isdecimal()
    return True


def _is_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and plain.isascii() and plain.isalnum()
