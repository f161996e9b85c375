"""Whom to ask for a value that is elsewhere by choice: connected members that keep everything first, the nearest first.

Others may have it all the same: whoever wrote it does.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from cis.errors import CisError
from cis.model import Dot, NodeId, SpaceId
from cis.node.home.local import LocalNode
from cis.node.streams.lending import Borrowing
from cis.node.streams.links import PeerLink
from cis.store.keeping import holders

_log = logging.getLogger(__name__)

FETCH_S_MAX = 30.0
"""How long whoever reads waits at most, however many members are asked."""


class Holding:
    """Belongs to the loop, but for what is public; ``spawn`` does work inside the node's TaskGroup."""

    def __init__(
        self,
        local: LocalNode,
        links: Callable[[], Iterable[PeerLink]],
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._local = local
        self._links = links
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Future[None]] = set()
        self._closed = False

    @property
    def connected(self) -> set[NodeId]:
        """Who is connected; from any thread."""
        return {link.node for link in self._links()}

    def wait_fetched(self, space: SpaceId, dots: Sequence[Dot]) -> dict[Dot, bytes]:
        """Return what connected members gave of these bodies, each as its author signed it; from any other thread."""
        done: Future[None] = Future()
        found: dict[Dot, bytes] = {}
        self._waiting.add(done)
        try:
            if not self._closed:
                self._loop.call_soon_threadsafe(lambda: self._spawn(self._fetch(space, dots, found, done)))
                done.result(FETCH_S_MAX)
        except (TimeoutError, RuntimeError):  # nobody has answered, or the loop has ended
            done.cancel()
        finally:
            self._waiting.discard(done)
        return dict(found)

    def close(self) -> None:
        """Let nobody wait any more: the node ends."""
        self._closed = True
        for done in list(self._waiting):
            _end(done)

    async def _fetch(self, space: SpaceId, dots: Sequence[Dot], found: dict[Dot, bytes], done: Future[None]) -> None:
        try:
            full = await asyncio.to_thread(_full_holders, self._local, space)
            for link in self._order(space, full):
                lacking = [dot for dot in dots if dot not in found]
                if not lacking or done.done():
                    break
                await self._borrow(link, space, lacking, found)
        finally:
            _end(done)

    async def _borrow(self, link: PeerLink, space: SpaceId, dots: Sequence[Dot], found: dict[Dot, bytes]) -> None:
        borrowing = Borrowing(self._local, space, dots)
        try:
            await link.borrow(borrowing)
        except* (CisError, TimeoutError) as group:
            _log.info("a value was not fetched: %s", link.blame(group))
        found |= borrowing.found

    def _order(self, space: SpaceId, full: Collection[NodeId]) -> list[PeerLink]:
        """Return the links to those that share the space, in the order in which they are asked."""
        sharing = [link for link in self._links() if space in self._local.cluster.shared_with(link.node)]
        return sorted(sharing, key=lambda link: (link.node not in full, link.connection.rtt_s or math.inf, link.node))


def _end(done: Future[None]) -> None:
    with suppress(InvalidStateError):  # whoever waited has given up
        done.set_result(None)


def _full_holders(local: LocalNode, space: SpaceId) -> set[NodeId]:
    """Return the members that told of late that they keep everything of a space, and hold something of it; blocks."""
    with local.store.snapshot() as reader:
        found = holders(reader.connection, space, local.identity.node)
    return {node for node, held in found.items() if held.seqs}
