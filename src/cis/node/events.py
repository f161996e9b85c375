"""What happens to a node (past tense) and what it decides to do (imperatives): the language of `cis.node.core`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cis.errors import Fault
from cis.model import NodeId, SpaceId, VersionVector
from cis.peers import Peer, Target
from cis.sync import Report
from cis.wire.gossip import GossipMessage

LinkId = int


@dataclass(frozen=True, slots=True)
class Sighted:
    """A node may be reachable there; ``pinned`` when the user said so and wants a connection with it kept.

    ``age_s`` is how long ago that was known.
    """

    target: Target
    pinned: bool = False
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Recalled:
    """An earlier run of this node wrote down what it knew of a peer; moments in it are by the clock of this run."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Recorded:
    """A member's signed record was verified and is newer than any before; its addresses may be dialled."""

    node: NodeId
    record: bytes
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection is authenticated; ``via`` is what was dialled, None when the peer dialled."""

    link: LinkId
    node: NodeId
    via: Target | None
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A connection stands: what it runs on, the peer's end of it, and its round trip, None where it is not known."""

    link: LinkId
    kind: str
    place: tuple[str, int]
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A connection runs on another path than before."""

    link: LinkId
    relayed: bool


@dataclass(frozen=True, slots=True)
class Suspected:
    """What was sent on a link has gone unanswered, or no longer is (``suspect``).

    ``redial`` when nothing but another connection can mend it.
    """

    link: LinkId
    suspect: bool
    redial: bool = False


@dataclass(frozen=True, slots=True)
class WaysChanged:
    """Nodes may be in reach that were not: the network of this machine changed, or there are others to signal by."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An authenticated connection ended; ``blamed`` when this node closed it for breaking the protocol.

    ``unwanted`` when the peer closed it because it wants none with this node for now; ``pause_s`` is for how long it is
    then not dialled, whoever but the user asks for it.
    """

    link: LinkId
    reason: str
    blamed: bool = False
    unwanted: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial came to nothing; ``pointless`` when it told nothing of the peer (we met ourselves).

    ``pause_s`` is for how long the peer, which refused, is not dialled, whoever but the user asks for it.
    """

    target: Target
    reason: str
    pointless: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Written:
    """Segments written here are committed; their frames are ready to be told to all members."""

    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """Something new is committed: from the peer of a link, or a member that joined here (None). Others may lack it."""

    source: LinkId | None = None


@dataclass(frozen=True, slots=True)
class GossipReceived:
    """A gossip message came over a link, its records verified."""

    link: LinkId
    message: GossipMessage


@dataclass(frozen=True, slots=True)
class Examined:
    """What `Examine` asked for is done: the body is sound, and committed where it is a change.

    ``gap`` when it shows that more is missing here: what comes before it, or what its author's right rests on.
    """

    id: bytes
    sound: bool
    gap: bool = False


@dataclass(frozen=True, slots=True)
class TopicAsked:
    """A bulletin made here is to be told to all members."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Missed:
    """Changes that came over a link were more than their author may tell live: a session is to bring them."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Overflowed:
    """A peer takes gossip more slowly than it comes; what waited was dropped."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """A session on a link ended: with its report, or with an error (empty when it was merely superseded)."""

    link: LinkId
    report: Report | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Stated:
    """A peer stated what it holds, by space."""

    link: LinkId
    vectors: Mapping[SpaceId, VersionVector]


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparison of whole states on a link ended, or came to nothing (``error``)."""

    link: LinkId
    error: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A session or an audit the peer or the user asked for began on a link, or ended."""

    link: LinkId
    begun: bool


@dataclass(frozen=True, slots=True)
class SyncAsked:
    """The user wants a session with a peer now."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class IntervalChanged:
    """Periodic sessions are to be so far apart from now on."""

    interval_s: float


@dataclass(frozen=True, slots=True)
class PartingAsked:
    """The user wants no connection with a node until asked again, or until the next start."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Removed:
    """Nodes are no members any more, with what each is told of why."""

    nodes: Mapping[NodeId, str]


@dataclass(frozen=True, slots=True)
class Barred:
    """These members are refused by the access list of this node, and no others are from now on."""

    nodes: frozenset[NodeId]
    reason: str


@dataclass(frozen=True, slots=True)
class SpaceStirred:
    """In a space that not all members share there is more to give (``ours``), or something is missing here."""

    space: SpaceId
    ours: bool = False


@dataclass(frozen=True, slots=True)
class MeetingAsked:
    """The user wants a connection with a node, and wants it kept."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Stopping:
    """This node is about to end: neighbours are told."""


@dataclass(frozen=True, slots=True)
class Ticked:
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


@dataclass(frozen=True, slots=True)
class Dial:
    """Try to reach a target; answer with `Connected` or `DialFailed`."""

    target: Target


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Let be whatever other attempts at a node are under way: there is a connection. Answer with nothing."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Close:
    """Close a link with a reason its other side's user can read."""

    link: LinkId
    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Synchronise:
    """Open a session on a link; answer with `SyncEnded`."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class GossipSend:
    """Send a gossip message on a link, after those before it; answer with `Overflowed` where too many wait."""

    link: LinkId
    message: GossipMessage


@dataclass(frozen=True, slots=True)
class Examine:
    """Verify a body that came by gossip over a link: commit a segment, open a bulletin. Answer with `Examined`."""

    link: LinkId
    id: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare whole states with the peer of a link, as history was collected; answer with `Compared`."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Introduce:
    """Send the node records known here on a link."""

    link: LinkId


Effect = Dial | GiveUp | Close | Synchronise | Compare | GossipSend | Examine | Introduce
