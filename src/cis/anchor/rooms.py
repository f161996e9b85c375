"""Rooms for pairing: named by the number of a code, for two, for one exchange, and for as long as the code lives.

Who opens a room waits in it; the first to enter is the other one, and nobody enters after that, even when one of them
has left. So whoever guesses a number uses up the room, and one exchange, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cis.anchor.protocol import NumberTaken
from cis.errors import Denied

PartyT = TypeVar("PartyT")

BUSY_S = 60.0
"""How long an exchange may take that began in time, joining included."""
SAY_COST_MIN = 256


@dataclass(eq=False)
class Room(Generic[PartyT]):
    """One room; ``other`` once somebody has entered."""

    number: int
    owner: str
    opened_by: PartyT
    ends_at: float
    other: PartyT | None = None
    carried: int = field(default=0)

    def facing(self, party: PartyT) -> PartyT | None:
        """Return who is in the room besides that one."""
        return self.other if party is self.opened_by else self.opened_by


class Rooms(Generic[PartyT]):
    """All rooms, by their numbers."""

    def __init__(self, rooms_max: int, per_address: int, bytes_max: int) -> None:
        self._open: dict[int, Room[PartyT]] = {}
        self._max = rooms_max
        self._per_address = per_address
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._open)

    def open(self, number: int, party: PartyT, owner: str, ends_at: float) -> Room[PartyT]:
        """Make a room; `Denied` where there is one of that number, or too many."""
        if number in self._open:
            raise NumberTaken("that number is in use: draw another one")
        if len(self._open) >= self._max:
            raise Denied("there are as many rooms as this anchor keeps: try again in a minute")
        if sum(room.owner == owner for room in self._open.values()) >= self._per_address:
            raise Denied("this address has as many rooms as it may: wait until one is over")
        room = self._open[number] = Room(number, owner, party, ends_at)
        return room

    def enter(self, number: int, party: PartyT, now: float) -> Room[PartyT]:
        """Be the other one; `Denied` where nobody waits."""
        room = self._open.get(number)
        if room is None or room.other is not None or room.opened_by is party:
            raise Denied("nobody waits under that number: the code was used up, has expired, or is another")
        room.other = party
        room.ends_at = now + BUSY_S
        return room

    def carry(self, room: Room[PartyT], size: int) -> bool:
        """Count what is said; False once it is more than a pairing takes."""
        room.carried += max(size, SAY_COST_MIN)
        return room.carried <= self._bytes_max

    def close(self, room: Room[PartyT]) -> None:
        """Forget a room; its number is free."""
        if self._open.get(room.number) is room:
            del self._open[room.number]

    def over(self, now: float) -> list[Room[PartyT]]:
        """Return the rooms whose time is up."""
        return [room for room in self._open.values() if room.ends_at <= now]
