"""The tags under which nodes show themselves to those who know them, and to nobody else.

A tag is BLAKE2b with the discovery key as its key and 16 bytes of output, over ``"mdns" ‖ slot ‖ node id``,
the slot as 8 bytes, big-endian. A member recognises another by computing the tags of all members for the
slots around now; for a stranger each is 16 random bytes, new every quarter of an hour.

When the discovery key is renewed nobody announces under the old one any more, but members that are away do not know
yet: for a while their tags are still recognised, so that they are dialled and learn of it.

::

    tags = Tags(own=node, keys=lambda: (current, *former), members=lambda: membership.nodes())
    tags.recognise(tags.own_tag(slot), slot)        # None: that is this node itself
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cis.discovery.provider import SLOT_SECONDS, TAG_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cis.model.ids import NodeId

_SLOTS_KEPT = 4
KEYS_MAX = 16
"""Keys that tags are recognised under: the current one and the last before it."""


def slot_of(now: float) -> int:
    """The slot a time (Unix, seconds) falls into."""
    return int(now // SLOT_SECONDS)


def tag_of(discovery_key: bytes, slot: int, node: NodeId) -> bytes:
    """The tag of a node in a slot."""
    text = b"mdns" + slot.to_bytes(8, "big") + node
    return hashlib.blake2b(text, key=discovery_key, digest_size=TAG_LENGTH).digest()


class Tags:
    """Computes and recognises tags; asks for the keys, the current one first, and the members each time."""

    def __init__(
        self, own: NodeId, keys: Callable[[], Sequence[bytes]], members: Callable[[], Iterable[NodeId]]
    ) -> None:
        self._own = own
        self._keys = keys
        self._members = members
        self._known: dict[int, dict[bytes, NodeId]] = {}
        self._known_for: tuple[tuple[bytes, ...], tuple[NodeId, ...]] = ((), ())

    def own_tag(self, slot: int) -> bytes | None:
        """The tag of this node, under the current key; None while it has none."""
        keys = self._keys()
        return tag_of(keys[0], slot, self._own) if keys else None

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        """The other member whose tag this is in that slot, if any."""
        keys = tuple(self._keys()[:KEYS_MAX])
        if not keys:
            return None
        members = tuple(self._members())
        if self._known_for != (keys, members):
            self._known, self._known_for = {}, (keys, members)
        if slot not in self._known:
            while len(self._known) >= _SLOTS_KEPT:
                del self._known[min(self._known)]
            others = [node for node in members if node != self._own]
            self._known[slot] = {tag_of(key, slot, node): node for key in keys for node in others}
        return self._known[slot].get(tag)
