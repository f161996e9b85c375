"""Transports: other ways for datagrams than the endpoint's UDP socket, for when ICE finds no path.

A transport knows places where two members can meet, by names that mean something to both, and opens a channel there: a
carrier of datagrams (`cis.net.paths.Carrier`) between the two who know the channel's id. Members tell each other places
and id sealed, so whoever runs a place learns that two of its guests share a channel. QUIC runs over a channel as it
does over a socket, encrypted end to end::

    async with transport.open("anchor.example.net", channel_id, waits=True, take=endpoint.receive_via) as channel:
        withdraw = endpoint.expect(Path(channel, channel.address, "tunnel", "tunnel"))
        await channel.wait_ended()

`cis.reach.tunnel` ships; other packages bring more by entry points of the group `GROUP`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import blake2b
from ipaddress import IPv6Address
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from cis.errors import CisError, Unavailable
from cis.net.paths import Carrier

if TYPE_CHECKING:
    from cis.net.qh3_core import RawAddress

_log = logging.getLogger(__name__)

GROUP = "cis.transports"
PLACES_MAX = 8
PLACE_LENGTH_MAX = 255
TUNNEL = "tunnel"
"""Kind of both ends of a path that a transport carries."""
_PORT = 7677

Take = Callable[[Any, "list[tuple[bytes, RawAddress]]"], None]
"""Takes in what came over a carrier (`cis.net.Endpoint.receive_via`)."""


class NoPath(Unavailable):
    """All that could be tried for a path was tried (`cis.reach.session`): another transport may do."""


class Channel(Carrier, Protocol):
    """A carrier between two nodes; it drops what it cannot carry, as any network does."""

    @property
    def address(self) -> RawAddress:
        """Return the other end, as this carrier writes it: `address_of` its id."""

    async def wait_ended(self) -> None:
        """Wait until it carries nothing any more."""


class Transport(Protocol):
    """One such way."""

    name: str
    """A word of ``[a-z0-9_-]``, the same on both sides."""

    def places(self) -> Sequence[str]:
        """Return where this node could meet others now, best first."""

    def open(self, place: str, channel: bytes, *, waits: bool, take: Take) -> AbstractAsyncContextManager[Channel]:
        """Open a channel of that id, of 32 bytes, for as long as the context lasts.

        One side ``waits`` and is let in first, the other comes after. Raises `Unavailable` where that cannot be.
        """

    def failures(self) -> dict[str, str]:
        """Return what keeps it from working now, as a provider does (`cis.discovery.provider`)."""
        return {}


class Guarded:
    """A transport of another package, or why there is none: what it raises is no path, and nothing worse."""

    def __init__(self, name: str, inner: Transport | None, problem: str | None = None) -> None:
        self.name = name
        self._inner = inner
        self._problem = problem

    def failures(self) -> dict[str, str]:
        """Return why it is not there, or failed last."""
        return {f"transport {self.name}": self._problem} if self._problem is not None else {}

    def places(self) -> Sequence[str]:
        """Return its places, none where it fails."""
        try:
            places = self._inner.places() if self._inner is not None else ()
            return [str(place) for place in islice(places, PLACES_MAX) if 0 < len(str(place)) <= PLACE_LENGTH_MAX]
        except Exception as error:  # noqa: BLE001 - the boundary to the plugin
            self._problem = f"it says no places: {type(error).__name__}: {error}"
            return ()

    @asynccontextmanager
    async def open(self, place: str, channel: bytes, *, waits: bool, take: Take) -> AsyncIterator[Channel]:
        """Open a channel; whatever goes wrong with it is `Unavailable`."""
        if self._inner is None:
            raise Unavailable(f"the transport {self.name} is not there")
        try:
            async with self._inner.open(place, channel, waits=waits, take=take) as found:
                self._problem = None
                yield found
        except CisError:
            raise
        except Exception as error:
            _log.debug("the transport %s failed", self.name, exc_info=error)
            self._problem = f"a channel failed: {type(error).__name__}: {error}"
            raise Unavailable(f"the transport {self.name} failed: {type(error).__name__}: {error}") from error


def address_of(channel: bytes) -> RawAddress:
    """Return the address that stands for the other end of a channel: of no network there is, and unlike any other's."""
    return str(IPv6Address(b"\xfd" + blake2b(channel, digest_size=15, person=b"cis channel").digest())), _PORT
