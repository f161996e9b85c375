"""What happens to gossip (past tense) and what it decides to do (imperatives).

Time is given with every event; timers are data: `SetTimer` asks for a `TimerExpired` with the same name, and a
second `SetTimer` of one name is a second timer.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from cis.model import NodeId
from cis.wire.gossip import GossipMessage


@dataclass(frozen=True, slots=True)
class Heard:
    """A member exists, and may be reachable; ``record`` is its signed record, empty where only the id is known.

    This is news: a node that could not be reached is tried again at once.
    """

    node: NodeId
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Sought:
    """This node wants a node as a neighbour that is not one of the many: it goes for the place of another."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Linked:
    """An authenticated connection with a node is there; ``dialled`` when it was made from here."""

    node: NodeId
    dialled: bool


@dataclass(frozen=True, slots=True)
class Unlinked:
    """The last connection with a node is gone."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class DialFailed:
    """The connection asked for by `Dial` did not come about."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Removed:
    """A node is no member any more: it is neither spoken to nor of."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Received:
    """A message came from a linked node, its size checked and its records verified."""

    node: NodeId
    message: GossipMessage


@dataclass(frozen=True, slots=True)
class Examined:
    """What `Deliver` handed out was looked at: a sound message is passed on, any other is not."""

    id: bytes
    sound: bool


@dataclass(frozen=True, slots=True)
class BroadcastAsked:
    """This node wants a body told to all members."""

    body: bytes


@dataclass(frozen=True, slots=True)
class LeavingAsked:
    """This node is about to stop: neighbours are told."""


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """The time set by `SetTimer` is up."""

    timer: Hashable


GossipEvent = (
    Heard
    | Sought
    | Linked
    | Unlinked
    | DialFailed
    | Removed
    | Received
    | Examined
    | BroadcastAsked
    | LeavingAsked
    | TimerExpired
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a linked node."""

    node: NodeId
    message: GossipMessage


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to a node; answer with `Linked` or `DialFailed`."""

    node: NodeId
    record: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """Gossip needs the connection with this node no longer."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Say `TimerExpired` after so long."""

    delay_s: float
    timer: Hashable


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message not seen before, from a neighbour; answer with `Examined`, before which it is not passed on."""

    id: bytes
    body: bytes
    source: NodeId
    hops: int


@dataclass(frozen=True, slots=True)
class NeighbourUp:
    """A node entered the active view."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class NeighbourDown:
    """A node left the active view."""

    node: NodeId


GossipEffect = Send | Dial | Release | SetTimer | Deliver | NeighbourUp | NeighbourDown
