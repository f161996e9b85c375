"""What every way of finding nodes has in common, so that others can be added without touching the node.

A provider is given what this node announces and a place to put what it finds, runs until it is cancelled
inside the node's TaskGroup, and leaves nothing behind. It announces and recognises nodes by tags it cannot
compute itself: the keys stay with the node (:class:`Announcement`)::

    async with asyncio.TaskGroup() as group:
        for provider in (StaticPeers(peers), Mdns()):
            group.create_task(provider.run(announcement, book.on_sighting))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.discovery.address import Source
    from cis.discovery.beacons import Sought
    from cis.model.ids import NodeId
    from cis.trust.beacons import Beacon

SLOT_SECONDS = 900
"""How long one tag stands for a node; strangers cannot link it with the next one."""
TAG_LENGTH = 16


@dataclass(frozen=True)
class Sighting:
    """A node may be reachable here: a hint to dial, proving nothing.

    ``host`` is an IP address that `dialable` has passed. ``node`` or ``name`` says who is expected there,
    when the source can tell; the handshake finds out.
    """

    source: Source
    host: str
    port: int
    node: NodeId | None = None
    name: str | None = None


class Announcement(Protocol):
    """What this node lets others know, asked for anew whenever it is needed, since all of it changes."""

    def port(self) -> int:
        """The UDP port of the endpoint."""
        ...

    def own_tag(self, slot: int) -> bytes | None:
        """The tag of `TAG_LENGTH` bytes of this node in a slot; None while there is nothing to announce."""
        ...

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        """The member whose tag this is in that slot, if any; never this node itself."""
        ...

    def record(self) -> bytes:
        """This node's signed record as of now, for members' eyes alone; empty where there is none to show."""
        return b""

    def short_record(self) -> bytes:
        """The same with the best addresses alone, 960 bytes at most, for services with room for little."""
        return self.record()

    def connected(self) -> frozenset[NodeId]:
        """The members there is a connection with: nobody needs to look for them."""
        return frozenset()

    def own_beacon(self, _slot: int, /) -> Beacon | None:
        """What this node is registered under in a slot, where a service keeps records; None for nothing."""
        return None

    def other_beacons(self, _slot: int, /) -> dict[bytes, Sought]:
        """The tags under which the other members may be registered in a slot, and whose each is."""
        return {}


class Provider(Protocol):
    """One way of finding nodes."""

    @property
    def name(self) -> str:
        """A word for logs, ``cis doctor`` and the peer list: who was found is shown as found by it."""
        ...

    def failures(self) -> dict[str, str]:
        """Return what keeps it from working now: a place or the provider's name, and the reason for a person to read.

        What is no longer so is no longer told.
        """
        return {}

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None], /) -> None:
        """Announce and look until cancelled; call ``found`` for each sighting, as often as it recurs.

        Raises `Unavailable` when it cannot work here at all; the node says so and goes on without it.
        """
        ...


@runtime_checkable
class Roaming(Protocol):
    """What a provider may be beside: one that wants to know at once when the network under the node has changed."""

    def network_changed(self) -> None:
        """Look, and show this node, anew: addresses or interfaces came, went, or were away. Never raises."""
        ...
