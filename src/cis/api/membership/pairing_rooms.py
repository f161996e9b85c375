"""Pairing through an anchor: the shower's side waits in a room of the code's number, the taker's side enters it.

The room carries the same exchange and the same joining as a connection does (`cis.node.entry.rooms`). The anchor learns
two addresses, the number and sizes; to stand in the middle it would have to guess the words, once, before both sides
burn the code.
"""

from __future__ import annotations

import asyncio
import contextlib

from cis.anchor.line import Line, open_line
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import Entered, EnterRoom, LeaveRoom, Left, OpenRoom
from cis.api.memories.beside import beside
from cis.errors import CisError, Denied, PeerFault, TimedOut, Unavailable
from cis.node.entry.greeting import first_frame
from cis.node.entry.pairing import Desk, Paired, Terms
from cis.node.entry.rooms import FLUSH_S, RoomConversation
from cis.trust.codes import CODE_LIFE_S, Code
from cis.trust.identity import Entropy

OPEN_S = 3.0
"""How long the code may be kept from the user until the anchor has a room for it."""
TAKERS_MAX = 3
"""Who may enter without beginning an exchange, before the room stays closed."""


class RoomShower:
    """Shows a code at one anchor."""

    def __init__(self, anchor: AnchorPlace, code: Code, desk: Desk, entropy: Entropy) -> None:
        self.anchor = anchor
        self._number = code.number
        self._desk = desk
        self._entropy = entropy
        self._opened: asyncio.Future[CisError | None] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Wait in a room, and hold the exchange of who enters; until cancelled, or there is no more to wait for."""
        try:
            async with open_line(self.anchor) as line:
                for _ in range(TAKERS_MAX):
                    await line.ask(OpenRoom(line.next_number(), self._number, round(CODE_LIFE_S)))
                    self._settle(None)
                    if not await _entered(line):
                        return
                    await self._serve(line)
                    if not self._desk.waits:
                        return
                    await line.ask(LeaveRoom(line.next_number()))
                    line.forget()
        except CisError as error:
            self._settle(error)

    async def wait_opened(self) -> CisError | None:
        """Return once there is a room, or why there is none."""
        await asyncio.wait([self._opened], timeout=OPEN_S)
        if not self._opened.done():
            return TimedOut(f"the anchor {self.anchor.host} did not answer within {OPEN_S:g} s")
        return self._opened.result()

    async def wait_idle(self) -> None:
        """Return once what was to be told to the other side has been."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._idle.wait()

    def _settle(self, error: CisError | None) -> None:
        if not self._opened.done():
            self._opened.set_result(error)

    async def _serve(self, line: Line) -> None:
        room = RoomConversation(line, self._number, self._entropy, is_dialler=False)
        self._idle.clear()
        try:
            with contextlib.suppress(CisError):  # told to who shows the code, where an exchange began
                await room.agree()
                await beside([room.run()], self._exchange(room))
        finally:
            self._idle.set()

    async def _exchange(self, room: RoomConversation) -> None:
        stream, frame = await first_frame(room)
        if self._desk.takes(frame):
            await self._desk.serve(room, stream, frame)


class NobodyWaits(Unavailable):
    """The anchor has no room of that number, or lets this node in none."""


class AnchorAway(Unavailable):
    """The anchor cannot be reached, lets nobody in by this token, or has a room in which nobody answers."""


async def take_in_room(anchor: AnchorPlace, code: Code, terms: Terms, desk: Desk, entropy: Entropy) -> Paired:
    """Be the taker of a code that is shown at an anchor.

    Raises `NobodyWaits`, `AnchorAway`, and what the exchange does.
    """
    entered = False
    try:
        async with open_line(anchor) as line:
            try:
                await line.ask(EnterRoom(line.next_number(), code.number))
            except Denied as denied:
                raise NobodyWaits(str(denied)) from denied
            room = RoomConversation(line, code.number, entropy, is_dialler=True)
            await room.agree()
            entered = True  # until here nothing of the code was said, and another way may do
            return await beside([room.run()], desk.take(code, terms, room))
    except (Denied, Unavailable, PeerFault) as error:
        if entered or isinstance(error, NobodyWaits):
            raise
        raise AnchorAway(str(error)) from error


async def _entered(line: Line) -> bool:
    """Wait until somebody enters; False where the room's time is up before."""
    while True:
        message = await line.heard()
        if isinstance(message, Entered | Left):
            return isinstance(message, Entered)
