"""Topics: bulletins are made, opened and handed to those who read them; `hearing` decides which are read at all."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from cis.errors import CisError, Denied, PeerFault, UsageError
from cis.model import NodeId, SpaceId
from cis.node.bulletins.hearing import Hearing, Message
from cis.node.home.local import LocalNode
from cis.trust.bulletins import Told, open_any, read_bulletin, seal_bulletin
from cis.trust.sealing import SpaceKeys
from cis.wire.bulletins import (
    PAYLOAD_BYTES_MAX,
    SESSION_LENGTH,
    TOPIC_BYTES_MAX,
    BulletinContent,
    BulletinStatement,
)
from cis.wire.decoding import decode_message
from cis.wire.membership import ENTRY_BYTES_MAX

_log = logging.getLogger(__name__)

SYSTEM_PREFIX = "cis/"
MEMBERSHIP = SYSTEM_PREFIX + "membership"
CHANGES = SYSTEM_PREFIX + "changes"
"""A segment of a space that not all members share, sealed to those who do."""
WAITING_MAX = 1024
"""Messages that may wait for one reader; then the oldest is dropped and counted."""
_ENTRY_OVERHEAD = 16
_ENTRIES = msgspec.msgpack.Decoder(list[bytes])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bulletin is: fit to be passed on; showing that more is missing here; bringing entries, or a change."""

    sound: bool
    gap: bool = False
    entries: tuple[bytes, ...] = ()
    change: tuple[SpaceId, bytes] | None = None
    """the frame of a segment, and the space under whose key it came"""


@dataclass(frozen=True, slots=True)
class _Run:
    """What this run of the node has told so far under the key of one space."""

    id: bytes
    number: int = 0


class Listening:
    """What one reader has still to read, of one topic or all users' topics."""

    def __init__(self, topic: str | None) -> None:
        self.topic = topic
        self.ended = False
        self._waiting: deque[Message] = deque()
        self._dropped = 0
        self._ready = asyncio.Event()

    def put(self, message: Message) -> None:
        """Queue a message; the oldest gives way where too many wait."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(message)
        self._ready.set()

    def end(self) -> None:
        """No more comes."""
        self.ended = True
        self._ready.set()

    async def next(self) -> tuple[Message, int] | None:
        """Return the next message and how many were dropped before it; None at the end."""
        while not self._waiting:
            if self.ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        dropped, self._dropped = self._dropped, 0
        return self._waiting.popleft(), dropped


class Timer(Protocol):
    """Something planned."""

    def cancel(self) -> None:
        """Take it back."""


class Clock(Protocol):
    """What plans and tells time, as an event loop does."""

    def time(self) -> float:
        """Return seconds."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at a time."""


class Topics:
    """Belongs to the thread of its ``clock``, else of the loop; ``tell`` gives a bulletin made here to gossip."""

    def __init__(self, local: LocalNode, tell: Callable[[bytes], None], clock: Clock | None = None) -> None:
        self._local = local
        self._tell = tell
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._runs: dict[SpaceId, _Run] = {}
        """of each space under whose key something is told, so that who cannot open it misses no number"""
        self._hearing = Hearing()
        self._timer: Timer | None = None
        self._listening: dict[int, Listening] = {}
        self._system: dict[str, Callable[[Message], None]] = {}

    # --- telling -------------------------------------------------------------------------------------------------

    def broadcast(self, topic: str, payload: bytes) -> None:
        """Tell all members something, and the readers here; `UsageError` for what no user may tell."""
        check_topic(topic)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise UsageError(
                f"a message of {len(payload):,} bytes: at most {PAYLOAD_BYTES_MAX:,}; write it as a memory instead "
                "(`cis memory set`), and broadcast its key"
            )
        cluster = self._local.cluster
        self._deliver(self._say(topic, payload, cluster.writing_keys(cluster.public)))

    def tell_system(self, topic: str, payload: bytes, space: SpaceId | None = None) -> None:
        """Tell the nodes of all members something of the system's own, or those that read a space.

        Nothing is told by a node that may tell nothing there.
        """
        assert topic.startswith(SYSTEM_PREFIX), topic
        cluster = self._local.cluster
        try:
            keys = cluster.writing_keys(space or cluster.public)
        except Denied:
            return
        self._say(topic, payload, keys)

    def tell_membership(self, entries: Iterable[bytes], keys: SpaceKeys) -> None:
        """Tell all members of new membership entries, those that are too large left to sessions.

        ``keys`` are those of the public space before these entries: they may renew it, and nobody has the new one yet.
        """
        batch: list[bytes] = []
        size = 0
        for raw in entries:
            if batch and size + len(raw) + _ENTRY_OVERHEAD > PAYLOAD_BYTES_MAX:
                self._say(MEMBERSHIP, msgspec.msgpack.encode(batch), keys)
                batch, size = [], 0
            if len(raw) + _ENTRY_OVERHEAD <= PAYLOAD_BYTES_MAX:
                batch.append(raw)
                size += len(raw) + _ENTRY_OVERHEAD
        if batch:
            self._say(MEMBERSHIP, msgspec.msgpack.encode(batch), keys)

    def tell_change(self, space: SpaceId, frame: bytes) -> bool:
        """Tell a segment of a space to those who share it; False where sessions must bring it."""
        if len(frame) > PAYLOAD_BYTES_MAX:
            return False
        self._say(CHANGES, frame, self._local.cluster.keys.spaces[space])
        return True

    def _say(self, topic: str, payload: bytes, keys: SpaceKeys) -> Message:
        local = self._local
        run = self._runs.get(keys.space) or _Run(local.entropy(SESSION_LENGTH))
        self._runs[keys.space] = run = replace(run, number=run.number + 1)
        told = Told(run.id, run.number, local.clock_ms(), topic, payload)
        self._tell(seal_bulletin(local.identity, keys, told, local.entropy, public=local.cluster.public))
        return Message(topic, local.identity.node, told.sent_ms, payload)

    # --- hearing -------------------------------------------------------------------------------------------------

    def take(self, body: bytes) -> Verdict:
        """Look at a bulletin that came by gossip, and deliver what it lets deliver; `PeerFault` blames who sent it."""
        statement = read_bulletin(body, self._local.cluster.public)
        author = NodeId(statement.author)
        if self._local.cluster.membership.member(author) is None:
            return Verdict(sound=False, gap=True)
        if author == self._local.identity.node:
            return Verdict(sound=True)
        judged = self._hearing.judge(statement, self._local.clock_ms())
        if not judged.fresh:
            return Verdict(sound=judged.recent)
        try:
            space, content = open_any(statement, self._local.cluster.readable())
        except PeerFault as fault:
            _log.warning("%s told what cannot be read: %s", self._local.cluster.name_of(author), fault)
            return Verdict(sound=False)
        except CisError:
            return Verdict(sound=True, gap=not self._local.cluster.knows_epoch(statement.epoch))
        return self._open(statement, space, content)

    def _open(self, statement: BulletinStatement, space: SpaceId, content: BulletinContent) -> Verdict:
        """Deliver what is told to all, and return what is for the node itself: entries, or a change."""
        for_all, author = space == self._local.cluster.public, NodeId(statement.author)
        topic = content.topic if for_all or content.topic.startswith(SYSTEM_PREFIX) else CHANGES
        payload = content.payload if topic != CHANGES else b""
        message = Message(topic, author, statement.sent_ms, payload)
        self._deliver_all(self._hearing.accept(statement, message, self._clock.time()))
        if content.topic == CHANGES:
            return Verdict(sound=True, change=None if for_all else (space, content.payload))
        return Verdict(sound=True, entries=_entries_in(message) if content.topic == MEMBERSHIP else ())

    def _deliver_all(self, messages: Iterable[Message]) -> None:
        """Deliver what is to be read now, and come back when more is."""
        for message in messages:
            self._deliver(message)
        if self._timer is not None:
            self._timer.cancel()
        due = self._hearing.next_due()
        self._timer = self._clock.call_at(due, self._on_due) if due is not None else None

    def _on_due(self) -> None:
        self._deliver_all(self._hearing.due(self._clock.time()))

    def _deliver(self, message: Message) -> None:
        if message.topic.startswith(SYSTEM_PREFIX):
            if (reader := self._system.get(message.topic)) is not None:
                reader(message)
        else:
            for listening in self._listening.values():
                if listening.topic in (None, message.topic):
                    listening.put(message)

    # --- reading -------------------------------------------------------------------------------------------------

    def read_system(self, topic: str, reader: Callable[[Message], None]) -> None:
        """Call the reader, on the loop, with what other members tell on a topic of the system's own."""
        self._system[topic] = reader

    @contextmanager
    def listen(self, topic: str | None) -> Iterator[Listening]:
        """Yield what gathers messages of one topic, or of all users' topics, until it is left."""
        if topic is not None:
            check_topic(topic)
        listening = Listening(topic)
        self._listening[id(listening)] = listening
        try:
            yield listening
        finally:
            del self._listening[id(listening)]

    def close(self) -> None:
        """End all reading."""
        if self._timer is not None:
            self._timer.cancel()
        for listening in self._listening.values():
            listening.end()


def check_topic(topic: str) -> None:
    """Raise `UsageError` for a name that users may not give a topic."""
    if topic.startswith(SYSTEM_PREFIX):
        raise UsageError(f"topics that begin with {SYSTEM_PREFIX!r} are the system's own: choose another name")
    length = len(topic.encode(errors="surrogatepass"))
    if not 0 < length <= TOPIC_BYTES_MAX or not topic.isprintable():
        raise UsageError(f"a topic is 1 to {TOPIC_BYTES_MAX} bytes of printable text, not {topic[:TOPIC_BYTES_MAX]!r}")


def _entries_in(message: Message) -> tuple[bytes, ...]:
    try:
        entries = decode_message(_ENTRIES, message.payload, what="entries", bytes_max=PAYLOAD_BYTES_MAX)
    except PeerFault:
        return ()
    return tuple(entry for entry in entries if len(entry) <= ENTRY_BYTES_MAX)
