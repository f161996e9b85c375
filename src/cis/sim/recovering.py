"""Bodies that a session left out are asked of other members, by an audit, as `cis.node.recovery` does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cis.model import Dot, NodeId
from cis.store.audit import unheld_bodies

if TYPE_CHECKING:
    from cis.sim.node import SimNode

ASKED_AGAIN_S = 15.0
"""How long a member is not asked for the same again: less than in a node, as a run is short."""


class Recovering:
    """Looks after each session that brought changes, one recovery at a time."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._running = False
        self._source: NodeId | None = None
        self._asked: dict[NodeId, tuple[tuple[Dot, ...], float]] = {}

    def after_session(self, source: NodeId, changes: int) -> None:
        """Look what is missing, and ask other members than the session's."""
        if changes:
            self._source = source
        if not self._running:
            self._recover("")

    def after_withdrawal(self) -> None:
        """Look what is missing since changes were cut off: what they had replaced. Anybody may have it."""
        self._source = None
        if not self._running:
            self._recover("")

    def _recover(self, _: str) -> None:
        node = self._node
        lacking = tuple(unheld_bodies(node.store.reader, node.cluster.public))
        now = node.world.kernel.now
        asked = [(node.talk.node_at(end), link) for link, end in sorted(node.talk.ends.items())] if lacking else []
        for member, link in sorted(asked, key=lambda one: one[0] == self._source):
            what, when = self._asked.get(member, ((), 0.0))
            if what != lacking or now - when >= ASKED_AGAIN_S:
                self._asked[member] = (lacking, now)
                self._running = True
                node.later(0.0, partial(node.talk.exchanges.audit, link, self._recover))
                return
        self._running = False
