"""Sites apart, in virtual time: neighbours are kept across the LAN's boundary, without nodes fighting for them.

Cores with their books and their gossip, over links that neither lose nor delay much; sessions end at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from cis.gossip import Gossip
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.choosing import Choice
from cis.node.core.core import Core
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.peers import PeerBook, Target
from cis.sync import Report

DELAY_S = {True: 0.002, False: 0.05}


class Node:
    """One core, at a site, and the other ends of its links."""

    def __init__(self, number: int, site: int, rng: Random) -> None:
        self.number, self.site, self.id = number, site, NodeId(number.to_bytes(32, "big"))
        book = PeerBook(self.id, rng)
        gossip = Gossip(self.id, lambda: b"", rng, taste=Choice(book, rng))
        self.core = Core(self.id, book, gossip, rng, 60.0, lambda *_: ())
        self.ends: dict[int, tuple[Node, int]] = {}
        self.planned: float | None = None

    @property
    def across(self) -> int:
        """How many of its neighbours are at another site."""
        return sum(SITE[one] != self.site for one in self.core.overlay.neighbours)


SITE: dict[NodeId, int] = {}


class World:
    """Nodes at sites of these sizes; each knows all others."""

    def __init__(self, sizes: tuple[int, ...], seed: int) -> None:
        self.now, self.dials = 0.0, Counter[int]()
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._order, self._numbers = itertools.count(), itertools.count(1)
        sites = [site for site, size in enumerate(sizes) for _ in range(size)]
        self.nodes = [Node(number, site, Random(seed * 1000 + number)) for number, site in enumerate(sites)]
        SITE.clear()
        SITE.update({node.id: node.site for node in self.nodes})
        for node in self.nodes:
            for other in self.nodes:
                near = node.site == other.site
                place = f"192.168.1.{other.number}" if near else f"203.0.113.{other.number}"
                target = Target(other.id, place, 7677, "mdns", "mdns" if near else "dht")
                self.later(
                    0.1 * (node.number % 7), lambda node=node, target=target: self.tell(node, events.Sighted(target))
                )

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._plans, (self.now + delay_s, next(self._order), action))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._plans and self._plans[0][0] <= until:
            self.now, _, action = heapq.heappop(self._plans)
            action()
        self.now = until

    def tell(self, node: Node, event: events.Event) -> None:
        for effect in node.core.handle(event, self.now):
            self._perform(node, effect)
        at = node.core.next_timer()
        if at is not None and (node.planned is None or at < node.planned or node.planned <= self.now):
            node.planned = at
            self.later(max(0.0, at - self.now), lambda: self.tell(node, events.Ticked()))

    def _perform(self, node: Node, effect: events.Effect) -> None:
        match effect:
            case events.Dial(target):
                other = next(one for one in self.nodes if one.id == target.node)
                self.dials[int(self.now // 60)] += 1
                self.later(3 * DELAY_S[node.site == other.site], lambda: self._connect(node, other, target))
            case events.Close(link):
                self.later(0.0, lambda: self._close(node, link))
            case events.Synchronise(link):
                self.later(0.01, lambda: self.tell(node, events.SyncEnded(link, Report())))
            case events.GossipSend(link, message) if link in node.ends:
                other, number = node.ends[link]
                delay_s = DELAY_S[node.site == other.site]
                self.later(delay_s, lambda: self.tell(other, events.GossipReceived(number, message)))

    def _connect(self, node: Node, other: Node, target: Target) -> None:
        here, there = next(self._numbers), next(self._numbers)
        node.ends[here], other.ends[there] = (other, there), (node, here)
        kind = "lan" if node.site == other.site else "direct"
        for one, link, via in ((other, there, None), (node, here, target)):
            self.tell(one, events.Connected(link, one.ends[link][0].id if link in one.ends else other.id, via))
            self.tell(one, events.Measured(link, kind, ("192.0.2.1", 1), 0.01))

    def _close(self, node: Node, link: int) -> None:
        if (end := node.ends.pop(link, None)) is not None:
            other, number = end
            other.ends.pop(number, None)
            self.tell(node, events.Lost(link, "closed here"))
            self.tell(other, events.Lost(number, "not needed now", unwanted=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_nearly_every_node_of_two_sites_has_a_neighbour_at_the_other(seed: int) -> None:
    world = World((12, 12), seed)
    world.run(120.0)
    bridged = 0
    for _ in range(10):
        world.run(30.0)
        bridged += sum(node.across > 0 for node in world.nodes)
        assert all(len(node.core.overlay.neighbours) <= NEIGHBOURS_MAX for node in world.nodes)
    assert bridged >= 0.9 * 10 * len(world.nodes)
    near = sum(len(node.core.overlay.neighbours) - node.across for node in world.nodes)
    assert near > len(world.nodes), "what is near is kept too"


@pytest.mark.parametrize("seed", [1, 2])
def test_one_node_beyond_a_lan_of_twenty_is_not_fought_for(seed: int) -> None:
    world = World((20, 1), seed)
    world.run(600.0)
    far = world.nodes[-1]
    assert 1 <= far.across <= NEIGHBOURS_MAX
    dials = sum(world.dials[minute] for minute in range(1, 10))
    assert dials <= 3 * 9 * len(world.nodes), "of which one a minute and node are shuffles, as without any boundary"
