"""This node's beacons and those of the other members, computed once a slot: what to show on anchors, and what to seek.

Beacons of others are sought under the discovery key and the last `KEYS_MAX` - 1 before it: a member that was away shows
itself under the key it knows. This node's own are of the present key alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cis.model.ids import NodeId
from cis.trust.beacons import Beacon, beacon_key, tag_of_key
from cis.trust.identity import Identity

KEYS_MAX = 4
"""Keys that others are sought under, since each tag costs a multiplication on the curve."""
_SLOTS_KEPT = 4


@dataclass(frozen=True)
class Sought:
    """Whose beacon a tag is, under which discovery key, and the beacon's own public key."""

    node: NodeId
    key: bytes
    public: bytes = b""


class Beacons:
    """Asks for the keys, the current one first, and the members each time."""

    def __init__(
        self, identity: Identity, keys: Callable[[], Sequence[bytes]], members: Callable[[], Iterable[NodeId]]
    ) -> None:
        self._identity = identity
        self._keys = keys
        self._members = members
        self._own: dict[tuple[bytes, int], Beacon] = {}
        self._others: dict[int, dict[bytes, Sought]] = {}
        self._others_for: tuple[tuple[bytes, ...], tuple[NodeId, ...]] = ((), ())

    def own(self, slot: int) -> Beacon | None:
        """Return this node's beacon in a slot; None while it has no key."""
        keys = self._keys()
        if not keys:
            return None
        found = self._own.get((keys[0], slot))
        if found is None:
            while len(self._own) >= _SLOTS_KEPT:
                del self._own[next(iter(self._own))]
            found = self._own[keys[0], slot] = Beacon(self._identity, keys[0], slot)
        return found

    def others(self, slot: int) -> dict[bytes, Sought]:
        """Return the tags of the other members in a slot."""
        keys, members = tuple(self._keys()[:KEYS_MAX]), tuple(self._members())
        if self._others_for != (keys, members):
            self._others, self._others_for = {}, (keys, members)
        if slot not in self._others:
            while len(self._others) >= _SLOTS_KEPT:
                del self._others[min(self._others)]
            self._others[slot] = {
                tag_of_key(public): Sought(node, key, public)
                for key in keys
                for node in members
                if node != self._identity.node and (public := beacon_key(key, slot, node)) is not None
            }
        return self._others[slot]
