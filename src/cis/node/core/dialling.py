"""Whom to dial: as many as gossip has room for, whom it asks for, and always whom the user wants to be connected to.

The peer book knows addresses and when each peer may be tried again; this decides which of them are tried at all. Of
more than there is room for, `cis.peers.choice` draws.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from cis.discovery.address import Source
from cis.model import NodeId
from cis.node.core.choosing import Bridging, sides_of
from cis.peers import PeerBook, Target
from cis.peers.choice import drawn
from cis.peers.peer import ICE
from cis.rate import Bucket

if TYPE_CHECKING:
    from random import Random

_HARMLESS = frozenset({Source.STATIC.value, ICE})
"""Sources of what no hint can abuse: what the user says, and what the peer itself is asked by signals."""
BAN_S = 600.0
"""How long a node that broke the protocol is neither dialled nor let in."""
FOREIGN_DIALS_PER_MINUTE = 60
"""Dials of addresses that others told and that never worked: a hint must not become a weapon."""
UNWANTED_PAUSE_S = 300.0
"""How long a peer that wanted no connection is left alone, but by gossip and by the user."""


class Dialling:
    """Tell it what happened; ask it what is due."""

    def __init__(self, book: PeerBook, rng: Random) -> None:
        self.book = book
        self.parted: set[NodeId] = set()
        """nodes the user wants no connection with for now"""
        self.ban_s = BAN_S
        """how long a node that breaks the protocol is shut out; it may change"""
        self.banned: dict[NodeId, float] = {}
        """nodes that broke the protocol, and until when they are shut out"""
        self.barred: frozenset[NodeId] = frozenset()
        """members that the access list of this node refuses"""
        self.pinned = book.pinned
        """nodes the user wants to be connected to"""
        self._left: dict[NodeId, float] = {}
        """nodes that refused this one, and until when they are not dialled"""
        self._wanted: dict[NodeId, None] = {}
        """nodes gossip wants to be connected to"""
        self.bans = self.postponed = 0
        """how many there were"""
        self._foreign = Bucket(per_s=FOREIGN_DIALS_PER_MINUTE / 60, burst=FOREIGN_DIALS_PER_MINUTE)
        self._rng = rng
        self.bridging = Bridging(book, rng)
        """looks for a neighbour across the LAN's boundary"""
        self._at: float | None = None
        self._changed = True

    def touch(self) -> None:
        """Something changed that may change whom to dial."""
        self._changed = True

    def sighted(self, target: Target, now: float, *, pinned: bool = False) -> None:
        """A node may be reachable there."""
        self.book.sighted(target, now)
        if pinned and target.node is not None:
            self.pinned.add(target.node)
        self._changed = True

    def want(self, node: NodeId, now: float) -> bool:
        """Gossip wants a connection; False where none can be had, else dials begin now."""
        if node in self.settled() or not self.book.heard(node):
            return False
        self._wanted[node] = None
        self.book.hurry(node, now)
        self._changed = True
        return True

    def connected(self, node: NodeId, via: Target | None, now: float) -> bool:
        """A connection is there; one with whoever answers at an address the user gave is to be kept.

        True where other dials of the node are under way, which are to be given up.
        """
        if via is not None and via.node is None:
            self.pinned.add(node)
        others = self.book.connected(node, now, via)
        self._wanted.pop(node, None)
        self._left.pop(node, None)
        self._changed = True
        return others

    def lost(self, node: NodeId, reason: str, now: float, *, unwanted: bool) -> None:
        """The last connection with a node ended."""
        self.book.lost(node, now, reason)
        peer = self.book.get(node)
        if unwanted and peer is not None:
            peer.due_at = now + self._rng.uniform(0.5, 1.0) * UNWANTED_PAUSE_S
        self._changed = True

    def failed(self, target: Target, reason: str, now: float, *, pointless: bool = False) -> NodeId | None:
        """A dial came to nothing; returns the node gossip wanted, where that was the last hope of reaching it."""
        if pointless:
            self.book.forget(target)
        else:
            self.book.failed(target, now, reason)
        self._changed = True
        if target.node is None or target.node not in self._wanted:
            return None
        peer = self.book.get(target.node)
        if peer is not None and (peer.under_way or (self.book.waits(peer) and peer.due_at <= now)):
            return None
        del self._wanted[target.node]
        return target.node

    def part(self, node: NodeId) -> bool:
        """The user wants no connection with a node; True where gossip wanted one."""
        self.parted.add(node)
        self.pinned.discard(node)
        self._changed = True
        wanted = node in self._wanted
        self._wanted.pop(node, None)
        return wanted

    def meet(self, node: NodeId, now: float) -> None:
        """The user wants a connection with a node, and wants it kept."""
        self.parted.discard(node)
        self._left.pop(node, None)
        self.pinned.add(node)
        self.book.hurry(node, now)
        self._changed = True

    def ban(self, node: NodeId, now: float) -> None:
        """Shut a node out for a while."""
        self.banned[node] = now + self.ban_s
        self.bans += 1
        self._changed = True

    def leave_alone(self, node: NodeId, pause_s: float, now: float) -> None:
        """Do not dial a node that refused this one for a while, unless the user asks for it."""
        self._left[node] = now + self._rng.uniform(0.5, 1.0) * pause_s
        self._wanted.pop(node, None)
        self._changed = True

    def bar(self, nodes: frozenset[NodeId]) -> None:
        """Keep these members away until told otherwise, and no others; whoever is let in again is dialled at once."""
        for node in sorted(self.barred - nodes):
            self.book.hurry(node, 0.0)
        self.barred = nodes
        self._changed = True

    def remove(self, node: NodeId) -> None:
        """Forget a node that is no member any more."""
        self.book.remove(node)
        self.pinned.discard(node)
        for noted in (self._wanted, self.banned, self._left):
            noted.pop(node, None)
        self._changed = True

    def shuts_out(self, node: NodeId, now: float) -> bool:
        """Tell whether a node is kept away."""
        return node in self.parted or node in self.barred or self.banned.get(node, now) > now

    def due(self, connected: list[NodeId], room: int, now: float) -> list[Target]:
        """Return the dials to make now; ``room`` is how many more neighbours gossip takes."""
        over = 0
        for kept in (self.banned, self._left):
            for node in [node for node, until in kept.items() if until <= now]:
                del kept[node]
                over += 1
        if not self._changed and not over and (self._at is None or self._at > now):
            return []
        self._changed = False
        settled = self.settled(connected)
        present = sides_of(self.book, connected)
        found = self.book.due(now, settled | self._left_alone(settled, room, now, present))
        targets = [target for target in found if self._may_dial(target, now)]
        self._at = self.book.next_due(settled | self._left_alone(settled, room, None, present), now)
        return targets

    def next_due(self) -> float | None:
        """Return when to ask `due` again."""
        planned = [moment for moment in (self._at, self.bridging.due_at) if moment is not None]
        return min([*self.banned.values(), *self._left.values(), *planned], default=None)

    def settled(self, connected: Collection[NodeId] = ()) -> set[NodeId]:
        """Return who is not to be dialled: the connected, and those kept away."""
        return {*connected, *self.parted, *self.barred, *self.banned, *self._left}

    def _may_dial(self, target: Target, now: float) -> bool:
        """Count a dial of an address others told; put it off where there were too many of those."""
        by_hand = target.source in _HARMLESS or target.node is None or target.node in self.pinned
        peer = self.book.get(target.node) if target.node is not None else None
        way = peer.way(target) if peer is not None else None
        if by_hand or (way is not None and way.successes) or self._foreign.take(1.0, now):
            return True
        self.postponed += 1
        self.book.postpone(target, now + self._foreign.wait_s(1.0, now))
        return False

    def _left_alone(
        self, settled: set[NodeId], room: int, now: float | None, present: list[bool | None]
    ) -> set[NodeId]:
        """The nodes nobody asked for beyond those there is room for; without ``now``, none while there is any room.

        ``present`` says on which side of the LAN's boundary those are that are connected.
        """
        idle = [peer for peer in self.book if peer.node is not None and peer.node not in settled]
        unasked = [peer for peer in idle if peer.node not in self.pinned and peer.node not in self._wanted]
        begun = [peer for peer in unasked if peer.under_way]
        room -= len(begun)
        if room <= 0:
            return {peer.node for peer in unasked if peer.node is not None and not peer.under_way}
        if now is None:
            return set()
        ready = [peer for peer in unasked if not peer.under_way and peer.due_at <= now and self.book.waits(peer)]
        if len(ready) <= room:
            return set()
        chosen = drawn(ready, room, now, self._rng, [*present, *(peer.near for peer in begun)])
        taken = {peer.node for peer in chosen}
        return {peer.node for peer in ready if peer.node is not None and peer.node not in taken}
