"""Gossip that decides what a test says, and the nodes the tests of the core speak of."""

from __future__ import annotations

from collections import deque

from cis.gossip import Gossip
from cis.gossip import language as gossip
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.core import Core
from cis.peers import Target

LOW, OWN, HIGH = NodeId(b"\x01" * 32), NodeId(b"\x05" * 32), NodeId(b"\x09" * 32)
INTERVAL_S = 60.0


class Scripted(Gossip):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[gossip.GossipEvent] = []
        self.decides: deque[list[gossip.GossipEffect]] = deque()

    def handle(self, event: gossip.GossipEvent, now: float) -> list[gossip.GossipEffect]:
        self.told.append(event)
        return self.decides.popleft() if self.decides else []


def target(node: NodeId) -> Target:
    return Target(node, "192.0.2.1", 7677, "static")


def connect(core: Core, link: int, node: NodeId, *, dialled: bool, now: float = 0.0) -> list[events.Effect]:
    return core.handle(events.Connected(link, node, target(node) if dialled else None), now)
