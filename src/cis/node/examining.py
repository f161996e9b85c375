"""What becomes of bodies that came by gossip: segments are committed, bulletins opened and handed to topics.

The sender answers for what it passed on, since every node verifies before it forwards; but not for what only
shows that more is to be compared first, nor for what an author sealed amiss.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from cis.errors import CisError, PeerFault
from cis.model import SpaceId
from cis.node.bulletins.topics import Topics
from cis.node.core import events
from cis.node.home.local import LocalNode
from cis.node.streams.links import BLAMELESS, PeerLink
from cis.node.streams.paces import Tally
from cis.store.merge import Applied
from cis.trust.entries import id_of
from cis.wire.messages import is_segment

_log = logging.getLogger(__name__)


class Examiner:
    """Belongs to the loop's thread; reports `Examined` for everything it is given."""

    def __init__(self, local: LocalNode, topics: Topics, report: Callable[[events.Event], None], tally: Tally) -> None:
        self._local = local
        self._topics = topics
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._tally = tally

    def examine(self, link: PeerLink, id_: bytes, body: bytes) -> None:
        """Look at a body that came over a link."""
        if is_segment(body):
            if self._local.cluster.exchange.public:
                self._merge(link, id_, body)
            else:  # what was not verified is not passed on either
                self._report(events.Examined(id_, sound=False))
            return
        try:
            verdict = self._topics.take(body)
        except PeerFault as fault:
            link.blame(fault)
            self._report(events.Examined(id_, sound=False))
        else:
            if verdict.entries:
                self._learn(link, id_, len(body), verdict.entries)
            elif verdict.change is not None:
                self._merge_sealed(link, id_, *verdict.change)
            else:
                self._report(events.Examined(id_, verdict.sound, verdict.gap))

    def _learn(self, link: PeerLink, id_: bytes, size: int, entries: Sequence[bytes]) -> None:
        """Add membership entries, off the loop; where one waits for its parents, logs must be compared."""
        cluster = self._local.cluster
        link.gossip_in.examining(size)

        def done(future: asyncio.Future[int]) -> None:
            link.gossip_in.examined(size)
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                _log.warning("membership entries told by gossip were refused: %s", error)
            known = error is None and all(cluster.membership.knows(id_of(raw)) for raw in entries)
            self._report(events.Examined(id_, sound=error is None, gap=not known))

        adding = self._loop.run_in_executor(None, cluster.add_entries, entries, self._local.store)
        adding.add_done_callback(done)

    def _merge_sealed(self, link: PeerLink, id_: bytes, space: SpaceId, frame: bytes) -> None:
        """Commit a segment that came sealed: who passed it on could not look into it, so it answers for nothing."""

        def merged(future: Future[Applied]) -> None:
            error = future.exception()
            if error is not None:
                level = logging.INFO if isinstance(error, CisError) else logging.ERROR
                _log.log(level, "a sealed change was not taken: %s", error)
            if error is not None or future.result().gap:
                self._report(events.SpaceStirred(space))
            self._report(events.Examined(id_, sound=True))

        self._commit(link, frame, merged)

    def _merge(self, link: PeerLink, id_: bytes, frame: bytes) -> None:
        self._commit(link, frame, lambda future: self._merged(link, id_, future))

    def _commit(self, link: PeerLink, frame: bytes, merged: Callable[[Future[Applied]], None]) -> None:
        """Merge a frame, and go on with what came of it on the loop; meanwhile it counts against who sent it."""
        link.gossip_in.examining(len(frame))

        def done(future: Future[Applied]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(finish, future)

        def finish(future: Future[Applied]) -> None:
            link.gossip_in.examined(len(frame))
            merged(future)

        self._local.store.merge(frame).add_done_callback(done)

    def _merged(self, link: PeerLink, id_: bytes, future: Future[Applied]) -> None:
        error = future.exception()
        if error is None:
            applied = future.result()
            self._tally["changes_beyond_reorder_buffer"] += applied.gap and not applied.changes
            self._report(events.Examined(id_, sound=True, gap=applied.gap))
            return
        blamed = isinstance(error, PeerFault) and error.fault not in BLAMELESS
        if blamed:
            link.blame(error)
        elif not isinstance(error, CisError):
            _log.error("a change could not be merged", exc_info=error)
        self._report(events.Examined(id_, sound=False, gap=not blamed))
