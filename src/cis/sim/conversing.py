"""What one life of a simulated node says to others: gossip, records, sessions and audits over its connections.

`cis.node.streams.links` and `cis.node.meeting` do the same over QUIC: whatever a peer does wrong ends its link
and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cis.errors import CisError, Fault, PeerFault
from cis.model import Candidate, NodeId
from cis.node.core import events
from cis.node.finding.contacts import Contacts
from cis.node.finding.records import RecordShelf, targets_in
from cis.node.streams.links import BLAMELESS
from cis.peers import Target
from cis.sim.exchanges import Exchanges
from cis.sim.wires import GOSSIP, RECORDS, End
from cis.trust.records import read_record
from cis.wire.gossip import GossipMessage
from cis.wire.messages import Records, decode, encode, is_segment

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode
    from cis.sim.node import SimNode

BLAMED = frozenset({Fault.MALFORMED, Fault.TOO_LARGE, Fault.BAD_SIGNATURE, Fault.BAD_HASH, Fault.UNAUTHORISED})
RECORDS_TOLD_ON_MAX = 32


class Conversation:
    """Serves the connections of a node until it crashes."""

    def __init__(self, node: SimNode) -> None:
        self.number = node.number
        self.ends: dict[events.LinkId, End] = {}
        self._node = node
        self._shelf = RecordShelf(cast("LocalNode", node))  # what it needs of one is there
        self._contacts = Contacts(node.cluster, node.clock_ms, self._shelf.held)
        self._numbers = 0
        self.exchanges = Exchanges(node, self)

    # --- links -----------------------------------------------------------------------------------------------------

    def fresh_number(self) -> int:
        """Return a number no link or stream of this node has."""
        self._numbers += 1
        return self._numbers

    def adopt(self, end: End, via: Target | None) -> None:
        """A connection is authenticated."""
        self.ends[end.link] = end
        self._node.report(events.Connected(end.link, self.node_at(end), via))

    def node_at(self, end: End) -> NodeId:
        """Return who is at the other side."""
        return self._node.world.members.identities[end.peer.party.number].node

    def close(self, link: events.LinkId, fault: Fault, reason: str, *, blamed: bool = False) -> None:
        """End a connection with a reason; ``blamed`` where the peer is at fault."""
        end = self.ends.get(link)
        if end is not None:
            end.close(fault, reason, blamed=blamed)

    def blame(self, end: End, error: CisError) -> None:
        """End a connection for a fault of the peer's; other errors leave it."""
        if isinstance(error, PeerFault) and error.fault not in BLAMELESS:
            self.close(end.link, error.fault, error.detail, blamed=error.fault in BLAMED)

    def vanish(self) -> None:
        """The node is gone without a word."""
        self.exchanges.drop()
        for end in self.ends.values():
            end.vanish()

    def on_lost(self, end: End, reason: str, *, blamed: bool, unwanted: bool) -> None:
        """A connection ended."""
        if self.ends.pop(end.link, None) is None:
            return
        self.exchanges.drop(end.link)
        if blamed:
            self._node.world.blamed(self._node, end.peer.party.number, reason)
        self._node.report(events.Lost(end.link, reason, blamed, unwanted))

    # --- gossip and records ----------------------------------------------------------------------------------------

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Where this node is reached."""
        return (Candidate(*address_of(self.number), "direct"),)

    def own_record(self) -> bytes:
        """Return the node's signed record."""
        return self._shelf.own(self.candidates)

    def targets_of(self, node: NodeId, raw: bytes) -> tuple[Target, ...]:
        """Return where a record says its node is."""
        record = read_record(raw)
        return targets_in(record, address_of(self.number)) if record.node == node else ()

    def introduce(self, link: events.LinkId) -> None:
        """Tell a peer the records known here."""
        self.ends[link].send(RECORDS, encode(Records(self._shelf.to_send(self.candidates))))

    def on_reset(self, end: End, stream: int) -> None:
        """The other side gave a session or audit up."""
        self.exchanges.on_reset(end, stream)

    def on_frame(self, end: End, stream: int, frame: bytes) -> None:
        """A frame arrived: of gossip, with records, or of a session or audit."""
        try:
            if stream == GOSSIP:
                self._on_gossip(end, decode(frame))
            elif stream == RECORDS:
                self._on_records(end, decode(frame))
            elif (run := self.exchanges.find(end, stream)) is not None:
                run.take(frame)
            elif (stream % 2 == 0) == (end is end.wire.ends[1]) and not is_segment(frame):
                self.exchanges.open(end, stream, decode(frame))
        except PeerFault as fault:
            self.blame(end, fault)

    def _on_gossip(self, end: End, message: object) -> None:
        if not isinstance(message, GossipMessage):
            raise PeerFault(Fault.MALFORMED, "a gossip stream carries gossip alone")
        vetted = self._contacts.vetted(message)
        if vetted is not None:
            self._node.report(events.GossipReceived(end.link, vetted))

    def _on_records(self, end: End, message: object) -> None:
        """Take in what records tell, and tell the others of it, once."""
        if not isinstance(message, Records):
            raise PeerFault(Fault.MALFORMED, "a records stream carries records alone")
        for raw in message.records:
            recorded = self._shelf.take(raw, address_of(self.number))
            if recorded is None:
                continue
            self._node.report(recorded)
            if len(self._node.cluster.membership.members()) <= RECORDS_TOLD_ON_MAX:
                for link, other in sorted(self.ends.items()):
                    if link != end.link:
                        other.send(RECORDS, encode(Records([raw])))


def address_of(number: int) -> tuple[str, int]:
    """Return where a member is reached."""
    return f"10.0.{number >> 8}.{number & 255}", 7677


def number_at(host: str) -> int:
    """Return the member that is reached at an address."""
    *_, high, low = host.split(".")
    return int(high) << 8 | int(low)
