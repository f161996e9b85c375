"""How connections come about and end: dialled or welcomed, authenticated, served, each inside a boundary of its own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from cis.errors import CisError, Denied, Fault, PeerFault
from cis.model import Candidate, NodeId
from cis.net import Connection, ConnectionLost, Endpoint
from cis.node.core import events
from cis.node.core.dialling import UNWANTED_PAUSE_S
from cis.node.core.events import LinkId
from cis.node.entry.appeals import Appeals
from cis.node.entry.greeting import NO_KEY_FITS, first_frame, reach_by, welcome
from cis.node.entry.joining import serve_join
from cis.node.entry.pairing import Desk
from cis.node.entry.quarantine import Quarantine
from cis.node.finding.contacts import Contacts
from cis.node.finding.finder import Finder, Problems, place_of
from cis.node.finding.records import targets_in
from cis.node.home.local import LocalNode
from cis.node.home.recording import TOLD_OF_REMOVAL
from cis.node.paths.trying import Try, Trying
from cis.node.streams.links import PeerLink, Surroundings
from cis.node.streams.paces import Tally
from cis.peers import Target
from cis.peers.peer import ICE
from cis.trust import KeyUsed
from cis.trust.acl import REFUSAL, Access, Mode
from cis.trust.records import read_record

if TYPE_CHECKING:
    from cis.node.paths.outreach import Outreach

_log = logging.getLogger(__name__)

_BLAMED = frozenset({Fault.MALFORMED, Fault.TOO_LARGE, Fault.BAD_SIGNATURE, Fault.BAD_HASH})
"""What only a peer that breaks the protocol is closed on for; UNAUTHORISED is also what removing a member ends with."""
_UNWANTED = frozenset({Fault.NONE, Fault.BANNED, Fault.PARTED, Fault.UNAUTHORISED})
"""What a peer closes a connection for that it does not want for now."""
REMOVED = "this node was removed from the cluster: ask an admin (`cis acl show` there)"
REMOVED_BY = "removed from the cluster by "
"""How a connection with a member begins to say why it is closed when that member was removed."""
_REFUSING = frozenset({Fault.UNAUTHORISED, Fault.NOT_MEMBER})
"""What a peer gives as its reason that wants no connection with this node until somebody there decides otherwise."""
NO_KEY_PAUSE_S = 30.0
RECORDS_TOLD_ON_MAX = 32
"""Members up to which new records are told on to all links at once; in larger clusters shuffles bring them."""
TELL_ON_S = 10.0
"""How long a peer may take to let a record be told; it is told again when there is a newer one."""


@dataclass(frozen=True)
class Around:
    """What meeting others needs of the node."""

    report: Callable[[events.Event], None]
    spawn: Callable[[Coroutine[None, None, None]], None]
    candidates: Callable[[], tuple[Candidate, ...]]


class Meeting:
    """Belongs to the loop's thread; ``endpoint`` is set once it is open, ``outreach`` before that."""

    def __init__(self, local: LocalNode, around: Around) -> None:
        self.links: dict[LinkId, PeerLink] = {}
        self.skews_ms: dict[NodeId, int] = {}
        self.problems = Problems()
        self.tally = Tally()
        self.finder = Finder(local, around.report, self.problems, around.candidates)
        self.finder.connected = lambda: frozenset(link.node for link in self.links.values())
        self.quarantine = Quarantine()
        self.desk = Desk(local, lambda: [(one.host, one.port) for one in around.candidates()], self._on_joined)
        self.trying = Trying()
        self.endpoint: Endpoint
        self.outreach: Outreach
        self._local = local
        self._around = around
        self._contacts = Contacts(local.cluster, local.clock_ms, self.finder.records.held)
        self._appeals = Appeals(local, time.monotonic)
        self._numbers = itertools.count(1)

    async def dial(self, target: Target) -> None:
        """Try to reach a target, and report what came of it."""
        with self.trying.at(target.node, place_of(target)) as one:
            one.outcome = await self._dial(target, one)

    async def _dial(self, target: Target, one: Try) -> str:
        """Try to reach a target, report what came of it, and say it in a word."""
        try:
            await self._connect(target, one)
        except PeerFault as fault:
            pointless = fault.fault is Fault.SELF
            pause_s = NO_KEY_PAUSE_S if fault.detail == NO_KEY_FITS else _pause_s(fault.fault)
            self._around.report(events.DialFailed(target, fault.detail, pointless, pause_s))
            if not pointless and fault.fault is not Fault.DUPLICATE:  # it was reached, and by a better way
                self.problems.note(place_of(target), fault.detail, target.node)
            if fault.fault is Fault.UNAUTHORISED and fault.detail == REMOVED and target.node is not None:
                self._local.record(TOLD_OF_REMOVAL, target.node, "this node was removed from the cluster")
            return fault.detail
        except ConnectionLost as lost:
            self._around.report(events.DialFailed(target, str(lost.reason)))
            if lost.reason.fault is not Fault.DUPLICATE:
                self.problems.note(place_of(target), str(lost.reason), target.node)
            return str(lost.reason)
        except CisError as error:
            self._around.report(events.DialFailed(target, str(error)))
            return str(error)
        return "connected"

    async def connect(self, target: Target) -> NodeId:
        """Dial a target and return who answered; raises what went wrong."""
        with self.trying.at(None, "") as one:
            return await self._connect(target, one)

    async def _connect(self, target: Target, one: Try) -> NodeId:
        cluster = self._local.cluster
        solitary = cluster.acl.mode is Mode.SOLITARY
        if solitary or (target.node is not None and cluster.verdict(target.node).access is Access.REFUSE):
            why = "the mode is solitary" if target.node is None else cluster.verdict(target.node).why
            raise Denied(f"the access list of this node does not admit a connection there: {why}")
        if target.source == ICE and target.node is not None:
            async with self.outreach.way_to(target.node) as way:
                node, connection = await reach_by(partial(one.through, way.dial), self._local, target.node)
                way.keep(connection)
        else:
            dial = partial(self.endpoint.dial, target.host, target.port)
            node, connection = await reach_by(partial(one.through, dial), self._local, target.node)
        self._adopt(connection, node, target)
        return node

    async def welcome(self, connection: Connection) -> None:
        """Let whoever connected prove itself, and serve it or let it join."""
        begun = None
        try:
            if self.desk.waits:
                begun = await first_frame(connection)
                if self.desk.takes(begun[1]):
                    await self.desk.serve(connection, *begun)
                    return
            if self._local.cluster.acl.mode is Mode.SOLITARY:
                raise PeerFault(Fault.REFUSED, "the mode is solitary: nobody is let in")
            outcome = await welcome(self._local, connection, begun)
            if outcome.key_used is KeyUsed.TICKET and outcome.ticket_id is not None:
                name = await serve_join(self._local, connection, outcome.node, outcome.ticket_id)
                _log.info("%s joined the cluster", name)
                self._on_joined(outcome.node)
            else:
                self._adopt(connection, outcome.node, None)
        except PeerFault as fault:
            self.tally[f"handshake_{fault.fault.name.lower()}"] += 1
            if fault.fault is Fault.NONE:  # the dial was given up: it has another connection, or none to make
                return
            if not isinstance(fault, TurnedAway):
                self._local.record("refused", None, fault.detail)
            if fault.fault is not Fault.SELF:  # homes share addresses: a member's own may be this node's too
                self.problems.note("an incoming connection", fault.detail)
            connection.close(fault.fault, fault.detail if outcome_known(fault) else "")
        except (CisError, TimeoutError) as error:
            self.tally["handshake_broken_off"] += 1
            self.problems.note("an incoming connection", str(error))
            connection.close(Fault.REFUSED, "")

    def _on_joined(self, node: NodeId) -> None:
        self._local.record("joined", node, self._local.cluster.name_of(node))

    async def introduce(self, link: PeerLink) -> None:
        """Tell a peer the records known here, and ask it for its clock."""
        try:
            await link.introduce(self.finder.records.to_send(self._around.candidates()))
            _, clock_ms = await link.ping()
            self.skews_ms[link.node] = clock_ms - self._local.clock_ms()
        except (CisError, TimeoutError):
            _log.debug("a peer could not be introduced to", exc_info=True)

    def own_record(self) -> bytes:
        """Return this node's record as of now."""
        return self.finder.records.own(self._around.candidates())

    def tell_record(self) -> None:
        """Tell the peers this node's record, as it is another than before."""
        for link in self.links.values():
            self._around.spawn(_tell_on(link, self.own_record()))

    def targets_of(self, node: NodeId, raw: bytes) -> tuple[Target, ...]:
        """Return where the record of a gossip contact says its node is; the record was verified on arrival."""
        record = read_record(raw)
        return targets_in(record, self.endpoint.address) if record.node == node else ()

    def _adopt(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        """Begin to serve a connection, unless this node wants none with that member; `PeerFault` then."""
        connection.ledger.identify(node)
        verdict = self._local.cluster.verdict(node)
        if self._local.cluster.membership.revoked(node):
            if via is None and self._appeals.may_be_heard(node):
                self._around.spawn(self._hear_out(connection, node))
                return
            self._turn_away(connection, node, "it was removed from the cluster", REMOVED)
        if verdict.access is Access.REFUSE:
            self._turn_away(connection, node, verdict.why, REFUSAL)
        if verdict.access is Access.QUARANTINE:
            self._local.record("quarantined", node, verdict.why)
            self._around.spawn(self._isolate(connection, node, via))
            return
        self._local.record("admitted", node, verdict.why)
        self._take_up(connection, node, via)

    def _turn_away(self, connection: Connection, node: NodeId, why: str, told: str) -> NoReturn:
        self._local.record("refused", node, why)
        connection.close(Fault.UNAUTHORISED, told)
        raise TurnedAway(Fault.UNAUTHORISED, why)

    async def _hear_out(self, connection: Connection, node: NodeId) -> None:
        """Let a removed admin show what it decided; it is let in only when it comes again."""
        restored = await self._appeals.hear(connection, node)
        self._local.record("heard", node, "a member again by what it showed" if restored else "it stays removed")
        if restored:
            connection.close(Fault.SHUTDOWN, "what this node showed makes it a member again: it may connect")
        else:
            connection.close(Fault.UNAUTHORISED, REMOVED)

    async def _isolate(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        """Keep a connection without using it; what was dialled is not dialled again until it ends."""
        ended = await self.quarantine.hold(connection, node)
        if via is not None:
            self._around.report(events.DialFailed(via, f"in quarantine here, until: {ended}"))

    def _take_up(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        number = next(self._numbers)
        around = Surroundings(
            self._local,
            self._around.report,
            lambda raw: self._on_record(raw, number),
            self._contacts.vetted,
            self.outreach.signaller.serve,
            self.tally,
        )
        link = PeerLink(number, node, connection, around)
        self.links[link.id] = link
        self._around.spawn(self._serve(link))
        self.problems.settle(node, place_of(via) if via is not None else None)
        self._around.report(events.Connected(link.id, node, via, connection.path.relayed))
        self.outreach.on_connected(link)

    async def _serve(self, link: PeerLink) -> None:
        reason, blamed, unwanted, pause_s = "the node ended", False, False, 0.0
        try:
            closed = await link.serve()
            reason, blamed = str(closed), link.blamed or (not closed.by_peer and closed.fault in _BLAMED)
            if not closed.by_peer and closed.text == REFUSAL:
                reason = "this node's access list does not admit it (cis acl show)"
            if closed.by_peer and not closed.transport:
                unwanted, pause_s = closed.fault in _UNWANTED, _pause_s(closed.fault)
                if closed.fault is Fault.UNAUTHORISED and closed.text.startswith(REMOVED_BY):
                    self._local.record(TOLD_OF_REMOVAL, link.node, closed.text)
            self.tally[f"closed_{closed.fault.name.lower()}"] += blamed
        finally:
            self.links.pop(link.id, None)
            link.connection.close(Fault.INTERNAL, "internal error")  # closed already, unless serving it failed
            self._around.report(events.Lost(link.id, reason, blamed, unwanted, pause_s))

    def _on_record(self, raw: bytes, teller: LinkId) -> None:
        """Take in what a record tells; while the cluster is small, tell the others of it, once."""
        is_news = self.finder.on_record(raw, self.endpoint.address)
        if is_news and len(self._local.cluster.membership.members()) <= RECORDS_TOLD_ON_MAX:
            for link in self.links.values():
                if link.id != teller:
                    self._around.spawn(_tell_on(link, raw))


class TurnedAway(PeerFault):
    """A node that proved itself is wanted no connection with, which is on record."""


async def _tell_on(link: PeerLink, raw: bytes) -> None:
    try:
        async with asyncio.timeout(TELL_ON_S):
            await link.introduce([raw])
    except (CisError, TimeoutError):
        _log.debug("a record could not be told on", exc_info=True)


def _pause_s(fault: Fault) -> float:
    return UNWANTED_PAUSE_S if fault in _REFUSING else 0.0


def outcome_known(fault: PeerFault) -> bool:
    """Tell whether the dialler was proven when the fault arose, so that it may read why."""
    return fault.fault is not Fault.REFUSED
