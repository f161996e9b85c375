"""Which addresses may be dialled: entry points the user wrote, and what `dialable` lets pass of all that others say."""

from __future__ import annotations

from cis.discovery.address import Source, dialable
from cis.discovery.libp2p.places import Place, read_place


class Bounds:
    """Judges addresses for one worker.

    ``private`` says that the network is the user's own, so addresses of private networks may be meant; ``loopback``
    that the node is on loopback, with all others.
    """

    def __init__(self, *, private: bool, loopback: bool) -> None:
        self._source = Source.STATIC if private else Source.RELAYED
        self._loopback = loopback
        self._entries: set[tuple[str, int]] = set()

    def add_entry(self, place: Place) -> bool:
        """Let through an entry point that the user wrote; False where even that may not be."""
        allowed = dialable(place.host, Source.STATIC, allow_loopback=self._loopback)
        if allowed:
            self._entries.add((place.host, place.port))
        return allowed

    def allow(self, host: str, port: int) -> bool:
        """Tell whether an address that anybody named may be dialled."""
        return (host, port) in self._entries or dialable(host, self._source, allow_loopback=self._loopback)

    def allow_multiaddr(self, text: str) -> bool:
        """Tell whether a multiaddr may be dialled: False for names, and for all that is not plain TCP."""
        place = read_place(text)
        return place is not None and self.allow(place.host, place.port)
