"""Topics: bulletins are made, opened and handed to those who read them; which are read at all is `cis.node.hearing`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from cis.errors import CisError, PeerFault, UsageError
from cis.model import NodeId
from cis.node.hearing import Hearing, Message
from cis.node.local import LocalNode
from cis.trust import read_entry
from cis.trust.bulletins import Told, open_bulletin, read_bulletin, seal_bulletin
from cis.trust.sealing import SpaceKeys
from cis.wire.bulletins import PAYLOAD_BYTES_MAX, SESSION_LENGTH, TOPIC_BYTES_MAX
from cis.wire.membership import ENTRY_BYTES_MAX

_log = logging.getLogger(__name__)

SYSTEM_PREFIX = "cis/"
MEMBERSHIP = SYSTEM_PREFIX + "membership"
WAITING_MAX = 1024
"""Messages that may wait for one reader; then the oldest is dropped and counted."""
_ENTRIES = msgspec.msgpack.Decoder(list[bytes])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bulletin is: fit to be passed on; showing that more is missing here; bringing membership entries."""

    sound: bool
    gap: bool = False
    entries: tuple[bytes, ...] = ()


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


class Topics:
    """Belongs to the loop's thread; ``tell`` gives a bulletin made here to gossip."""

    def __init__(self, local: LocalNode, tell: Callable[[bytes], None]) -> None:
        self._local = local
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._run = local.entropy(SESSION_LENGTH)
        self._number = 0
        self._hearing = Hearing()
        self._timer: asyncio.TimerHandle | None = None
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
        self._deliver(self._say(topic, payload))

    def tell_system(self, topic: str, payload: bytes) -> None:
        """Tell the nodes of all members something of the system's own."""
        assert topic.startswith(SYSTEM_PREFIX), topic
        self._say(topic, payload)

    def tell_membership(self, node: NodeId) -> None:
        """Tell all members of the entries that made a node one."""
        entries = [
            raw
            for raw in self._local.cluster.membership.entries_missing_from()
            if (grant := read_entry(raw).grant) is not None and grant.subject == node
        ]
        payload = msgspec.msgpack.encode(entries)
        if len(payload) <= PAYLOAD_BYTES_MAX:
            self.tell_system(MEMBERSHIP, payload)

    def _say(self, topic: str, payload: bytes) -> Message:
        local = self._local
        self._number += 1
        told = Told(self._run, self._number, local.clock_ms(), topic, payload)
        self._tell(seal_bulletin(local.identity, self._keys(), told, local.entropy))
        return Message(topic, local.identity.node, told.sent_ms, payload)

    def _keys(self) -> SpaceKeys:
        cluster = self._local.cluster
        return cluster.keys.spaces[cluster.public]

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
            content = open_bulletin(statement, self._keys())
        except PeerFault as fault:
            _log.warning("%s told what cannot be read: %s", self._local.cluster.name_of(author), fault)
            return Verdict(sound=False)
        except CisError:
            return Verdict(sound=True, gap=True)
        message = Message(content.topic, author, statement.sent_ms, content.payload)
        self._deliver_all(self._hearing.accept(statement, message, self._loop.time()))
        return Verdict(sound=True, entries=_entries_in(message) if content.topic == MEMBERSHIP else ())

    def _deliver_all(self, messages: Iterable[Message]) -> None:
        """Deliver what is to be read now, and come back when more is."""
        for message in messages:
            self._deliver(message)
        if self._timer is not None:
            self._timer.cancel()
        due = self._hearing.next_due()
        self._timer = self._loop.call_at(due, self._on_due) if due is not None else None

    def _on_due(self) -> None:
        self._deliver_all(self._hearing.due(self._loop.time()))

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
        entries = _ENTRIES.decode(message.payload)
    except (msgspec.MsgspecError, ValueError):
        return ()
    return tuple(entry for entry in entries if len(entry) <= ENTRY_BYTES_MAX)
