"""Epidemic broadcast among members: HyParView keeps the overlay, Plumtree the tree over it, both sans-IO."""

from cis.gossip.config import GossipConfig, TreeConfig, ViewConfig
from cis.gossip.gossip import Gossip, GossipStatistics
from cis.gossip.language import (
    BroadcastAsked,
    Deliver,
    Dial,
    DialFailed,
    Examined,
    GossipEffect,
    GossipEvent,
    Heard,
    LeavingAsked,
    Linked,
    NeighbourDown,
    NeighbourUp,
    Received,
    Release,
    Removed,
    Send,
    SetTimer,
    Sought,
    TimerExpired,
    Unlinked,
)
from cis.gossip.messages import message_id
from cis.gossip.ordering import Ordering
from cis.gossip.taste import Taste

__all__ = [
    "BroadcastAsked",
    "Deliver",
    "Dial",
    "DialFailed",
    "Examined",
    "Gossip",
    "GossipConfig",
    "GossipEffect",
    "GossipEvent",
    "GossipStatistics",
    "Heard",
    "LeavingAsked",
    "Linked",
    "NeighbourDown",
    "NeighbourUp",
    "Ordering",
    "Received",
    "Release",
    "Removed",
    "Send",
    "SetTimer",
    "Sought",
    "Taste",
    "TimerExpired",
    "TreeConfig",
    "Unlinked",
    "ViewConfig",
    "message_id",
]
