"""A simulated node's topics: bulletins made and opened as `cis.node.topics` does, read as `cis.node.hearing` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.errors import CisError
from cis.model import NodeId
from cis.node.hearing import Hearing, Message
from cis.trust.bulletins import Told, open_bulletin, read_bulletin, seal_bulletin
from cis.wire.bulletins import SESSION_LENGTH

if TYPE_CHECKING:
    from cis.sim.node import SimNode


@dataclass(frozen=True)
class Heard:
    """Whether a bulletin is fit to be passed on, and whether it shows that more is missing here."""

    sound: bool
    gap: bool = False


class Telling:
    """What one life of a node tells and reads; ``read`` is given each message that a reader gets."""

    def __init__(self, node: SimNode, read: Callable[[Message], None]) -> None:
        self._node = node
        self._read = read
        self._run = node.entropy(SESSION_LENGTH)
        self._number = 0
        self._hearing = Hearing()

    def next_words(self) -> bytes:
        """Return a payload that says which message of which run it is in."""
        return b"%s %d" % (self._run.hex().encode(), self._number + 1)

    def tell(self, topic: str, payload: bytes) -> bytes:
        """Return the bulletin that tells all members something."""
        node = self._node
        self._number += 1
        told = Told(self._run, self._number, node.clock_ms(), topic, payload)
        return seal_bulletin(node.identity, node.public_keys, told, node.entropy)

    def take(self, body: bytes) -> Heard:
        """Look at a bulletin that came by gossip; `PeerFault` blames who sent it."""
        node = self._node
        statement = read_bulletin(body, node.cluster.public)
        author = NodeId(statement.author)
        if node.cluster.membership.member(author) is None:
            return Heard(sound=False, gap=True)
        if author == node.id:
            return Heard(sound=True)
        judged = self._hearing.judge(statement, node.clock_ms())
        if not judged.fresh:
            return Heard(sound=judged.recent)
        try:
            content = open_bulletin(statement, node.public_keys)
        except CisError:
            return Heard(sound=False)
        message = Message(content.topic, author, statement.sent_ms, content.payload)
        self._deliver(self._hearing.accept(statement, message, node.world.kernel.now))
        return Heard(sound=True)

    def _deliver(self, messages: list[Message]) -> None:
        for message in messages:
            self._read(message)
        due, now = self._hearing.next_due(), self._node.world.kernel.now
        if due is not None:
            self._node.later(max(0.0, due - now), lambda: self._deliver(self._hearing.due(self._node.world.kernel.now)))
