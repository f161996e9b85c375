"""What happens to a node (past tense) and what it decides to do (imperatives): the language of `cis.node.core.core`.

Structs of msgspec: so many frozen dataclasses take 20 ms to define, at every start.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cis.errors import Fault
from cis.model import NodeId, SpaceId, VersionVector
from cis.peers import Peer, Target
from cis.sync import Report
from cis.wire.gossip import GossipMessage

LinkId = int


class Sighted(msgspec.Struct, frozen=True):
    """A node may be reachable there; ``pinned`` when the user said so and wants a connection with it kept.

    ``age_s`` is how long ago that was known.
    """

    target: Target
    pinned: bool = False
    age_s: float = 0.0


class Recalled(msgspec.Struct, frozen=True):
    """An earlier run of this node wrote down what it knew of a peer; moments in it are by the clock of this run."""

    peer: Peer


class Recorded(msgspec.Struct, frozen=True):
    """A member's signed record was verified and is newer than any before; its addresses may be dialled."""

    node: NodeId
    record: bytes
    targets: tuple[Target, ...]


class Connected(msgspec.Struct, frozen=True):
    """A connection is authenticated; ``via`` is what was dialled, None when the peer dialled."""

    link: LinkId
    node: NodeId
    via: Target | None
    relayed: bool = False


class Measured(msgspec.Struct, frozen=True):
    """A connection stands: what it runs on, the peer's end of it, and its round trip, None where it is not known."""

    link: LinkId
    kind: str
    place: tuple[str, int]
    rtt_s: float | None


class Moved(msgspec.Struct, frozen=True):
    """A connection runs on another path than before."""

    link: LinkId
    relayed: bool


class Suspected(msgspec.Struct, frozen=True):
    """What was sent on a link has gone unanswered, or no longer is (``suspect``).

    ``redial`` when nothing but another connection can mend it.
    """

    link: LinkId
    suspect: bool
    redial: bool = False


class WaysChanged(msgspec.Struct, frozen=True):
    """Nodes may be in reach that were not: the network of this machine changed, or there are others to signal by."""


class Lost(msgspec.Struct, frozen=True):
    """An authenticated connection ended; ``blamed`` when this node closed it for breaking the protocol.

    ``unwanted`` when the peer closed it because it wants none with this node for now; ``pause_s`` is for how long it is
    then not dialled, whoever but the user asks for it.
    """

    link: LinkId
    reason: str
    blamed: bool = False
    unwanted: bool = False
    pause_s: float = 0.0


class DialFailed(msgspec.Struct, frozen=True):
    """A dial came to nothing; ``pointless`` when it told nothing of the peer (we met ourselves).

    ``pause_s`` is for how long the peer, which refused, is not dialled, whoever but the user asks for it.
    """

    target: Target
    reason: str
    pointless: bool = False
    pause_s: float = 0.0


class Written(msgspec.Struct, frozen=True):
    """Segments written here are committed; their frames are ready to be told to all members."""

    frames: tuple[bytes, ...]


class Learned(msgspec.Struct, frozen=True):
    """Something new is committed: from the peer of a link, or a member that joined here (None). Others may lack it."""

    source: LinkId | None = None


class GossipReceived(msgspec.Struct, frozen=True):
    """A gossip message came over a link, its records verified."""

    link: LinkId
    message: GossipMessage


class Examined(msgspec.Struct, frozen=True):
    """What `Examine` asked for is done: the body is sound, and committed where it is a change.

    ``gap`` when it shows that more is missing here: what comes before it, or what its author's right rests on.
    """

    id: bytes
    sound: bool
    gap: bool = False


class TopicAsked(msgspec.Struct, frozen=True):
    """A bulletin made here is to be told to all members."""

    body: bytes


class Missed(msgspec.Struct, frozen=True):
    """Changes that came over a link were more than their author may tell live: a session is to bring them."""

    link: LinkId


class Overflowed(msgspec.Struct, frozen=True):
    """A peer takes gossip more slowly than it comes; what waited was dropped."""

    link: LinkId


class SyncEnded(msgspec.Struct, frozen=True):
    """A session on a link ended: with its report, or with an error (empty when it was merely superseded)."""

    link: LinkId
    report: Report | None
    error: str = ""


class Stated(msgspec.Struct, frozen=True):
    """A peer stated what it holds, by space."""

    link: LinkId
    vectors: Mapping[SpaceId, VersionVector]


class Compared(msgspec.Struct, frozen=True):
    """The comparison of whole states on a link ended, or came to nothing (``error``)."""

    link: LinkId
    error: str = ""


class Served(msgspec.Struct, frozen=True):
    """A session or an audit the peer or the user asked for began on a link, or ended."""

    link: LinkId
    begun: bool


class SyncAsked(msgspec.Struct, frozen=True):
    """The user wants a session with a peer now."""

    node: NodeId


class IntervalChanged(msgspec.Struct, frozen=True):
    """Periodic sessions are to be so far apart from now on."""

    interval_s: float


class PartingAsked(msgspec.Struct, frozen=True):
    """The user wants no connection with a node until asked again, or until the next start."""

    node: NodeId


class Removed(msgspec.Struct, frozen=True):
    """Nodes are no members any more, with what each is told of why."""

    nodes: Mapping[NodeId, str]


class Barred(msgspec.Struct, frozen=True):
    """These members are refused by the access list of this node, and no others are from now on."""

    nodes: frozenset[NodeId]
    reason: str


class SpaceStirred(msgspec.Struct, frozen=True):
    """In a space that not all members share there is more to give (``ours``), or something is missing here."""

    space: SpaceId
    ours: bool = False


class MeetingAsked(msgspec.Struct, frozen=True):
    """The user wants a connection with a node, and wants it kept."""

    node: NodeId


class Stopping(msgspec.Struct, frozen=True):
    """This node is about to end: neighbours are told."""


class Ticked(msgspec.Struct, frozen=True):
    """Time passed."""


Event = (
    Sighted
    | Recalled
    | Recorded
    | Connected
    | Measured
    | Moved
    | Suspected
    | WaysChanged
    | Lost
    | DialFailed
    | Written
    | Learned
    | GossipReceived
    | Examined
    | TopicAsked
    | Missed
    | Overflowed
    | SyncEnded
    | Compared
    | Stated
    | Served
    | SyncAsked
    | IntervalChanged
    | PartingAsked
    | Removed
    | Barred
    | SpaceStirred
    | MeetingAsked
    | Stopping
    | Ticked
)


class Dial(msgspec.Struct, frozen=True):
    """Try to reach a target; answer with `Connected` or `DialFailed`."""

    target: Target


class GiveUp(msgspec.Struct, frozen=True):
    """Let be whatever other attempts at a node are under way: there is a connection. Answer with nothing."""

    node: NodeId


class Close(msgspec.Struct, frozen=True):
    """Close a link with a reason its other side's user can read."""

    link: LinkId
    fault: Fault
    reason: str


class Synchronise(msgspec.Struct, frozen=True):
    """Open a session on a link; answer with `SyncEnded`."""

    link: LinkId


class GossipSend(msgspec.Struct, frozen=True):
    """Send a gossip message on a link, after those before it; answer with `Overflowed` where too many wait."""

    link: LinkId
    message: GossipMessage


class Examine(msgspec.Struct, frozen=True):
    """Verify a body that came by gossip over a link: commit a segment, open a bulletin. Answer with `Examined`."""

    link: LinkId
    id: bytes
    body: bytes


class Compare(msgspec.Struct, frozen=True):
    """Compare whole states with the peer of a link, as history was collected; answer with `Compared`."""

    link: LinkId


class Introduce(msgspec.Struct, frozen=True):
    """Send the node records known here on a link."""

    link: LinkId


Effect = Dial | GiveUp | Close | Synchronise | Compare | GossipSend | Examine | Introduce
