"""A world of nodes that run gossip alone, over simulated links.

A link comes up after a round trip; one to a dead node fails after a while. Links carry messages like QUIC: in order and
whole, losses turned into delay. The death of a node is noticed by each neighbour after a while of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from cis.gossip import (
    BroadcastAsked,
    Deliver,
    Dial,
    DialFailed,
    Examined,
    Gossip,
    GossipConfig,
    GossipEffect,
    GossipEvent,
    Heard,
    Linked,
    Received,
    Release,
    Send,
    SetTimer,
    TimerExpired,
    Unlinked,
)
from cis.model import NodeId
from cis.sim.kernel import Kernel
from cis.sim.network import Network
from cis.wire import gossip as wire
from cis.wire.messages import encode

FRAME_HEADER_BYTES = 4


class Link:
    """A connection of two members; one that was made anew is another."""

    __slots__ = ("ends",)

    def __init__(self, one: Member, other: Member) -> None:
        self.ends = (one, other)

    def beyond(self, member: Member) -> Member:
        """Return the other end."""
        one, other = self.ends
        return other if member is one else one


class Member:
    """One simulated node."""

    __slots__ = ("alive", "dialling", "gossip", "id", "links", "number")

    def __init__(self, number: int, node: NodeId, gossip: Gossip) -> None:
        self.number = number
        self.id = node
        self.gossip = gossip
        self.alive = True
        self.links: dict[NodeId, Link] = {}
        self.dialling: dict[NodeId, None] = {}


class SwarmWorld:
    """Performs what the members' gossip decides; ``on_deliver`` hears of every message that reaches a member."""

    def __init__(
        self,
        network: Network,
        *,
        dial_timeout_s: float,
        detection_s: tuple[float, float],
        record: bytes,
        on_deliver: Callable[[Member, bytes, int], None],
    ) -> None:
        self.kernel: Kernel = network.kernel
        self.network = network
        self.members: list[Member] = []
        self.messages: Counter[type] = Counter()
        self.payloads: Counter[bytes] = Counter()
        """body messages sent, by body"""
        self.bytes = 0
        self._by_id: dict[NodeId, Member] = {}
        self._dial_timeout_s = dial_timeout_s
        self._detection_s = detection_s
        self._record = record
        self._on_deliver = on_deliver
        self._apart: set[int] = set()
        self._sized: tuple[object, int] = (None, 0)

    def add(self, config: GossipConfig) -> Member:
        """Add a member that knows nobody."""
        rng = self.kernel.rng
        node = NodeId(rng.randbytes(32))
        gossip = Gossip(node, lambda: self._record, Random(rng.getrandbits(64)), config)
        member = Member(len(self.members), node, gossip)
        self.members.append(member)
        self._by_id[node] = member
        return member

    def introduce(self, member: Member, contact: Member) -> None:
        """Tell a member of another."""
        self.tell(member, Heard(contact.id, self._record))

    def broadcast(self, member: Member, body: bytes) -> None:
        """Let a member broadcast."""
        self.tell(member, BroadcastAsked(body))

    def kill(self, member: Member) -> None:
        """Let a member die without a word; those linked to it notice by and by."""
        member.alive = False
        for link in list(member.links.values()):
            delay_s = self.kernel.rng.uniform(*self._detection_s)
            self.kernel.after(delay_s, partial(self._cut, link.beyond(member), link))

    def split(self, apart: set[int]) -> None:
        """Let nothing pass between members of these numbers and all others, from now on; of none, heal."""
        self._apart = apart
        for member in self.members:
            for link in list(member.links.values()):
                if not self._reaches(member, link.beyond(member)):
                    delay_s = self.kernel.rng.uniform(*self._detection_s)
                    self.kernel.after(delay_s, partial(self._cut, member, link))

    def living(self) -> list[Member]:
        """Return who is alive."""
        return [member for member in self.members if member.alive]

    def tell(self, member: Member, event: GossipEvent) -> None:
        """Let an event happen to a living member and perform what it decides."""
        if member.alive:
            self._perform(member, member.gossip.handle(event, self.kernel.now))

    def _perform(self, member: Member, effects: list[GossipEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(member, effect.node, effect.message)
            elif isinstance(effect, SetTimer):
                self.kernel.after(effect.delay_s, partial(self.tell, member, TimerExpired(effect.timer)))
            elif isinstance(effect, Deliver):
                self._on_deliver(member, effect.body, effect.hops)
                self.tell(member, Examined(effect.id, sound=True))
            elif isinstance(effect, Dial):
                self._dial(member, self._by_id[effect.node])
            elif isinstance(effect, Release) and (link := member.links.get(effect.node)) is not None:
                self._cut(member, link)
                self.kernel.after(self._latency_s(), partial(self._cut, link.beyond(member), link))

    def _send(self, member: Member, node: NodeId, message: wire.GossipMessage) -> None:
        link = member.links.get(node)
        if link is None:
            return
        self.messages[type(message)] += 1
        if isinstance(message, wire.Gossip):
            self.payloads[message.body] += 1
        if self._sized[0] is not message:
            self._sized = (message, len(encode(message)) + FRAME_HEADER_BYTES)
        size = self._sized[1]
        self.bytes += size
        other = link.beyond(member)
        arrive = partial(self._arrive, other, link, Received(member.id, message))
        self.network.send_stream(member.number, other.number, link, size, arrive)

    def _arrive(self, member: Member, link: Link, received: Received) -> None:
        if not self._reaches(member, link.beyond(member)):
            return
        if member.alive and member.links.get(received.node) is link:
            self._perform(member, member.gossip.handle(received, self.kernel.now))

    def _dial(self, member: Member, other: Member) -> None:
        if other.id in member.dialling:
            return
        member.dialling[other.id] = None
        if other.alive and self._reaches(member, other):
            self.kernel.after(2 * self._latency_s(), partial(self._connect, member, other))
        else:
            self.kernel.after(self._dial_timeout_s, partial(self._fail, member, other))

    def _connect(self, member: Member, other: Member) -> None:
        if not other.alive or not self._reaches(member, other):
            self.kernel.after(self._dial_timeout_s, partial(self._fail, member, other))
            return
        member.dialling.pop(other.id, None)
        if member.alive and other.id not in member.links:
            member.links[other.id] = other.links[member.id] = Link(member, other)
            self.tell(member, Linked(other.id, dialled=True))
            self.tell(other, Linked(member.id, dialled=False))

    def _fail(self, member: Member, other: Member) -> None:
        member.dialling.pop(other.id, None)
        self.tell(member, DialFailed(other.id))

    def _cut(self, member: Member, link: Link) -> None:
        other = link.beyond(member)
        if member.links.get(other.id) is link:
            del member.links[other.id]
            self.network.forget_stream(member.number, other.number, link)
            self.network.forget_stream(other.number, member.number, link)
            self.tell(member, Unlinked(other.id))

    def _reaches(self, one: Member, other: Member) -> bool:
        return not self._apart or (one.number in self._apart) == (other.number in self._apart)

    def _latency_s(self) -> float:
        profile = self.network.profile
        return profile.latency_s + self.kernel.rng.uniform(0, profile.jitter_s)
