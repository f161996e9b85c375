"""Presence: members tell each other that they are up, and when they leave, whether connected to each other or not.

A node tells so when it has found its first neighbour, and asks to be answered; later rarely, the more rarely the larger
the cluster, so that what all of them tell together stays a trickle. With it goes whom the node is connected with, so
that whoever asks can draw the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated

import msgspec

from cis import __version__
from cis.errors import PeerFault
from cis.model import NodeId
from cis.node.bulletins.hearing import Message
from cis.node.bulletins.topics import SYSTEM_PREFIX, Topics
from cis.node.home.local import LocalNode
from cis.wire.bulletins import PAYLOAD_BYTES_MAX
from cis.wire.decoding import decode_message

PRESENCE = SYSTEM_PREFIX + "presence"
PERIOD_S = 600.0
PERIOD_PER_MEMBER_S = 10.0
ANSWER_S = 0.5
ANSWER_PER_MEMBER_S = 0.05
"""Answers to one that asks are spread over so long."""
ASK_AGAIN_S = 5.0
"""A node that asks again sooner is content with what it was answered."""
TIES_MAX = 64
"""Connections a node tells of; of more it tells the first."""
PATH_MAX = 16
_VERSION_MAX = 32
_RTT_US_MAX = 600_000_000


class Tie(msgspec.Struct, array_like=True, frozen=True):
    """A connection, as one end tells of it: with whom, on what kind of path, and whether gossip goes over it."""

    node: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    path: Annotated[str, msgspec.Meta(max_length=PATH_MAX)]
    neighbour: bool
    rtt_us: Annotated[int, msgspec.Meta(ge=0, le=_RTT_US_MAX)] | None = None


class _Stated(msgspec.Struct, array_like=True, frozen=True):
    here: bool
    asks: bool
    version: Annotated[str, msgspec.Meta(max_length=_VERSION_MAX)]
    ties: Annotated[tuple[Tie, ...], msgspec.Meta(max_length=TIES_MAX)] = ()


_STATED = msgspec.msgpack.Decoder(_Stated)


@dataclass(frozen=True, slots=True)
class Present:
    """What a member last told: whether it is up, its version, its connections; when we heard it, by the loop's clock.

    ``skew_ms`` is how far its clock is ahead of ours.
    """

    here: bool
    version: str
    heard_at: float
    skew_ms: int
    ties: tuple[Tie, ...] = ()


class Presence:
    """Belongs to the loop's thread; ``ties`` returns this node's connections, the best first."""

    def __init__(self, local: LocalNode, topics: Topics, rng: Random, ties: Callable[[], Sequence[Tie]]) -> None:
        self._local = local
        self._topics = topics
        self._rng = rng
        self._ties = ties
        self._loop = asyncio.get_running_loop()
        self._told: dict[NodeId, Present] = {}
        self._asked = asyncio.Event()
        self._asked_at: float | None = None
        self._heard = asyncio.Event()
        topics.read_system(PRESENCE, self._on_told)

    def of(self, node: NodeId) -> Present | None:
        """Return what a member last told, None where it said nothing for over two periods."""
        told = self._told.get(node)
        return told if told is not None and self._loop.time() - told.heard_at < 2.5 * self._period_s() else None

    async def run(self, has_neighbours: Callable[[], bool], wait_changed: Callable[[], Awaitable[None]]) -> None:
        """Tell, and answer, until cancelled."""
        while not has_neighbours():
            await wait_changed()
        self._tell(here=True, asks=True)
        while True:
            self._asked.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period_s() * self._rng.uniform(0.8, 1.2)):
                    await self._asked.wait()
                    await asyncio.sleep(self._rng.uniform(0, ANSWER_S + ANSWER_PER_MEMBER_S * self._members()))
            self._tell(here=True)

    def ask(self) -> float:
        """Ask all members to tell; returns since when what they tell is an answer, by the loop's clock."""
        now = self._loop.time()
        if self._asked_at is None or now - self._asked_at >= ASK_AGAIN_S:
            self._asked_at = now
            self._tell(here=True, asks=True)
        return self._asked_at

    async def wait_told(self) -> None:
        """Return once a member has told something."""
        await self._heard.wait()

    def leave(self) -> None:
        """Tell that this node is about to end."""
        self._tell(here=False)

    def _tell(self, *, here: bool, asks: bool = False) -> None:
        ties = tuple(self._ties())[:TIES_MAX] if here else ()
        self._topics.tell_system(
            PRESENCE, msgspec.msgpack.encode(_Stated(here, asks, __version__[:_VERSION_MAX], ties))
        )

    def _on_told(self, message: Message) -> None:
        try:
            stated = decode_message(_STATED, message.payload, what="a presence", bytes_max=PAYLOAD_BYTES_MAX)
        except PeerFault:
            return
        skew_ms = message.sent_ms - self._local.clock_ms()
        self._told[message.author] = Present(stated.here, stated.version, self._loop.time(), skew_ms, stated.ties)
        self._heard.set()
        self._heard = asyncio.Event()
        if stated.asks:
            self._asked.set()

    def _members(self) -> int:
        return len(self._local.cluster.membership.members())

    def _period_s(self) -> float:
        return max(PERIOD_S, PERIOD_PER_MEMBER_S * self._members())
