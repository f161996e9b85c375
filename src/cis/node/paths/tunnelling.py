"""Channels of other transports between two members, where no path over UDP is found: agreed on by signals, and dialled.

Who looks for the other lists the ways it knows; the other waits at the first that both know and says which, and the
first comes there and dials QUIC through it. Only places this node uses by itself are gone to, never one it was told. A
channel stays open while a connection stands on it and a little longer. There is one meeting with a member at a
time: where both ask at once that of the smaller id stands, and the other side waits in it. ::

    path = await tunnelling.path_to(node)            # raises Unavailable
    connection = await endpoint.dial_over(path)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cis.errors import CisError, Unavailable
from cis.model import NodeId
from cis.net.paths import Carrier, Path
from cis.node.streams.paces import OFFERS_BURST, OFFERS_PER_S, Tally
from cis.rate import Rates
from cis.reach.transports import TUNNEL, Channel, NoPath, Take, Transport
from cis.trust.sealing import Entropy
from cis.wire.signals import REASON_MAX, WAYS_MAX, Meet, Refuse, Signal, Waits, Way

_log = logging.getLogger(__name__)

CHANNELS_MAX = 16
"""Channels open or being opened, whoever asked for them."""
ANSWER_S = 5.0
OPEN_S = 15.0
UNUSED_S = 10.0
"""How long a channel is kept that no connection stands on: until it is dialled, and after the connection moved on."""
LOOK_S = 1.0


@dataclass(frozen=True)
class Means:
    """What this needs of the node."""

    own: NodeId
    transports: Sequence[Transport]
    send: Callable[[NodeId, Signal], Awaitable[None]]
    admits: Callable[[NodeId], bool]
    expect: Callable[[Path], Callable[[], None]]
    in_use: Callable[[Carrier], bool]
    """whether any connection stands on a carrier"""
    take: Take
    spawn: Callable[[Coroutine[None, None, None]], None]
    entropy: Entropy
    tally: Tally = field(default_factory=Tally)


@dataclass(eq=False)
class Meeting:
    """One that this node asked for, and the answer to it."""

    id: bytes
    ways: tuple[Way, ...]
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    way: Way | None = None
    refusal: str = ""

    def settle(self, way: Way | None = None, refusal: str = "") -> None:
        """Take the first answer."""
        if not self.settled.is_set():
            self.way, self.refusal = way, refusal
            self.settled.set()


@dataclass(eq=False)
class _Held:
    """A channel being opened, or open."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    channel: Channel | None = None
    failure: str = ""


class Tunnelling:
    """Belongs to the loop's thread."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._asked: dict[NodeId, Meeting] = {}
        self._awaited: dict[NodeId, asyncio.Event] = {}
        """members that this node waits for in a channel; set when it does no more"""
        self._meets: Rates[NodeId] = Rates(per_s=OFFERS_PER_S, burst=OFFERS_BURST)
        self._shown: dict[Carrier, str] = {}
        self._open = 0

    def place_of(self, carrier: Carrier) -> str | None:
        """Say for people where a channel runs; None for any other carrier."""
        return self._shown.get(carrier)

    async def path_in_place_of(self, none: NoPath, node: NodeId) -> Path:
        """Return a path where the search for one came to that; raises `Unavailable`, saying what either came to."""
        if not self._means.transports:
            raise none
        try:
            return await self.path_to(node)
        except Unavailable as error:
            raise Unavailable(f"{none}; {error}") from error

    async def path_to(self, node: NodeId) -> Path:
        """Agree with a member on a channel and open it; raises `Unavailable`, saying what was tried.

        Where the member asked for one itself this waits for it to come, and never returns a path.
        """
        await self._let_come(node)
        ways = self._ways()
        if not ways:
            raise Unavailable("there is no anchor to tunnel through")
        if node in self._asked:
            raise Unavailable("a channel is being agreed on already")
        channel = self._means.entropy(32)
        meeting = self._asked[node] = Meeting(self._means.entropy(16), ways)
        try:
            await self._means.send(node, Meet(meeting.id, channel, ways))
            async with asyncio.timeout(ANSWER_S):
                await meeting.settled.wait()
        except TimeoutError:
            raise Unavailable(f"no answer to a channel within {ANSWER_S:g} s") from None
        finally:
            del self._asked[node]
        if meeting.way is None:
            await self._let_come(node)
            raise Unavailable(f"no channel: {meeting.refusal}")
        return await self._opened(meeting.way, channel, waits=False)

    async def _let_come(self, node: NodeId) -> None:
        if (awaited := self._awaited.get(node)) is not None:
            await awaited.wait()
            raise Unavailable("it asked for a channel, and did not come")

    def on_signal(self, sender: NodeId, signal: Meet | Waits | Refuse) -> bool:
        """Take what a member signals; nothing it may be raises. False for what is about no meeting here."""
        if isinstance(signal, Meet):
            self._on_meet(sender, signal)
            return True
        meeting = self._asked.get(sender)
        if meeting is None or meeting.id != signal.session:
            return False
        if isinstance(signal, Refuse):
            meeting.settle(refusal=f"it refused: {signal.reason}")
        elif signal.way < len(meeting.ways):
            meeting.settle(meeting.ways[signal.way])
        return True

    # --- answering -----------------------------------------------------------------------------------------------

    def _on_meet(self, sender: NodeId, meet: Meet) -> None:
        if not self._meets.take(sender, asyncio.get_running_loop().time()):
            self._means.tally["offers_over_pace"] += 1
            return
        if not self._means.admits(sender):
            self._means.tally["offers_not_admitted"] += 1
            self._refuse(sender, meet, "it wants no connection now")
            return
        asked = self._asked.get(sender)
        if asked is not None and not asked.settled.is_set() and self._means.own < sender:
            return
        known = self._ways()
        common = [number for number, way in enumerate(meet.ways) if way in known]
        done = self._awaited[sender] = asyncio.Event()
        if asked is not None:
            asked.settle(refusal="it asked for one at the same time")
        self._means.spawn(self._await(sender, meet, common, done))

    async def _await(self, sender: NodeId, meet: Meet, common: Sequence[int], done: asyncio.Event) -> None:
        try:
            await self._wait_for(sender, meet, common)
        finally:
            done.set()
            if self._awaited.get(sender) is done:
                del self._awaited[sender]

    async def _wait_for(self, sender: NodeId, meet: Meet, common: Sequence[int]) -> None:
        """Open the channel at the first way that takes it, and expect the other there."""
        path, number, why = None, 0, "there is no anchor that both sides use and that carries channels"
        for number in common:
            try:
                path = await self._opened(meet.ways[number], meet.channel, waits=True)
                break
            except Unavailable as error:
                why = str(error)[:REASON_MAX]
        if path is None:
            self._refuse(sender, meet, why)
            return
        withdraw = self._means.expect(path)
        try:
            with suppress(CisError):  # unanswered, the other side asks again
                await self._means.send(sender, Waits(meet.session, number))
            await asyncio.sleep(UNUSED_S)
        finally:
            withdraw()

    def _refuse(self, node: NodeId, meet: Meet, reason: str) -> None:
        self._means.spawn(self._tell(node, Refuse(meet.session, reason)))

    async def _tell(self, node: NodeId, signal: Signal) -> None:
        try:
            await self._means.send(node, signal)
        except Unavailable:
            self._means.tally["signals_unsent"] += 1

    # --- channels ------------------------------------------------------------------------------------------------

    def _ways(self) -> tuple[Way, ...]:
        found = [Way(one.name, place) for one in self._means.transports for place in one.places()]
        return tuple(found[:WAYS_MAX])

    async def _opened(self, way: Way, channel: bytes, *, waits: bool) -> Path:
        """Open a channel at a way of this node's own, held from then on; `Unavailable` where it does not open."""
        transport = next(one for one in self._means.transports if one.name == way.transport)
        if self._open >= CHANNELS_MAX:
            raise Unavailable("as many channels are open as this node holds")
        held = _Held()
        self._open += 1
        self._means.spawn(self._hold(held, transport, way, channel, waits=waits))
        try:
            async with asyncio.timeout(OPEN_S):
                await held.done.wait()
        except TimeoutError:
            raise Unavailable(f"the channel through {way.place} did not open within {OPEN_S:g} s") from None
        if held.channel is None:
            raise Unavailable(held.failure)
        return Path(held.channel, held.channel.address, TUNNEL, TUNNEL, proven=True)

    async def _hold(self, held: _Held, transport: Transport, way: Way, channel: bytes, *, waits: bool) -> None:
        """Keep a channel open while it is of use."""
        found: Channel | None = None
        try:
            async with transport.open(way.place, channel, waits=waits, take=self._means.take) as found:
                self._shown[found] = f"{way.place} ({way.transport})"
                held.channel = found
                held.done.set()
                await self._outlive(found)
        except Unavailable as error:
            held.failure = str(error)
            _log.debug("a channel did not open: %s", error)
        finally:
            held.failure = held.failure or "the node ends"
            held.done.set()
            self._open -= 1
            if found is not None:
                self._shown.pop(found, None)

    async def _outlive(self, channel: Channel) -> None:
        """Return once the channel has ended, or no connection has stood on it for a while."""
        loop = asyncio.get_running_loop()
        used_at = loop.time()
        while loop.time() - used_at < UNUSED_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await channel.wait_ended()
                    return
            if self._means.in_use(channel):
                used_at = loop.time()
