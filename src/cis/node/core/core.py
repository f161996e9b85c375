"""The one place where the machines are wired: events in, effects out, no I/O and no clock of its own.

Gossip decides whom to be connected to and carries live changes; what it shows to be missing, and what a session
taught, is compared by sessions. Links that gossip does not need, the user did not ask for and no session uses are
closed, so that a cluster larger than the active view is no full mesh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cis.errors import Fault
from cis.gossip import Gossip
from cis.gossip import language as gossip
from cis.model import NodeId
from cis.node.core import events
from cis.node.core.dialling import Dialling
from cis.node.core.events import Effect, Event, LinkId
from cis.node.core.overlay import Overlay
from cis.node.core.pool import Pool
from cis.node.core.sessions import Around, Sessions, Sharing
from cis.node.core.table import Link, LinkTable, SyncStatus
from cis.peers import PeerBook, Target
from cis.trust.acl import REFUSAL
from cis.wire.gossip import BODY_BYTES_MAX

if TYPE_CHECKING:
    from random import Random

TargetsOf = Callable[[NodeId, bytes], Sequence[Target]]
"""The addresses in a member's verified record that may be dialled."""


class Core:
    """See the module.

    ``interval_s`` is that of periodic anti-entropy, with one random neighbour and with one member of each space that
    is not shared by all; which these are ``sharing`` says.
    """

    def __init__(
        self,
        own: NodeId,
        book: PeerBook,
        machine: Gossip,
        rng: Random,
        interval_s: float,
        targets_of: TargetsOf,
        sharing: Sharing = dict,
    ) -> None:
        self.own = own
        self.table = LinkTable(own)
        self.overlay = Overlay(machine)
        self.dialling = Dialling(book, rng)
        around = Around(self.overlay.neighbours, sharing, self.dialling.want)
        self.sessions = Sessions(self.table, around, rng, interval_s)
        self.status: dict[NodeId, SyncStatus] = {}
        self._targets_of = targets_of
        self._examining: dict[bytes, LinkId] = {}
        self.pool = Pool(self.table, self.overlay, self.dialling.pinned)

    @property
    def book(self) -> PeerBook:
        """What is known of each peer."""
        return self.dialling.book

    @property
    def links(self) -> dict[LinkId, Link]:
        """The connections in use."""
        return self.table.by_id

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event and return what follows from it, dials and sessions that fall due included."""
        return [*self._react(event, now), *self._due(now)]

    def next_timer(self) -> float | None:
        """Return when to come back with `Ticked`, None when nothing is planned."""
        moments = (self.sessions.next_due(), self.overlay.next_timer(), self.dialling.next_due(), self.pool.due_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def connected(self) -> set[NodeId]:
        """Return the nodes there is a link with."""
        return set(self.table.nodes())

    def link_to(self, node: NodeId) -> Link | None:
        """Return the link with a node."""
        return self.table.to(node)

    # --- what happened -------------------------------------------------------------------------------------------

    def _react(self, event: Event, now: float) -> Iterable[Effect]:
        effects: Iterable[Effect] = ()
        match event:
            case events.GossipReceived() if event.link in self.links:
                effects = self._tell(gossip.Received(self.links[event.link].node, event.message), now)
            case events.Examined():
                effects = self._on_examined(event, now)
            case events.Written():
                effects = self._on_written(event.frames, now)
            case events.TopicAsked():
                effects = self._tell(gossip.BroadcastAsked(event.body), now)
            case events.Stopping():
                effects = self._tell(gossip.LeavingAsked(), now)
            case events.Learned():
                self.sessions.offer_on(event.source, now)
            case events.SpaceStirred(space, ours):
                self.sessions.reach(space, now, everyone=ours)
            case events.Missed() if event.link in self.links:
                self.sessions.on_gap(self.links[event.link], now)
            case events.Overflowed() if event.link in self.links:
                self.sessions.want(self.links[event.link], now)
            case events.SyncEnded() if event.link in self.links:
                self.sessions.on_ended(self.links[event.link], event.report, event.error, now)
            case events.Compared() if event.link in self.links:
                self.sessions.on_compared(self.links[event.link], event.error, now)
            case events.Served(number, begun) if number in self.links:
                link = self.links[number]
                link.served, link.served_at = link.served + (1 if begun else -1), now
            case events.Stated() if event.link in self.links:
                status = self.links[event.link].status
                status.stated, status.stated_at = event.vectors, now
            case events.IntervalChanged(interval_s):
                self.sessions.every(interval_s, now)
            case events.SyncAsked():
                if (asked := self.link_to(event.node)) is not None:
                    self.sessions.want(asked, now)
            case _:
                effects = self._on_peers(event, now)
        return effects

    def _on_peers(self, event: Event, now: float) -> Iterable[Effect]:
        effects: Iterable[Effect] = ()
        match event:
            case events.Removed(nodes):
                effects = self._on_removed(nodes, now)
            case events.Barred(nodes, reason):
                self.dialling.bar(nodes)
                effects = self._close_on(nodes, reason, now)
            case events.Sighted(target, pinned, age_s):
                self.dialling.sighted(target, now - age_s, pinned=pinned)
                if target.node is not None:
                    effects = self._tell(gossip.Heard(target.node), now)
            case events.Recalled(peer) if peer.node is not None:
                self.book.recall(peer, now)
                self.dialling.touch()
                effects = self._tell(gossip.Heard(peer.node), now)
            case events.Measured(number, kind, place, rtt_s) if number in self.links:
                self.book.measured(self.links[number].node, now, kind, place, rtt_s)
            case events.Recorded(node, record, targets):
                for target in targets:
                    self.dialling.sighted(target, now)
                self.book.heard(node)
                effects = self._tell(gossip.Heard(node, record), now)
            case events.Connected():
                effects = self._on_connected(event, now)
            case events.Moved(number, relayed) if number in self.links:
                self.links[number].relayed = relayed
            case events.Suspected() if event.link in self.links:
                link = self.links[event.link]
                link.suspect = event.suspect
                effects = [events.Dial(link.via)] if event.redial and link.via is not None else ()
            case events.WaysChanged():
                self.book.stir(now)
                self.dialling.touch()
            case events.Lost():
                effects = self._on_lost(event, now)
            case events.DialFailed():
                given_up = self.dialling.failed(event.target, event.reason, now, pointless=event.pointless)
                if event.pause_s and event.target.node is not None:
                    self.dialling.leave_alone(event.target.node, event.pause_s, now)
                if given_up is not None:
                    effects = self._tell(gossip.DialFailed(given_up), now)
            case events.PartingAsked(node):
                effects = [_part(link.id) for link in self.table if link.node == node]
                if self.dialling.part(node):
                    effects = [*effects, *self._tell(gossip.DialFailed(node), now)]
            case events.MeetingAsked(node):
                self.dialling.meet(node, now)
        return effects

    def _on_connected(self, event: events.Connected, now: float) -> Iterable[Effect]:
        if self.dialling.shuts_out(event.node, now):
            if event.via is not None:
                self.dialling.failed(event.via, "not wanted now", now)
            if event.node in self.dialling.parted:
                return [_part(event.link)]
            if event.node in self.dialling.barred:
                return [events.Close(event.link, Fault.UNAUTHORISED, REFUSAL)]
            return [events.Close(event.link, Fault.BANNED, "this node broke the protocol: wait some minutes")]
        given_up = [events.GiveUp(event.node)] if self.dialling.connected(event.node, event.via, now) else []
        taken, gives_way = self.table.judge(event, now)
        if not taken:
            return [*given_up, _duplicate(event.link)]
        before = self.link_to(event.node)
        status = self.status.setdefault(event.node, SyncStatus())
        link = Link(event.link, event.node, event.via, now, event.relayed, status=status)
        if gives_way is not None:
            self.table.remove(gives_way.id)
        self.table.add(link)
        self.sessions.on_connected(link, now)
        return [
            *given_up,
            *((_duplicate(gives_way.id),) if gives_way is not None else ()),
            events.Introduce(event.link),
            *self._tell_of_link(event.node, before, now),
            *self.pool.on_connected(link),
        ]

    def _on_lost(self, event: events.Lost, now: float) -> Iterable[Effect]:
        known = self.links.get(event.link)
        before = self.link_to(known.node) if known is not None else None
        link = self.table.remove(event.link)
        if link is None:
            return []
        if event.blamed:
            self.dialling.ban(link.node, now)
        if self.link_to(link.node) is None:
            self.dialling.lost(link.node, event.reason, now, unwanted=event.unwanted or link.closing)
            if event.pause_s:
                self.dialling.leave_alone(link.node, event.pause_s, now)
        return self._tell_of_link(link.node, before, now)

    def _on_removed(self, nodes: Mapping[NodeId, str], now: float) -> list[Effect]:
        """Have nothing more to do with nodes that are no members: nothing is sent, dialled or told of them."""
        effects: list[Effect] = []
        for node, reason in nodes.items():
            effects += self._close_on((node,), reason, now)
            self.dialling.remove(node)
            self.status.pop(node, None)
            effects += self._tell(gossip.Removed(node), now)
        return effects

    def _close_on(self, nodes: Collection[NodeId], reason: str, now: float) -> list[Effect]:
        """Close all links with some nodes, and think no more of them: these nodes did nothing wrong by it."""
        effects: list[Effect] = []
        for link in [link for link in self.table if link.node in nodes]:
            before = self.link_to(link.node)
            self.table.remove(link.id)
            effects.append(events.Close(link.id, Fault.UNAUTHORISED, reason))
            if self.link_to(link.node) is None:
                self.dialling.lost(link.node, reason, now, unwanted=True)
            effects += self._tell_of_link(link.node, before, now)
        return effects

    def _tell_of_link(self, node: NodeId, before: Link | None, now: float) -> list[Effect]:
        """Tell gossip that the link used with a node is another than before: what was said on that may be lost."""
        link = self.link_to(node)
        if link is before:
            return []
        effects = self._tell(gossip.Unlinked(node), now) if before is not None else []
        return [*effects, *(self._tell(gossip.Linked(node, link.dialled), now) if link is not None else ())]

    def _on_written(self, frames: Sequence[bytes], now: float) -> list[Effect]:
        if not self.links:
            return []
        effects: list[Effect] = []
        for frame in frames:
            if len(frame) <= BODY_BYTES_MAX:
                effects += self._tell(gossip.BroadcastAsked(frame), now)
            else:
                self.sessions.offer_on(None, now)
        return effects

    def _on_examined(self, event: events.Examined, now: float) -> list[Effect]:
        source = self.links.get(self._examining.pop(event.id, 0))
        if event.gap and source is not None:
            self.sessions.on_gap(source, now)
        return self._tell(gossip.Examined(event.id, event.sound), now)

    # --- gossip --------------------------------------------------------------------------------------------------

    def _tell(self, event: gossip.GossipEvent, now: float) -> list[Effect]:
        """Give gossip an event, and return what it decides as effects of the node."""
        return self._translate(self.overlay.handle(event, now), now)

    def _translate(self, decided: Iterable[gossip.GossipEffect], now: float) -> list[Effect]:
        effects: list[Effect] = []
        waiting = deque(decided)
        while waiting:
            match waiting.popleft():
                case gossip.Send(node, message):
                    if (link := self.link_to(node)) is not None:
                        effects.append(events.GossipSend(link.id, message))
                case gossip.Deliver(id_, body, source):
                    link = self.link_to(source)
                    assert link is not None, "what is delivered just came over it"
                    self._examining[id_] = link.id
                    effects.append(events.Examine(link.id, id_, body))
                case gossip.Dial(node, record):
                    for target in self._targets_of(node, record) if record else ():
                        self.dialling.sighted(target, now)
                    if self.link_to(node) is None and not self.dialling.want(node, now):
                        waiting.extend(self.overlay.handle(gossip.DialFailed(node), now))
                case gossip.Release(node):
                    if (link := self.link_to(node)) is not None:
                        link.released = True
                case gossip.NeighbourUp(node):
                    self.dialling.touch()
                    if (link := self.link_to(node)) is not None:
                        link.released = False
                        self.sessions.on_neighbour(link, now)
                case gossip.NeighbourDown():
                    self.dialling.touch()
        return effects

    # --- time ----------------------------------------------------------------------------------------------------

    def _due(self, now: float) -> Iterable[Effect]:
        yield from self._translate(self.overlay.due(now), now)
        yield from self.sessions.due(now)
        yield from self.pool.due(now)
        neighbours = self.overlay.neighbours
        across = self.dialling.bridging.due(neighbours, self.dialling.settled(neighbours), now)
        if across is not None:
            yield from self._tell(gossip.Sought(across), now)
        for target in self.dialling.due(self.table.nodes(), self.overlay.room, now):
            yield events.Dial(target)


def _part(link: LinkId) -> Effect:
    return events.Close(link, Fault.PARTED, "disconnected by the user there, until they connect again")


def _duplicate(link: LinkId) -> Effect:
    return events.Close(link, Fault.DUPLICATE, "another connection with this node stays")
