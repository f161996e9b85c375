"""What discovery providers may know of this node: its port, its tags, and whose tag another's is."""

from __future__ import annotations

from collections.abc import Callable

from cis.discovery.beacons import Beacons, Sought
from cis.discovery.tags import Tags
from cis.model import NodeId
from cis.node.membership.cluster import Cluster
from cis.trust import Membership
from cis.trust.beacons import Beacon
from cis.wire.membership import NO_SPACE, EntryKind, decode_rotate

FORMER_KEYS_MS = 30 * 86_400_000
"""How long members that announce under a renewed discovery key are recognised."""

KEPT_MS = 3_600_000


class DiscoveryKeys:
    """The keys of the moment, worked out again when the membership has changed, and once an hour."""

    def __init__(self, cluster: Cluster, clock_ms: Callable[[], int]) -> None:
        self._cluster = cluster
        self._clock_ms = clock_ms
        self._known: tuple[Membership, list[bytes], int] | None = None

    def __call__(self) -> list[bytes]:
        """Return what `discovery_keys` does."""
        now_ms, membership = self._clock_ms(), self._cluster.membership
        if self._known is None or self._known[0] is not membership or now_ms > self._known[2]:
            self._known = membership, discovery_keys(self._cluster, now_ms), now_ms + KEPT_MS
        return self._known[1]


class NodeAnnouncement:
    """Implements `cis.discovery.provider.Announcement`."""

    def __init__(
        self,
        cluster: Cluster,
        port: Callable[[], int],
        record: Callable[[], bytes],
        clock_ms: Callable[[], int],
        short_record: Callable[[], bytes] | None = None,
        connected: Callable[[], frozenset[NodeId]] = frozenset,
    ) -> None:
        self._port = port
        self._record = record
        self._short_record = short_record or record
        self.connected = connected
        self._cluster = cluster
        keys = DiscoveryKeys(cluster, clock_ms)
        self._tags = Tags(cluster.identity.node, keys, self._members)
        self._beacons = Beacons(cluster.identity, keys, self._members)

    def port(self) -> int:
        """Return the endpoint's UDP port."""
        return self._port()

    def own_tag(self, slot: int) -> bytes | None:
        """Return this node's tag in a slot."""
        return self._tags.own_tag(slot)

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        """Return the member whose tag it is."""
        return self._tags.recognise(tag, slot)

    def record(self) -> bytes:
        """Return this node's signed record."""
        return self._record()

    def short_record(self) -> bytes:
        """Return this node's signed record with few addresses."""
        return self._short_record()

    def own_beacon(self, slot: int, /) -> Beacon | None:
        """Return this node's beacon in a slot."""
        return self._beacons.own(slot)

    def other_beacons(self, slot: int, /) -> dict[bytes, Sought]:
        """Return whose tag is whose among the other members."""
        return self._beacons.others(slot)

    def _members(self) -> list[NodeId]:
        return [member.node for member in self._cluster.membership.members()]


def discovery_keys(cluster: Cluster, now_ms: int) -> list[bytes]:
    """Return the discovery key, and after it, the last first, those renewed within `FORMER_KEYS_MS`."""
    keys, order, since = cluster.keys, cluster.membership.epochs(NO_SPACE), _renewed_ms(cluster)
    former = [
        keys.discovery[epoch]
        for epoch, after in zip(order, (*order[1:], keys.current), strict=True)
        if epoch in keys.discovery and epoch != keys.current and now_ms - since.get(after, 0) < FORMER_KEYS_MS
    ]
    return [keys.discovery_key, *reversed(former)]


def _renewed_ms(cluster: Cluster) -> dict[int, int]:
    """When each epoch of the discovery key began, by the clock of who began it."""
    statements = (known.entry.statement for known in cluster.membership.log.known.values())
    rotations = ((decode_rotate(one.body), one.issued_ms) for one in statements if one.kind == EntryKind.ROTATE)
    return {rotate.epoch: issued_ms for rotate, issued_ms in rotations if rotate.space == NO_SPACE}
