"""Which URLs of a UPnP router are followed.

Any host of the LAN can answer a search, and what it names would be fetched: so a URL is followed only by plain
HTTP to the IP address that answered, which is the gateway's, or (where the gateway is not known) a private one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

_LENGTH_MAX = 512
_PRINTABLE = re.compile(r"[!-~]+")
_LAN = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that may be followed."""

    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}{self.target}"

    def join(self, reference: str) -> Link | None:
        """The link a document found here refers to, if it leads to the same host."""
        if len(reference) > _LENGTH_MAX:
            return None
        try:
            return link(urljoin(str(self), reference), self.host)
        except ValueError:
            return None


def link(text: str, host: str) -> Link | None:
    """A URL at that very host, or None."""
    if len(text) > _LENGTH_MAX or not _PRINTABLE.fullmatch(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or parts.hostname != host or "@" in parts.netloc or port == 0:
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Link(host, port or 80, target)


def may_be_router(host: str) -> bool:
    """Whether an address can be that of a home's router: a private one (RFC 1918)."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return any(address in network for network in _LAN)
