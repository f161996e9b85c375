"""Signals between members that may have no connection with each other: sealed, carried by others, opened.

A signal goes by the connection with its recipient where there is one that works, else by a member both are connected
to, else by an anchor. Whoever carries it learns sizes and, a member, who talks to whom; an anchor not even that, as
a tag names the sender to the recipient alone. What goes wrong on the way is counted and harms nobody.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, TypeVar

from cis.discovery.tags import Tags, slot_of
from cis.errors import CisError, Fault, PeerFault, Unavailable
from cis.model import NodeId
from cis.net import Connection, Stream
from cis.node.finding.announcing import DiscoveryKeys
from cis.node.home.local import LocalNode
from cis.node.streams.links import PeerLink
from cis.node.streams.paces import FORWARDS_BURST, FORWARDS_PER_S, Tally
from cis.rate import Rates
from cis.trust.acl import Access, Mode
from cis.trust.beacons import beacon_slot, beacon_tag
from cis.trust.signals import NONCE_LENGTH, TAG_LENGTH, open_signal, seal_signal, tag_in
from cis.wire.messages import SEALED_SIGNAL_BYTES_MAX, Forward, Forwarded, Open, Taken, decode, encode
from cis.wire.signals import Signal, decode_signal, encode_signal

CARRIERS_MAX = 5
"""Members asked to carry one signal, one after the other."""
CARRY_S = 1.0
"""How long one carrier may take before the next is tried."""
POST_S = 3.0
"""The same for an anchor, which may be far away."""
REMEMBERED_MAX = 1024
"""Signals remembered, so that each is read once, and members, by whom they were last heard."""
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_TAG_KEY_LENGTH = 32
_ANCHORS = NodeId(b"")
"""Stands for the anchors where it is remembered by whom a member was last heard."""
_FRAME_BYTES_MAX = SEALED_SIGNAL_BYTES_MAX + 64


class Signpost(Protocol):
    """An anchor, which hands what is sealed to whoever listens under a tag."""

    name: str
    on_message: Callable[[bytes], None]
    """what is called with each sealed signal for this node"""
    on_up: Callable[[], None]
    """what is called whenever it begins to serve"""

    @property
    def up(self) -> bool:
        """Whether it serves now."""

    def renew(self) -> None:
        """Show there what this node says of itself now, as that has changed."""

    def doubt(self) -> None:
        """See at once whether it still answers, and connect anew where it does not."""

    async def post(self, tag: bytes, sealed: bytes) -> bool:
        """Hand it over; True where somebody listens there. Never raises."""


@dataclass(frozen=True)
class Carriers:
    """Who may carry signals: the connections of this node, its neighbours among them, and anchors."""

    links: Mapping[int, PeerLink]
    neighbours: Collection[NodeId]
    anchors: Sequence[Signpost] = ()
    tally: Tally = field(default_factory=Tally)


class Signaller:
    """Sends signals, passes on those of others, and hands ``on_signal`` what is for this node."""

    def __init__(self, local: LocalNode, carriers: Carriers, on_signal: Callable[[NodeId, Signal], None]) -> None:
        self._local = local
        self._carriers = carriers
        self._on_signal = on_signal
        self._tally = carriers.tally
        self._tags = _SignalTags(local)
        self._forwards: Rates[NodeId] = Rates(per_s=FORWARDS_PER_S, burst=FORWARDS_BURST)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._came_by: OrderedDict[NodeId, NodeId] = OrderedDict()
        for anchor in carriers.anchors:
            anchor.on_message = self.take_posted

    def possible(self, node: NodeId) -> bool:
        """Tell whether anybody but the node itself may carry signals to it."""
        if node == self._local.identity.node or not self.deals_with(node):
            return False
        if any(anchor.up for anchor in self._carriers.anchors):
            return True
        return any(link.node != node for link in self._working())

    def doubt_anchors(self) -> None:
        """Have every anchor make sure of its line: the network it runs on may be gone."""
        for anchor in self._carriers.anchors:
            anchor.doubt()

    def deals_with(self, node: NodeId) -> bool:
        """Tell whether a node is a member that this node's access list admits."""
        cluster = self._local.cluster
        if cluster.acl.mode is Mode.SOLITARY or cluster.membership.member(node) is None:
            return False
        return cluster.verdict(node).access is Access.ADMIT

    async def send(self, node: NodeId, signal: Signal) -> None:
        """Send a signal to a member; raises `Unavailable`, saying who was asked to carry it, where nobody did."""
        sealed = self._seal(node, signal)
        tried: list[str] = []
        ways = [self._by_links, self._by_anchors]
        if self._came_by.get(node) == _ANCHORS:
            ways.reverse()
        for way in ways:
            if await way(node, sealed, tried):
                return
        asked = "; ".join(tried) or "no other member is connected, and there is no anchor"
        raise Unavailable(f"nobody carries signals to {self._name(node)}: {asked}")

    # --- what others send ----------------------------------------------------------------------------------------

    async def serve(self, teller: NodeId, stream: Stream) -> None:
        """Serve a stream of signals' that a member opened; raises `PeerFault` where it carries something else."""
        frame = await stream.read_frame(_FRAME_BYTES_MAX)
        message = decode(frame) if frame is not None else None
        match message:
            case Forward(to, sealed):
                await stream.write_frame(encode(Taken(await self._pass_on(teller, to, sealed))))
                stream.finish()
            case Forwarded(sender, sealed):
                self._take(sender, sealed, teller)
            case _:
                raise PeerFault(Fault.MALFORMED, "a stream for signals carries them alone")

    def take_posted(self, sealed: bytes) -> None:
        """Take what came by an anchor, whoever sent it."""
        try:
            sender = self._tags.sender_of(tag_in(sealed))
        except PeerFault:
            sender = None
        if sender is None:
            self._tally["signals_of_strangers"] += 1
            return
        self._take(sender, sealed, None)

    async def _pass_on(self, sender: NodeId, to: NodeId, sealed: bytes) -> bool:
        """Pass a signal on to a member there is a connection with; False where it was not."""
        if not self._forwards.take(sender, asyncio.get_running_loop().time()):
            self._tally["forwards_over_pace"] += 1
            return False
        membership = self._local.cluster.membership
        member = membership.member(sender) is not None and membership.member(to) is not None
        link = next((one for one in self._working() if one.node == to), None)
        if not member or link is None:
            self._tally["forwards_to_nobody"] += 1
            return False
        try:
            async with asyncio.timeout(CARRY_S):
                await _deliver(link.connection, sender, sealed)
        except (CisError, TimeoutError):
            return False
        self._tally["forwards"] += 1
        return True

    def _take(self, sender: NodeId, sealed: bytes, teller: NodeId | None) -> None:
        """Open a signal and hand it on; what cannot be is counted, as whoever carried it need not be to blame."""
        member = self._local.cluster.membership.member(sender)
        shared = self._local.cluster.pairwise_key(member) if member is not None else None
        if shared is None or not self.deals_with(sender):
            self._tally["signals_of_strangers"] += 1
            return
        nonce = sealed[TAG_LENGTH : TAG_LENGTH + NONCE_LENGTH]
        if nonce in self._seen:
            self._tally["signals_repeated"] += 1
            return
        try:
            signal = decode_signal(open_signal(shared, sender, self._local.identity.node, sealed))
        except PeerFault:
            self._tally["signals_unreadable"] += 1
            return
        _remember(self._seen, nonce, None)
        _remember(self._came_by, sender, teller or _ANCHORS)
        self._tally["signals"] += 1
        self._on_signal(sender, signal)

    # --- carriers ------------------------------------------------------------------------------------------------

    async def _by_links(self, node: NodeId, sealed: bytes, tried: list[str]) -> bool:
        for link in self._choose(node):
            try:
                async with asyncio.timeout(CARRY_S):
                    if await _carry(link, node, self._local.identity.node, sealed):
                        return True
                tried.append(f"{self._name(link.node)} has no connection with it")
            except (CisError, TimeoutError):
                tried.append(f"{self._name(link.node)} did not answer")
        return False

    async def _by_anchors(self, node: NodeId, sealed: bytes, tried: list[str]) -> bool:
        for anchor in self._carriers.anchors:
            why = "knows nobody by that tag" if anchor.up else "does not serve"
            try:
                async with asyncio.timeout(POST_S):
                    if anchor.up and await self._post(anchor, node, sealed):
                        return True
            except TimeoutError:
                why = "did not answer"
                anchor.doubt()
            tried.append(f"the anchor {anchor.name} {why}")
        return False

    def _choose(self, node: NodeId) -> list[PeerLink]:
        """The links to try: the one with who passed on what the node last said, the node's own, neighbours, others.

        Who signals by others has its reason: its own connection may have gone silent, which this side need not know.
        """
        last = self._came_by.get(node)
        neighbours = self._carriers.neighbours

        def rank(link: PeerLink) -> tuple[bool, bool, bool]:
            return link.node != last, link.node != node, link.node not in neighbours

        return sorted(self._working(), key=rank)[:CARRIERS_MAX]

    def _working(self) -> Iterator[PeerLink]:
        return (link for link in list(self._carriers.links.values()) if not link.connection.suspect)

    async def _post(self, anchor: Signpost, node: NodeId, sealed: bytes) -> bool:
        slot = beacon_slot(self._local.clock_ms() / 1000)
        for key in self._tags.discovery_keys():
            tag = beacon_tag(key, slot, node)
            if tag is not None and await anchor.post(tag, sealed):
                return True
        return False

    def _seal(self, node: NodeId, signal: Signal) -> bytes:
        member = self._local.cluster.membership.member(node)
        shared = self._local.cluster.pairwise_key(member) if member is not None else None
        if shared is None:
            raise Unavailable(f"no key is shared with {self._name(node)}: is it a member?")
        own = self._local.identity.node
        return seal_signal(shared, own, node, self._tags.own(), encode_signal(signal), self._local.entropy)

    def _name(self, node: NodeId) -> str:
        return self._local.cluster.name_of(node)


class _SignalTags:
    """The tags that name the sender of a signal, unlike those a node shows anywhere else."""

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self.discovery_keys = DiscoveryKeys(local.cluster, local.clock_ms)
        self._tags = Tags(
            local.identity.node,
            self._keys,
            lambda: [member.node for member in local.cluster.membership.members()],
        )

    def own(self) -> bytes:
        """Return this node's tag of the moment."""
        return self._tags.own_tag(slot_of(self._local.clock_ms() / 1000)) or bytes(TAG_LENGTH)

    def sender_of(self, tag: bytes) -> NodeId | None:
        """Return the member whose tag it is, in this slot or one beside it."""
        slot = slot_of(self._local.clock_ms() / 1000)
        found = (self._tags.recognise(tag, one) for one in (slot, slot - 1, slot + 1))
        return next((node for node in found if node is not None), None)

    def _keys(self) -> list[bytes]:
        tag = b"cis signal tag"
        return [blake2b(tag, digest_size=_TAG_KEY_LENGTH, key=key).digest() for key in self.discovery_keys()]


async def _carry(link: PeerLink, to: NodeId, own: NodeId, sealed: bytes) -> bool:
    """Have a signal carried by a link: to its node, or by it to another; False where it has no link with that."""
    if link.node == to:
        await _deliver(link.connection, own, sealed)
        return True
    async with await link.connection.open_stream("signal") as stream:
        await stream.write_frame(encode(Open("signal")))
        await stream.write_frame(encode(Forward(to, sealed)))
        frame = await stream.read_frame(_FRAME_BYTES_MAX)
        stream.finish()
    answer = decode(frame) if frame is not None else None
    return isinstance(answer, Taken) and answer.taken


async def _deliver(connection: Connection, sender: NodeId, sealed: bytes) -> None:
    async with await connection.open_stream("signal") as stream:
        await stream.write_frame(encode(Open("signal")))
        await stream.write_frame(encode(Forwarded(sender, sealed)))
        stream.finish()


def _remember(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Keep the newest `REMEMBERED_MAX`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
