"""peers.json: where members were last reached, so that a restart finds them again; human-readable.

Of each member the eight best addresses are kept, and none longer than 30 days after it last led there or was told of.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from random import Random

from cis.discovery.address import Source, dialable
from cis.errors import UsageError
from cis.model import NodeId, did_of, parse_did
from cis.node.local import LocalNode
from cis.peers import PeerBook, Target
from cis.peers.book import KEPT_S

_log = logging.getLogger(__name__)

_BYTES_MAX = 4 << 20
SAVE_PEERS_S = 60.0
ADDRESSES_KEPT_MAX = 8


def remember_peer(local: LocalNode, node: NodeId, addresses: Sequence[tuple[str, int]]) -> None:
    """Write down where a node is said to be: the issuer of the ticket this node joined by."""
    book = PeerBook(local.identity.node, Random())
    for host, port in addresses:
        book.sighted(Target(node, host, port, Source.MEMBER.value), 0.0)
    save_peers(local, book, 0.0)


def save_peers(local: LocalNode, book: PeerBook, now: float) -> None:
    """Forget what is known no longer, and write what is known of where members are, atomically."""
    book.expire(now)
    clock_ms = local.clock_ms()
    rows = [
        {
            "node": did_of(peer.node),
            "name": local.cluster.name_of(peer.node),
            "addresses": [
                {
                    "host": one.host,
                    "port": one.port,
                    "source": one.source,
                    "successes": one.successes,
                    "known_ms": clock_ms if one.in_use else clock_ms - round((now - one.known_at) * 1000),
                }
                for one in sorted(peer.addresses, key=lambda one: (-one.in_use, -one.successes, -one.known_at))
            ][:ADDRESSES_KEPT_MAX],
        }
        for peer in book
        if peer.node is not None and peer.addresses
    ]
    path = local.home.peers
    fresh = path.with_suffix(".json-new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
        fresh.replace(path)
    except OSError as error:
        _log.warning("peers.json could not be written: %s", error.strerror)


async def keep_saving(local: LocalNode, book: PeerBook) -> None:
    """Save every minute until cancelled."""
    while True:
        await asyncio.sleep(SAVE_PEERS_S)
        save_peers(local, book, asyncio.get_running_loop().time())


def load_peers(local: LocalNode, sighted: Callable[[Target, float], None]) -> None:
    """Read peers.json back, telling of each address and for how many seconds it is known.

    A file that makes no sense is left aside with a warning.
    """
    path = local.home.peers
    if not path.exists():
        return
    try:
        rows = json.loads(path.read_text(encoding="utf-8")[:_BYTES_MAX])
        for row in rows:
            node = parse_did(row["node"])
            if local.cluster.membership.member(node) is None:
                continue
            for one in row["addresses"][:ADDRESSES_KEPT_MAX]:
                age_s = max(0.0, (local.clock_ms() - int(one["known_ms"])) / 1000)
                if age_s <= KEPT_S and dialable(str(one["host"]), Source.STATIC, allow_loopback=True):
                    sighted(Target(node, str(one["host"]), int(one["port"]), str(one["source"])), age_s)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        _log.warning("peers.json is left aside, as it cannot be read: %s", type(error).__name__)
