"""What happens to a node (past tense) and what it decides to do (imperatives): the language of `cis.node.core`."""

from __future__ import annotations

from dataclasses import dataclass

from cis.errors import Fault
from cis.model import NodeId
from cis.peers import Target
from cis.sync import Report

LinkId = int


@dataclass(frozen=True, slots=True)
class Sighted:
    """A node may be reachable there."""

    target: Target


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection is authenticated; ``via`` is what was dialled, None when the peer dialled."""

    link: LinkId
    node: NodeId
    via: Target | None


@dataclass(frozen=True, slots=True)
class Lost:
    """An authenticated connection ended; ``blamed`` when this node closed it for breaking the protocol."""

    link: LinkId
    reason: str
    blamed: bool = False


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial came to nothing; ``pointless`` when it told nothing of the peer (we met ourselves)."""

    target: Target
    reason: str
    pointless: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """Segments written here are committed; the frames are ready to send."""

    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """Something new is committed: from the peer of a link, or a member that joined here (None). Others may lack it."""

    source: LinkId | None = None


@dataclass(frozen=True, slots=True)
class Overflowed:
    """A peer takes live changes more slowly than they come; what waited was dropped."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """A session on a link ended: with its report, or with an error (empty when it was merely superseded)."""

    link: LinkId
    report: Report | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class SyncAsked:
    """The user wants a session with a peer now."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class PartingAsked:
    """The user wants no connection with a node until asked again, or until the next start."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class MeetingAsked:
    """The user wants a connection with a node again."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


Event = (
    Sighted
    | Connected
    | Lost
    | DialFailed
    | Written
    | Learned
    | Overflowed
    | SyncEnded
    | SyncAsked
    | PartingAsked
    | MeetingAsked
    | Ticked
)


@dataclass(frozen=True, slots=True)
class Dial:
    """Try to reach a target; answer with `Connected` or `DialFailed`."""

    target: Target


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
class Push:
    """Send live segments on links, dropping them for one that is behind."""

    links: tuple[LinkId, ...]
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Introduce:
    """Send the node records known here on a link."""

    link: LinkId


Effect = Dial | Close | Synchronise | Push | Introduce
