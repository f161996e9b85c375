"""Connections between simulated nodes: streams that are whole or cut, messages that meet every fault.

What QUIC does is taken as given: a connection is authenticated, its streams are in order, and it ends some time
after the way is blocked or the other side is gone. Every frame is real bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from cis.errors import Fault
from cis.sim.network import Network

DETECTION_S = 3.0
"""How long a side goes on believing in a connection whose other side is gone."""
GOSSIP = 0
"""The number of the stream whose messages go each for itself."""
RECORDS = 1
"""The number of the stream that carries node records."""
UNWANTED = frozenset({Fault.NONE, Fault.BANNED, Fault.PARTED})
"""What a side closes a connection for that it does not want for now."""


class Party(Protocol):
    """What a connection needs of a node."""

    number: int

    def on_frame(self, end: End, stream: int, frame: bytes) -> None:
        """A frame arrived."""

    def on_reset(self, end: End, stream: int) -> None:
        """The other side gave a stream up."""

    def on_lost(self, end: End, reason: str, *, blamed: bool, unwanted: bool) -> None:
        """The connection ended; ``unwanted`` when the other side wants none for now."""


class End:
    """One node's side of a connection."""

    def __init__(self, wire: Wire, party: Party, link: int) -> None:
        self.wire = wire
        self.party = party
        self.link = link
        self.up = True

    @property
    def peer(self) -> End:
        """The other side."""
        one, other = self.wire.ends
        return other if self is one else one

    def send(self, stream: int, frame: bytes) -> None:
        """Send a frame on a stream."""
        self._carry(stream, len(frame), frame, partial(self._arrived, stream, frame))

    def send_message(self, frame: bytes) -> None:
        """Send a message of gossip, which may be lost, doubled or overtaken."""
        wire = self.wire
        if self.up and not wire.broken:
            wire.inspect(self.party.number, frame)
            arrive = partial(self._arrived, GOSSIP, frame)
            wire.network.send(self.party.number, self.peer.party.number, len(frame), arrive)

    def reset(self, stream: int) -> None:
        """Give a stream up."""
        self._carry(stream, 16, b"", partial(self._was_reset, stream))

    def close(self, fault: Fault, reason: str, *, blamed: bool) -> None:
        """End the connection from here; the other side hears why, if it hears anything."""
        if self.up:
            told = partial(self.peer.lose, f"closed by peer: {reason}", unwanted=fault in UNWANTED)
            self._carry(GOSSIP, 64, b"", told)
            self.lose(reason, blamed=blamed)
            self.wire.break_off()

    def lose(self, reason: str, *, blamed: bool = False, unwanted: bool = False) -> None:
        """The connection is over for this side."""
        if self.up:
            self.up = False
            self.party.on_lost(self, reason, blamed=blamed, unwanted=unwanted)

    def vanish(self) -> None:
        """This side is gone without a word."""
        self.up = False
        self.wire.break_off()

    def _carry(self, stream: int, size: int, frame: bytes, arrive: Callable[[], None]) -> None:
        wire = self.wire
        if not self.up or wire.broken:
            return
        wire.inspect(self.party.number, frame)
        way = (self.party.number, self.peer.party.number, (wire.number, stream))
        if not wire.network.send_stream(*way, size, arrive):
            wire.break_off()

    def _arrived(self, stream: int, frame: bytes) -> None:
        if self.peer.up:
            self.peer.party.on_frame(self.peer, stream, frame)

    def _was_reset(self, stream: int) -> None:
        if self.peer.up:
            self.peer.party.on_reset(self.peer, stream)


class Wire:
    """One authenticated connection; ``inspect`` sees every frame that leaves a node, with the node's number."""

    def __init__(
        self,
        number: int,
        network: Network,
        parties: tuple[tuple[Party, int], tuple[Party, int]],
        inspect: Callable[[int, bytes], None],
    ) -> None:
        self.number = number
        self.network = network
        self.inspect = inspect
        self.broken = False
        (one, link_of_one), (other, link_of_other) = parties
        self.ends = (End(self, one, link_of_one), End(self, other, link_of_other))

    def break_off(self) -> None:
        """Carry nothing more; each side that is still there notices a little later."""
        if not self.broken:
            self.broken = True
            for end in self.ends:
                self.network.kernel.after(DETECTION_S, partial(end.lose, "no answer"))
