"""Multiaddrs as far as they matter here: an IP address, a TCP port, and who is expected there.

libp2p speaks of many transports, and of names that are only resolved when dialled; this node dials TCP at IP addresses
and nothing else, so that `dialable` can judge every one of them. Entry points may be names, since the user wrote them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from cis.discovery.address import split_endpoint
from cis.errors import UsageError

PLACE_LENGTH_MAX = 300
PUBLIC = (
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
)
"""Where the public network is entered: the nodes that Kubo and js-libp2p start from."""
_NAMES = frozenset({"dns", "dns4", "dns6"})
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")


class Place(NamedTuple):
    """A TCP port at an IP address, and the id of the libp2p node there, empty where none is named."""

    host: str
    port: int
    peer: str


def read_place(text: str) -> Place | None:
    """Return the place that ``/ip4/…/tcp/…``, or ``ip6``, with ``/p2p/…`` behind it or not, names; None for others."""
    match text[: PLACE_LENGTH_MAX + 1].split("/"):
        case ["", "ip4" | "ip6" as family, host, "tcp", port, *rest] if len(text) <= PLACE_LENGTH_MAX:
            peer = _peer(rest)
            if peer is None or not _is_port(port) or not _is_address(host, 4 if family == "ip4" else 6):
                return None
            return Place(host, int(port), peer)
    return None


def write_place(host: str, port: int) -> str:
    """Return the multiaddr of a TCP port at an IP address."""
    return f"/ip{ipaddress.ip_address(host).version}/{host}/tcp/{port}"


def check_entry(text: str) -> None:
    """Raise `UsageError` unless this is an entry point: TCP at an address or a name, or a ``dnsaddr``, and whose."""
    place = read_place(text)
    if place is not None and place.peer:
        return
    match text.split("/"):
        case ["", "dnsaddr", name, "p2p", peer] if _PEER.fullmatch(peer) and _is_name(name):
            return
        case ["", family, name, "tcp", port, "p2p", peer] if (
            family in _NAMES and _is_name(name) and _is_port(port) and _PEER.fullmatch(peer)
        ):
            return
    raise UsageError(
        f"{text!r} is no libp2p entry point: write /ip4/ADDRESS/tcp/PORT/p2p/ID, /dns4/NAME/tcp/PORT/p2p/ID, "
        "or /dnsaddr/NAME/p2p/ID"
    )


def _peer(rest: list[str]) -> str | None:
    match rest:
        case []:
            return ""
        case ["p2p", peer] if _PEER.fullmatch(peer):
            return peer
    return None


def _is_address(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def _is_name(name: str) -> bool:
    try:
        return split_endpoint(name, 1) == (name, 1) and not _is_address(name, 4)
    except UsageError:
        return False


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 1 << 16
