"""Presence: members tell each other that they are up, and when they leave, whether connected to each other or not.

A node tells so when it has found its first neighbour, and asks to be answered; later rarely, the more rarely the larger
the cluster, so that what all of them tell together stays a trickle.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Annotated

import msgspec

from cis import __version__
from cis.model import NodeId
from cis.node.hearing import Message
from cis.node.local import LocalNode
from cis.node.topics import SYSTEM_PREFIX, Topics

PRESENCE = SYSTEM_PREFIX + "presence"
PERIOD_S = 600.0
PERIOD_PER_MEMBER_S = 10.0
ANSWER_S = 0.5
ANSWER_PER_MEMBER_S = 0.05
"""Answers to one that asks are spread over so long."""
_VERSION_MAX = 32


class _Stated(msgspec.Struct, array_like=True, frozen=True):
    here: bool
    asks: bool
    version: Annotated[str, msgspec.Meta(max_length=_VERSION_MAX)]


_decode = msgspec.msgpack.Decoder(_Stated).decode


@dataclass(frozen=True, slots=True)
class Present:
    """What a member last told: whether it is up, its version, when we heard it (monotonic), its clock against ours."""

    here: bool
    version: str
    heard_at: float
    skew_ms: int


class Presence:
    """Belongs to the loop's thread; ``told`` holds what each member last told, within what is believed of it."""

    def __init__(self, local: LocalNode, topics: Topics, rng: Random) -> None:
        self._local = local
        self._topics = topics
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._told: dict[NodeId, Present] = {}
        self._asked = asyncio.Event()
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

    def leave(self) -> None:
        """Tell that this node is about to end."""
        self._tell(here=False)

    def _tell(self, *, here: bool, asks: bool = False) -> None:
        self._topics.tell_system(PRESENCE, msgspec.msgpack.encode(_Stated(here, asks, __version__[:_VERSION_MAX])))

    def _on_told(self, message: Message) -> None:
        try:
            stated = _decode(message.payload)
        except msgspec.MsgspecError:
            return
        skew_ms = message.sent_ms - self._local.clock_ms()
        self._told[message.author] = Present(stated.here, stated.version, self._loop.time(), skew_ms)
        if stated.asks:
            self._asked.set()

    def _members(self) -> int:
        return len(self._local.cluster.membership.members())

    def _period_s(self) -> float:
        return max(PERIOD_S, PERIOD_PER_MEMBER_S * self._members())
