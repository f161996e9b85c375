"""The authenticated connections of a node: which of two with one peer stays, and how things stand with each peer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cis.model import NodeId, SpaceId, VersionVector
from cis.node.core import events
from cis.node.core.events import LinkId
from cis.peers import Target

LINKS_PER_NODE_MAX = 2
GLARE_S = 5.0
"""Two connections made within this time are taken for both sides dialling at once."""


@dataclass(slots=True)
class SyncStatus:
    """How synchronisation with one peer stands; times are the node's monotonic clock."""

    sessions: int = 0
    failures: int = 0
    """sessions failed since the last that ended well"""
    gave_way: int = 0
    """sessions given up for one of the peer's since the last that ended well"""
    comparisons: int = 0
    """comparisons of whole states since a session last needed none"""
    in_step_at: float | None = None
    last_error: str = ""
    changes_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    stated: Mapping[SpaceId, VersionVector] = field(default_factory=dict)
    """what the peer held, by space, when last it said so"""
    stated_at: float | None = None


@dataclass(slots=True)
class Link:
    """An authenticated connection in use."""

    id: LinkId
    node: NodeId
    via: Target | None
    since: float
    relayed: bool = False
    suspect: bool = False
    """what was sent on it lately has gone unanswered"""
    syncing: bool = False
    sync_at: float | None = None
    synced_at: float = 0.0
    compare_due: bool = False
    """whole states are to be compared before all can be exchanged"""
    released: bool = False
    """gossip needs it no longer"""
    served: int = 0
    """sessions and audits under way on it that were not begun by this node's plan"""
    served_at: float = 0.0
    """when the last of them ended"""
    closing: bool = False
    """it is being closed as not needed"""
    status: SyncStatus = field(default_factory=SyncStatus)

    @property
    def dialled(self) -> bool:
        """Tell whether it was dialled from here."""
        return self.via is not None

    @property
    def used_at(self) -> float:
        """When it was last of use to anything but gossip."""
        return max(self.since, self.synced_at, self.served_at)


class LinkTable:
    """The links of a node by their numbers; ``own`` is this node."""

    def __init__(self, own: NodeId) -> None:
        self._own = own
        self.per_node_max = LINKS_PER_NODE_MAX
        """links with one node at once, while one takes the place of another; it may change"""
        self.by_id: dict[LinkId, Link] = {}
        self._by_node: dict[NodeId, list[Link]] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self.by_id.values()))

    def nodes(self) -> list[NodeId]:
        """Return the nodes there is a link with, in the order they came."""
        return list(self._by_node)

    def to(self, node: NodeId) -> Link | None:
        """Return the link used with a node: the oldest."""
        links = self._by_node.get(node)
        return links[0] if links else None

    def add(self, link: Link) -> None:
        """Take a link in."""
        self.by_id[link.id] = link
        self._by_node.setdefault(link.node, []).append(link)

    def remove(self, number: LinkId) -> Link | None:
        """Let go of a link."""
        link = self.by_id.pop(number, None)
        if link is not None:
            links = self._by_node[link.node]
            links.remove(link)
            if not links:
                del self._by_node[link.node]
        return link

    def judge(self, event: events.Connected, now: float) -> tuple[bool, Link | None]:
        """Tell whether a new connection is taken in, and which older one with the same node gives way to it."""
        rival = self.to(event.node)
        if rival is None:
            return True, None
        stays = self._survivor(rival, event, now)
        if stays is rival:
            return False, None
        crowded = len(self._by_node[event.node]) >= self.per_node_max
        return True, rival if stays is event or crowded else None

    def _survivor(self, rival: Link, event: events.Connected, now: float) -> Link | events.Connected | None:
        """Of two connections with one peer, choose as the other side will; None leaves the choice to it.

        An old rival gives way, and one that has gone silent: who dials again has lost it. A relayed connection gives
        way to one that is not. When both dialled, the connection dialled by the smaller id stays. When one side
        dialled twice (two addresses of the other), that side closes the later.
        """
        if rival.suspect or now - rival.since >= GLARE_S:
            return event
        if rival.relayed != event.relayed:
            return event if rival.relayed else rival
        dialled_here = event.via is not None
        if dialled_here == rival.dialled:
            return rival if rival.dialled else None
        return event if dialled_here == (self._own < event.node) else rival
