"""How two devices that share a code find each other on the local network: a tag made of the code's number alone.

It travels as the tags of members do, in an instance that lives only while the code does. Whoever tries all numbers
learns that a code is shown at an address, and no more: the words are not in it. ::

    await mdns.run(Shown(number, port), ignore)          # who shows the code
    await mdns.run(Sought(number), on_sighting)          # who took it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.discovery.provider import Announcement
from cis.model.ids import NodeId
from cis.trust.codes import rendezvous_tag

if TYPE_CHECKING:
    from collections.abc import Callable

_ANYBODY = NodeId(bytes(32))
"""The tag names no node: who is there, the exchange finds out."""


class Shown(Announcement):
    """Announces a number; implements `cis.discovery.provider.Announcement`."""

    def __init__(self, number: int, port: Callable[[], int]) -> None:
        self._tag = rendezvous_tag(number)
        self._port = port

    def port(self) -> int:
        """Return the port of the endpoint that waits for the taker."""
        return self._port()

    def own_tag(self, _slot: int) -> bytes | None:
        """Return the number's tag, the same in every slot."""
        return self._tag

    def recognise(self, _tag: bytes, _slot: int) -> NodeId | None:
        """Look for nobody."""
        return None


class Sought(Announcement):
    """Looks for a number, and announces nothing."""

    def __init__(self, number: int) -> None:
        self._tag = rendezvous_tag(number)

    def port(self) -> int:
        """Return no port, as nothing is announced."""
        return 0

    def own_tag(self, _slot: int) -> bytes | None:
        """Announce nothing."""
        return None

    def recognise(self, tag: bytes, _slot: int) -> NodeId | None:
        """Tell whether a tag is the number's."""
        return _ANYBODY if tag == self._tag else None
