"""What happens to gossip (past tense) and what it decides to do (imperatives).

Time is given with every event; timers are data: `SetTimer` asks for a `TimerExpired` with the same name, and a
second `SetTimer` of one name is a second timer.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from cis.model import NodeId
from cis.wire.gossip import GossipMessage


class Heard(msgspec.Struct, frozen=True):
    """A member exists, and may be reachable; ``record`` is its signed record, empty where only the id is known.

    This is news: a node that could not be reached is tried again at once.
    """

    node: NodeId
    record: bytes = b""


class Sought(msgspec.Struct, frozen=True):
    """This node wants a node as a neighbour that is not one of the many: it goes for the place of another."""

    node: NodeId


class Linked(msgspec.Struct, frozen=True):
    """An authenticated connection with a node is there; ``dialled`` when it was made from here."""

    node: NodeId
    dialled: bool


class Unlinked(msgspec.Struct, frozen=True):
    """The last connection with a node is gone."""

    node: NodeId


class DialFailed(msgspec.Struct, frozen=True):
    """The connection asked for by `Dial` did not come about."""

    node: NodeId


class Removed(msgspec.Struct, frozen=True):
    """A node is no member any more: it is neither spoken to nor of."""

    node: NodeId


class Received(msgspec.Struct, frozen=True):
    """A message came from a linked node, its size checked and its records verified."""

    node: NodeId
    message: GossipMessage


class Examined(msgspec.Struct, frozen=True):
    """What `Deliver` handed out was looked at: a sound message is passed on, any other is not."""

    id: bytes
    sound: bool


class BroadcastAsked(msgspec.Struct, frozen=True):
    """This node wants a body told to all members."""

    body: bytes


class LeavingAsked(msgspec.Struct, frozen=True):
    """This node is about to stop: neighbours are told."""


class TimerExpired(msgspec.Struct, frozen=True):
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


class Send(msgspec.Struct, frozen=True):
    """Send a message to a linked node."""

    node: NodeId
    message: GossipMessage


class Dial(msgspec.Struct, frozen=True):
    """Connect to a node; answer with `Linked` or `DialFailed`."""

    node: NodeId
    record: bytes


class Release(msgspec.Struct, frozen=True):
    """Gossip needs the connection with this node no longer."""

    node: NodeId


class SetTimer(msgspec.Struct, frozen=True):
    """Say `TimerExpired` after so long."""

    delay_s: float
    timer: Hashable


class Deliver(msgspec.Struct, frozen=True):
    """A message not seen before, from a neighbour; answer with `Examined`, before which it is not passed on."""

    id: bytes
    body: bytes
    source: NodeId
    hops: int


class NeighbourUp(msgspec.Struct, frozen=True):
    """A node entered the active view."""

    node: NodeId


class NeighbourDown(msgspec.Struct, frozen=True):
    """A node left the active view."""

    node: NodeId


GossipEffect = Send | Dial | Release | SetTimer | Deliver | NeighbourUp | NeighbourDown
