"""What discovery providers may know of this node: its port, its tags, and whose tag another's is."""

from __future__ import annotations

from collections.abc import Callable

from cis.discovery.tags import Tags
from cis.model import NodeId
from cis.node.cluster import Cluster


class NodeAnnouncement:
    """Implements `cis.discovery.provider.Announcement`."""

    def __init__(self, cluster: Cluster, own: NodeId, port: Callable[[], int]) -> None:
        self._port = port
        self._tags = Tags(
            own,
            lambda: cluster.keys.discovery,
            lambda: [member.node for member in cluster.membership.members()],
        )

    def port(self) -> int:
        """Return the endpoint's UDP port."""
        return self._port()

    def own_tag(self, slot: int) -> bytes | None:
        """Return this node's tag in a slot."""
        return self._tags.own_tag(slot)

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        """Return the member whose tag it is."""
        return self._tags.recognise(tag, slot)
