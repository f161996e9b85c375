"""A simulated node's topics: `cis.node.bulletins.topics` on the virtual clock; what its users tell and read there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cis.node.bulletins.stability import STABILITY
from cis.node.bulletins.topics import SYSTEM_PREFIX, Topics
from cis.node.core import events

if TYPE_CHECKING:
    from cis.node.bulletins.hearing import Message
    from cis.node.home.local import LocalNode
    from cis.sim.kernel import Plan
    from cis.sim.node import SimNode

NEWS = SYSTEM_PREFIX + "news"
"""What users of simulated nodes tell: a topic of the system's, which is read without an event loop."""
_RUN_LENGTH = 8


class NodeClock:
    """The virtual clock, for one life of a node."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def time(self) -> float:
        """Return virtual seconds."""
        return self._node.world.kernel.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Plan:
        """Call back if the node still lives then."""
        return self._node.later(max(0.0, when - self.time()), callback)


class Telling:
    """What one life of a node tells and reads; ``read`` is given each message of its users' that a reader gets."""

    def __init__(self, node: SimNode, read: Callable[[Message], None]) -> None:
        self._run = node.entropy(_RUN_LENGTH).hex()
        self._number = 0
        local = cast("LocalNode", node)  # what topics need of one is there
        self.topics = Topics(local, lambda body: node.report(events.TopicAsked(body)), NodeClock(node))
        self.topics.read_system(NEWS, read)
        self.topics.read_system(STABILITY, lambda message: _take(node, message))

    def tell_news(self) -> None:
        """Tell all members something: which message of which run it is."""
        self._number += 1
        self.topics.tell_system(NEWS, b"%s %d" % (self._run.encode(), self._number))


def _take(node: SimNode, report: Message) -> None:
    """Take in what a member reports; rounds are frequent here, so none is hastened by it."""
    node.stability.take(report.author, report.payload)
