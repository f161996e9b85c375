"""How connections come about and end: dialled or welcomed, authenticated, served, each inside a boundary of its own."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from cis.errors import CisError, Fault, PeerFault
from cis.model import Candidate, NodeId
from cis.net import Connection, ConnectionLost, Endpoint
from cis.node import events
from cis.node.contacts import Contacts
from cis.node.events import LinkId
from cis.node.finding import Finder, Problems, place_of
from cis.node.greeting import reach, welcome
from cis.node.joining import serve_join
from cis.node.links import PeerLink, Surroundings
from cis.node.local import LocalNode
from cis.node.records import targets_in
from cis.peers import Target
from cis.trust import KeyUsed
from cis.trust.records import read_record

_log = logging.getLogger(__name__)

_BLAMED = frozenset({Fault.MALFORMED, Fault.TOO_LARGE, Fault.BAD_SIGNATURE, Fault.BAD_HASH, Fault.UNAUTHORISED})
"""What only a peer that breaks the protocol is closed on for."""
_UNWANTED = frozenset({Fault.NONE, Fault.BANNED, Fault.PARTED})
"""What a peer closes a connection for that it does not want for now."""
RECORDS_TOLD_ON_MAX = 32
"""Members up to which new records are told on to all links at once; in larger clusters shuffles bring them."""


@dataclass(frozen=True)
class Around:
    """What meeting others needs of the node; ``joined`` is told of a member that joined here."""

    report: Callable[[events.Event], None]
    spawn: Callable[[Coroutine[None, None, None]], None]
    candidates: Callable[[], tuple[Candidate, ...]]
    joined: Callable[[NodeId], None]


class Meeting:
    """Belongs to the loop's thread; ``endpoint`` is set once it is open."""

    def __init__(self, local: LocalNode, around: Around) -> None:
        self.links: dict[LinkId, PeerLink] = {}
        self.skews_ms: dict[NodeId, int] = {}
        self.problems = Problems()
        self.finder = Finder(local, around.report, self.problems)
        self.endpoint: Endpoint
        self._local = local
        self._around = around
        self._contacts = Contacts(local.cluster)
        self._numbers = itertools.count(1)

    async def dial(self, target: Target) -> None:
        """Try to reach a target, and report what came of it."""
        try:
            await self.connect(target)
        except PeerFault as fault:
            pointless = fault.fault is Fault.SELF
            self._around.report(events.DialFailed(target, fault.detail, pointless))
            if not pointless:
                self.problems.note(place_of(target), fault.detail)
        except ConnectionLost as lost:
            self._around.report(events.DialFailed(target, str(lost.reason)))
            self.problems.note(place_of(target), str(lost.reason))
        except CisError as error:
            self._around.report(events.DialFailed(target, str(error)))

    async def connect(self, target: Target) -> NodeId:
        """Dial a target and return who answered; raises what went wrong."""
        node, connection = await reach(self.endpoint, self._local, target)
        self._adopt(connection, node, target)
        return node

    async def welcome(self, connection: Connection) -> None:
        """Let whoever connected prove itself, and serve it or let it join."""
        try:
            outcome = await welcome(self._local, connection)
            if outcome.key_used is KeyUsed.TICKET and outcome.ticket_id is not None:
                name = await serve_join(self._local, connection, outcome.node, outcome.ticket_id)
                _log.info("%s joined the cluster", name)
                self._around.joined(outcome.node)
            else:
                self._adopt(connection, outcome.node, None)
        except PeerFault as fault:
            self.problems.note("an incoming connection", fault.detail)
            connection.close(fault.fault, fault.detail if outcome_known(fault) else "")
        except (CisError, TimeoutError) as error:
            self.problems.note("an incoming connection", str(error))
            connection.close(Fault.REFUSED, "")

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

    def targets_of(self, node: NodeId, raw: bytes) -> tuple[Target, ...]:
        """Return where the record of a gossip contact says its node is; the record was verified on arrival."""
        record = read_record(raw)
        return targets_in(record, self.endpoint.address) if record.node == node else ()

    def _adopt(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        number = next(self._numbers)
        around = Surroundings(
            self._local, self._around.report, lambda raw: self._on_record(raw, number), self._contacts.vetted
        )
        link = PeerLink(number, node, connection, around)
        self.links[link.id] = link
        self._around.spawn(self._serve(link))
        if via is not None:
            self.problems.pop(place_of(via), None)
        self._around.report(events.Connected(link.id, node, via))

    async def _serve(self, link: PeerLink) -> None:
        reason, blamed, unwanted = "the node ended", False, False
        try:
            closed = await link.serve()
            reason, blamed = str(closed), not closed.by_peer and closed.fault in _BLAMED
            unwanted = closed.by_peer and not closed.transport and closed.fault in _UNWANTED
        finally:
            self.links.pop(link.id, None)
            link.connection.close(Fault.INTERNAL, "internal error")  # closed already, unless serving it failed
            self._around.report(events.Lost(link.id, reason, blamed, unwanted))

    def _on_record(self, raw: bytes, teller: LinkId) -> None:
        """Take in what a record tells; while the cluster is small, tell the others of it, once."""
        is_news = self.finder.on_record(raw, self.endpoint.address)
        if is_news and len(self._local.cluster.membership.members()) <= RECORDS_TOLD_ON_MAX:
            for link in self.links.values():
                if link.id != teller:
                    self._around.spawn(self._tell_on(link, raw))

    async def _tell_on(self, link: PeerLink, raw: bytes) -> None:
        try:
            await link.introduce([raw])
        except CisError:
            _log.debug("a record could not be told on", exc_info=True)


def outcome_known(fault: PeerFault) -> bool:
    """Tell whether the dialler was proven when the fault arose, so that it may read why."""
    return fault.fault is not Fault.REFUSED
