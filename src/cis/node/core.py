"""The one place where the machines are wired: events in, effects out, no I/O and no clock of its own.

Decides whom to dial, which of two connections with one peer stays, when to synchronise with whom, and who is
sent live changes. Until gossip takes over, a change goes directly to every connected peer, and what was
learned from one is offered to the others by a session shortly after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from cis.errors import Fault
from cis.model import NodeId
from cis.node import events
from cis.node.events import Effect, Event, LinkId
from cis.peers import PeerBook, Target
from cis.sync import Report

RELAY_DELAY_S = 0.05
"""How long to gather what was learned before offering it on."""
RELAY_PAUSE_S = 0.5
"""Least time between two sessions with one peer that only pass things on."""
RETRY_S = 2.0
RETRY_CEILING_S = 60.0
BAN_S = 600.0
"""How long a node that broke the protocol is neither dialled nor let in."""
LINKS_PER_NODE_MAX = 2
GLARE_S = 5.0
"""Two connections made within this time are taken for both sides dialling at once."""


@dataclass(slots=True)
class SyncStatus:
    """How synchronisation with one peer stands; times are the node's monotonic clock."""

    sessions: int = 0
    failures: int = 0
    """sessions failed since the last that ended well"""
    in_step_at: float | None = None
    last_error: str = ""
    changes_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


@dataclass(slots=True)
class Link:
    """An authenticated connection in use."""

    id: LinkId
    node: NodeId
    via: Target | None
    since: float
    syncing: bool = False
    sync_at: float | None = None
    synced_at: float = 0.0
    status: SyncStatus = field(default_factory=SyncStatus)


class Core:
    """See the module. ``interval_s`` is that of periodic anti-entropy with one random peer."""

    def __init__(self, own: NodeId, book: PeerBook, rng: Random, interval_s: float) -> None:
        self.own = own
        self.book = book
        self.links: dict[LinkId, Link] = {}
        self.status: dict[NodeId, SyncStatus] = {}
        self.parted: set[NodeId] = set()
        """nodes the user wants no connection with for now"""
        self.banned: dict[NodeId, float] = {}
        """nodes that broke the protocol, and until when they are shut out"""
        self._rng = rng
        self._interval_s = interval_s
        self._round_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event and return what follows from it, dials and sessions that fall due included."""
        return [*self._react(event, now), *self._due(now)]

    def next_timer(self) -> float | None:
        """Return when to come back with `Ticked`, None when nothing is planned."""
        moments = [link.sync_at for link in self.links.values() if link.sync_at is not None and not link.syncing]
        moments += self.banned.values()
        moments += [moment for moment in (self._round_at, self.book.next_due(self._settled())) if moment is not None]
        return min(moments, default=None)

    def connected(self) -> set[NodeId]:
        """Return the nodes there is a link with."""
        return {link.node for link in self.links.values()}

    def _settled(self) -> set[NodeId]:
        """The nodes not to be dialled: those connected, parted from or banned."""
        return self.connected() | self.parted | set(self.banned)

    def link_to(self, node: NodeId) -> Link | None:
        """Return the link with a node."""
        return next((link for link in self.links.values() if link.node == node), None)

    def _react(self, event: Event, now: float) -> Iterable[Effect]:
        match event:
            case events.Sighted():
                self.book.sighted(event.target, now)
            case events.Connected():
                return self._on_connected(event, now)
            case events.Lost():
                self._on_lost(event, now)
            case events.DialFailed():
                if event.pointless:
                    self.book.forget(event.target)
                else:
                    self.book.failed(event.target, now, event.reason)
            case events.Written():
                return [events.Push(tuple(self.links), event.frames)] if self.links else []
            case events.Learned():
                self._offer_on(event.source, now)
            case events.Overflowed() if event.link in self.links:
                self._want(self.links[event.link], now)
            case events.SyncEnded() if event.link in self.links:
                self._on_sync_ended(self.links[event.link], event.report, event.error, now)
            case events.PartingAsked():
                return self._on_parting_asked(event.node)
            case events.MeetingAsked():
                self.parted.discard(event.node)
                self.book.hurry(event.node, now)
            case events.SyncAsked():
                if (asked := self.link_to(event.node)) is not None:
                    self._want(asked, now)
        return []

    def _on_parting_asked(self, node: NodeId) -> list[Effect]:
        self.parted.add(node)
        return [self._part(link.id) for link in self.links.values() if link.node == node]

    def _part(self, link: LinkId) -> Effect:
        return events.Close(link, Fault.PARTED, "disconnected by the user there, until they connect again")

    def _on_connected(self, event: events.Connected, now: float) -> list[Effect]:
        shut_out = event.node in self.parted or self.banned.get(event.node, now) > now
        if shut_out and event.via is not None:
            self.book.failed(event.via, now, "not wanted now")
        if event.node in self.parted:
            return [self._part(event.link)]
        if shut_out:
            return [events.Close(event.link, Fault.BANNED, "this node broke the protocol: wait some minutes")]
        self.book.connected(event.node, now, event.via)
        effects: list[Effect] = []
        rival = self.link_to(event.node)
        if rival is not None:
            stays = self._survivor(rival, event, now)
            if stays is rival:
                return [events.Close(event.link, Fault.DUPLICATE, "another connection with this node stays")]
            if stays is event or self._crowded(event.node):
                del self.links[rival.id]
                effects.append(events.Close(rival.id, Fault.DUPLICATE, "another connection with this node stays"))
        status = self.status.setdefault(event.node, SyncStatus())
        link = self.links[event.link] = Link(event.link, event.node, event.via, now, status=status)
        if event.via is not None:
            self._want(link, now)
        if self._round_at is None:
            self._round_at = now + self._interval_s
        return [*effects, events.Introduce(event.link)]

    def _crowded(self, node: NodeId) -> bool:
        """Tell whether the node has as many links already as racing dials of an honest one make."""
        return sum(link.node == node for link in self.links.values()) >= LINKS_PER_NODE_MAX

    def _survivor(self, rival: Link, event: events.Connected, now: float) -> Link | events.Connected | None:
        """Of two connections with one peer, choose as the other side will; None leaves the choice to it.

        An old rival gives way: who dials again has lost it. When both dialled, the connection dialled by the
        smaller id stays. When one side dialled twice (two addresses of the other), that side closes the later.
        """
        if now - rival.since >= GLARE_S:
            return event
        own_new, own_old = event.via is not None, rival.via is not None
        if own_new == own_old:
            return rival if own_new else None
        return event if own_new == (self.own < event.node) else rival

    def _on_lost(self, event: events.Lost, now: float) -> None:
        link = self.links.pop(event.link, None)
        if link is not None and event.blamed:
            self.banned[link.node] = now + BAN_S
        if link is not None and self.link_to(link.node) is None:
            self.book.lost(link.node, now, event.reason)

    def _on_sync_ended(self, link: Link, report: Report | None, error: str, now: float) -> None:
        link.syncing, link.synced_at = False, now
        if report is None:
            if error:
                delay_s = min(RETRY_CEILING_S, RETRY_S * 2.0 ** min(link.status.failures, 10))
                link.status.failures += 1
                link.status.last_error = error
                self._want(link, now + delay_s)
            return
        link.status.sessions += 1
        link.status.failures = 0
        link.status.in_step_at, link.status.last_error = now, report.refused
        link.status.changes_received += report.changes_received
        link.status.bytes_received += report.bytes_received
        link.status.bytes_sent += report.bytes_sent
        if report.changes_received or report.entries_received:
            self._offer_on(link.id, now)

    def _offer_on(self, source: LinkId | None, now: float) -> None:
        """Plan sessions with all peers but the one something came from."""
        for link in self.links.values():
            if link.id != source:
                self._want(link, max(now + RELAY_DELAY_S, link.synced_at + RELAY_PAUSE_S))

    def _want(self, link: Link, at: float) -> None:
        link.sync_at = at if link.sync_at is None else min(link.sync_at, at)

    def _due(self, now: float) -> Iterable[Effect]:
        self.banned = {node: until for node, until in self.banned.items() if until > now}
        if self._round_at is not None and self._round_at <= now:
            self._round_at = now + self._interval_s if self.links else None
            if self.links:
                self._want(self._rng.choice(sorted(self.links.values(), key=lambda link: link.id)), now)
        for link in self.links.values():
            if link.sync_at is not None and link.sync_at <= now and not link.syncing:
                link.sync_at, link.syncing = None, True
                yield events.Synchronise(link.id)
        for target in self.book.due(now, self._settled()):
            yield events.Dial(target)
