"""One machine of the views, its effects sorted, its timers at hand."""

from __future__ import annotations

from random import Random

from cis.gossip import Dial, Linked, Received, Send, SetTimer, TimerExpired, ViewConfig
from cis.gossip.hyparview import HyParView, ViewEvent
from cis.gossip.neighbourhood import ViewTimer
from cis.model import NodeId
from cis.wire.gossip import GossipMessage, Neighbour

CONFIG = ViewConfig()


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def contact(number: int) -> tuple[NodeId, bytes]:
    return (node(number), b"record %d" % number)


class Desk:
    """One machine, its effects sorted; node 0 is itself."""

    def __init__(self, seed: int = 1, config: ViewConfig = CONFIG) -> None:
        self.views = HyParView(node(0), lambda: b"own", Random(seed), config)
        self.now = 0.0
        self.effects: list = []
        self.timers: list = []
        self.dials: list = []
        self.requests: list[Neighbour] = []

    def tell(self, event: ViewEvent) -> list:
        self.effects = self.views.handle(event, self.now)
        self.timers += [(self.now + one.delay_s, one.timer) for one in self.of(SetTimer)]
        self.dials += self.of(Dial)
        self.requests += [one for one in self.sent() if isinstance(one, Neighbour)]
        return self.effects

    def run_to(self, kind: type) -> float:
        """Let timers expire until there is such an effect; returns how long it took."""
        began = self.now
        while not self.of(kind):
            self.timers.sort(key=lambda one: one[0])
            self.now, timer = self.timers.pop(0)
            self.tell(TimerExpired(timer))
        return self.now - began

    def hear(self, number: int, message: GossipMessage) -> list:
        return self.tell(Received(node(number), message))

    def sent(self, number: int | None = None) -> list:
        return [one.message for one in self.effects if isinstance(one, Send) and number in {None, number_of(one.node)}]

    def of(self, kind: type) -> list:
        return [one for one in self.effects if isinstance(one, kind)]

    def befriend(self, *numbers: int) -> None:
        for number in numbers:
            self.tell(Linked(node(number), dialled=False))
            self.hear(number, Neighbour(contact(number), urgent=False))
        assert set(map(number_of, self.views.active)) >= set(numbers)

    def seek(self, after_s: float) -> list:
        self.now += after_s
        return self.tell(TimerExpired(ViewTimer.SEEK))


def number_of(one: NodeId) -> int:
    return int.from_bytes(one, "big")
