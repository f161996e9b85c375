"""Users who read what their device leaves to others: `cis.node.streams.lending` decides, this carries what it says.

The law: what is shown is what was written, and a member that is asked and has a value gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from cis.errors import CisError, Fault, PeerFault
from cis.model import Dot, NodeId
from cis.node.streams.lending import Borrowing, lend
from cis.sim.keeping import holds
from cis.sim.ledger import name
from cis.store.fetched import lacking, opened
from cis.wire.messages import WantBodies, decode, encode

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode
    from cis.sim.node import SimNode
    from cis.sim.wires import End
    from cis.sim.world import World
    from cis.store.read import Recalled


class LendRun:
    """The side that is asked: it answers at once."""

    def __init__(self, node: SimNode, end: End, stream: int, peer: NodeId, on_end: Callable[[], object]) -> None:
        self.stream = stream
        self._node = node
        self._end = end
        self._peer = peer
        self._on_end = on_end

    def take(self, frame: bytes) -> None:
        """Answer the question."""
        wanted = decode(frame)
        if not isinstance(wanted, WantBodies):
            raise PeerFault(Fault.MALFORMED, "a stream for bodies begins with which are wanted")
        begin = 0
        while bodies := lend(cast("LocalNode", self._node), self._peer, wanted, begin):
            begin += len(bodies)
            for body in bodies:
                self._end.send(self.stream, self._node.outgoing(encode(body)))
        self._on_end()

    def drop(self) -> None:
        """Nothing is open."""


class BorrowRun:
    """The side that asks; ``on_end`` is told of the end, with the error if there was one."""

    def __init__(
        self, end: End, stream: int, borrowing: Borrowing, on_end: Callable[[BorrowRun, CisError | None], None]
    ) -> None:
        self.stream = stream
        self.borrowing = borrowing
        self._end = end
        self._on_end = on_end
        self._over = False

    def start(self) -> None:
        """Ask."""
        self._end.send(self.stream, encode(self.borrowing.question))

    def take(self, frame: bytes) -> None:
        """Take an answer."""
        if self._over:
            return
        try:
            self.borrowing.take(frame)
        except PeerFault as fault:
            self._finish(fault)
            return
        if self.borrowing.finished:
            self._finish(None)

    def drop(self) -> None:
        """The connection or the stream is gone."""
        self._finish(PeerFault(Fault.NONE, "the connection ended"))

    def _finish(self, error: CisError | None) -> None:
        if not self._over:
            self._over = True
            self._on_end(self, error)


class Reading:
    """A user reads a memory whose value is elsewhere: connected members are asked one after the other."""

    def __init__(self, world: World, node: SimNode, recalled: Recalled) -> None:
        self._world = world
        self._node = node
        self._recalled = recalled
        self._dots = lacking(recalled, whole=True)
        self._found: dict[Dot, bytes] = {}
        self._to_ask = sorted(node.talk.ends)

    def go_on(self) -> None:
        """Ask the next member; at the end look at what is shown."""
        node, missing = self._node, [dot for dot in self._dots if dot not in self._found]
        while missing and self._to_ask:
            link = self._to_ask.pop(0)
            if link in node.talk.ends:
                borrowing = Borrowing(cast("LocalNode", node), node.cluster.public, missing)
                node.talk.exchanges.borrow(link, borrowing, partial(self._answered, link, borrowing))
                return
        self._world.count("reads_elsewhere" if not missing else "reads_in_vain")
        self._look()

    def _answered(self, link: int, borrowing: Borrowing, *, whole: bool) -> None:
        self._found |= borrowing.found
        end = self._node.talk.ends.get(link)
        if whole and end is not None:
            other = self._world.nodes[end.peer.party.number]
            kept_back = [dot for dot in self._dots if dot not in self._found and other.up and holds(other, dot)]
            for dot in kept_back:
                self._world.oracle.found("lost", f"m{other.number} has {name(*dot)} and does not lend it")
        self._node.later(0.0, self.go_on)

    def _look(self) -> None:
        """Compare what is shown with what was written."""
        oracle, reader = self._world.oracle, self._node.store.reader
        for part in opened(reader, (*self._recalled.parts, *self._recalled.siblings), self._found):
            dot = part.change.dot
            if part.content is not None and not oracle.ledger.intents[dot].reads(part.content):
                oracle.found("lost", f"m{self._node.number} is lent {name(*dot)} without what was written")


def read_something(world: World, node: SimNode | None, keys: int) -> None:
    """A user reads something whose value is on other devices, if there is such at the node."""
    if node is None:
        return
    recalled = (node.store.reader.recall(node.cluster.public, f"register/{number}") for number in range(keys))
    elsewhere = [one for one in recalled if one is not None and lacking(one, whole=True)]
    if elsewhere:
        Reading(world, node, world.kernel.rng.choice(elsewhere)).go_on()
