"""Bodies that a session left out are asked of other members, by an audit that begins by itself (RULES of state, 8).

A relay may say that a change was replaced and keep its body, when it was not, or when what replaced it never comes.
The header is proven by its author's signature, so the change is known to be alive and its body to be missing: whoever
else holds it can give it, and can give nothing else in its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from hashlib import blake2b
from time import monotonic

from cis.errors import CisError
from cis.model import Dot, NodeId
from cis.node.home.local import LocalNode
from cis.node.streams.links import PeerLink
from cis.store.audit import unheld_bodies

_log = logging.getLogger(__name__)

ASKED_AGAIN_S = 600.0
"""How long a member that did not have the same bodies is not asked for them again."""
PAUSE_S = 30.0
"""How long no member is asked again, whatever else has come to be missing."""


class Recovery:
    """Looks after each session, one recovery at a time; belongs to the loop."""

    def __init__(self, local: LocalNode, links: Callable[[], Iterable[PeerLink]]) -> None:
        self._unheld = False
        """whether bodies of living changes were missing when it was last looked"""
        self._local = local
        self._links = links
        self._looked = False
        self._running = False
        self._source: NodeId | None = None
        self._asked: dict[NodeId, tuple[bytes, float]] = {}
        """whom was asked for which bodies, and when"""

    async def after_session(self, source: NodeId, changes: int) -> None:
        """Look what is missing after a session that brought changes, and ask other members than its source."""
        if self._running or (self._looked and not changes and not self._unheld):
            return
        if changes:
            self._source = source
        self._running = True
        try:
            await self._recover()
        finally:
            self._running = False

    async def _recover(self) -> None:
        lacking = await self._look()
        while lacking and (link := self._to_ask(lacking)) is not None:
            self._asked[link.node] = (lacking, monotonic())
            try:
                await link.audit(checked=False)
            except* (CisError, TimeoutError) as group:
                _log.info("bodies left out by a relay were not recovered: %s", link.blame(group))
            lacking = await self._look()

    async def _look(self) -> bytes:
        """Return a hash of what is missing, empty where nothing is."""
        dots = await asyncio.to_thread(_missing, self._local)
        self._looked, self._unheld = True, bool(dots)
        digest = blake2b(digest_size=16)
        for replica, seq in dots:
            digest.update(replica + seq.to_bytes(8, "big"))
        return digest.digest() if dots else b""

    def _to_ask(self, lacking: bytes) -> PeerLink | None:
        now = monotonic()
        for link in sorted(self._links(), key=lambda link: link.node == self._source):  # itself last: it left them out
            what, when = self._asked.get(link.node, (b"", 0.0))
            pause_s = ASKED_AGAIN_S if what == lacking else PAUSE_S
            if link.node not in self._asked or now - when >= pause_s:
                return link
        return None


def bodies_missing(local: LocalNode) -> int:
    """Return how many living changes of shared spaces came without their body from every member so far."""
    return len(_missing(local))


def _missing(local: LocalNode) -> list[Dot]:
    with local.store.snapshot() as reader:
        return [dot for space in local.cluster.shared() for dot in unheld_bodies(reader, space)]
