"""Nodes of the DHT known between runs: a text file of addresses, and the same as libtorrent takes them.

libtorrent's own state holds the id this node had in the DHT, by which it would be known again after it moved; that is
never written. What is read back is a hint from a file that anybody may have edited: lines that name no address are
passed over.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cis.discovery.address import join_endpoint, split_endpoint
from cis.errors import UsageError

_log = logging.getLogger(__name__)

NODES_MAX = 200
_BYTES_MAX = 64 << 10
_COMPACT = (6, 18)
"""Lengths of a compact address of IPv4 (BEP 5) and IPv6 (BEP 32)."""

Address = tuple[str, int]


def read_nodes(path: Path) -> list[Address]:
    """Return the addresses in a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("the nodes known of the DHT cannot be read: %s", error.strerror)
        return []
    found: dict[Address, None] = {}
    for line in text.splitlines():
        try:
            host, port = split_endpoint(line, 0)
            ipaddress.ip_address(host)
        except (UsageError, ValueError):
            continue
        if port:
            found[host, port] = None
    return list(found)[:NODES_MAX]


def write_nodes(path: Path, nodes: Iterable[Address]) -> None:
    """Write addresses, one a line, atomically; a disk that does not take them is a warning in the log."""
    lines = [join_endpoint(host, port) for host, port in nodes][:NODES_MAX]
    fresh = path.with_name(f"{path.name}-new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        fresh.replace(path)
    except OSError as error:
        _log.warning("the nodes known of the DHT cannot be written: %s", error.strerror)


def state_of(nodes: Iterable[Address]) -> dict[bytes, Any]:
    """Return addresses as a state of libtorrent's, to be bencoded, that has no node id (compact addresses of BEP 5)."""
    four: list[bytes] = []
    six: list[bytes] = []
    for host, port in nodes:
        address = ipaddress.ip_address(host)
        (four if address.version == 4 else six).append(address.packed + port.to_bytes(2, "big"))
    return {b"dht state": {b"nodes": four, b"nodes6": six}}


def nodes_in(state: Mapping[bytes, Any]) -> list[Address]:
    """Return the addresses in a state that libtorrent wrote, its node id left out."""
    inside = state.get(b"dht state", {})
    return [address_of(one) for key in (b"nodes", b"nodes6") for one in inside.get(key, ()) if len(one) in _COMPACT]


def own_ids_in(state: Mapping[bytes, Any]) -> list[bytes]:
    """Return the ids this node has in the DHT, one for each address it listens on."""
    return [one[:20] for one in state.get(b"dht state", {}).get(b"node-id", ())]


def address_of(compact: bytes) -> Address:
    """Return what a compact address of 6 or 18 bytes says."""
    return str(ipaddress.ip_address(compact[:-2])), int.from_bytes(compact[-2:], "big")
