"""Two sessions joined in memory: every effect is performed against real stores, every byte is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from cis.node.streams.syncing import order_of, standing
from cis.store.log import LogReader
from cis.store.store import Store
from cis.sync import (
    AddEntries,
    Effect,
    Fetch,
    Finished,
    InspectOwn,
    Merge,
    Send,
    SendFrame,
    Session,
)
from cis.wire.messages import Message, decode, encode, is_segment
from tests.stores import SPACE, WAIT_S


@dataclass
class Log:
    """A membership log of opaque entries."""

    entries: list[bytes] = field(default_factory=list)

    def digest(self) -> bytes:
        return blake2b(b"".join(sorted(self.ids())), digest_size=32).digest()

    def ids(self) -> list[bytes]:
        return [blake2b(entry, digest_size=32).digest() for entry in self.entries]

    def entries_missing_from(self, ids: Sequence[bytes]) -> list[bytes]:
        return [entry for entry in self.entries if blake2b(entry, digest_size=32).digest() not in ids]


class Side:
    """One end: a store's snapshot, a session over it, and the frames on their way to the other."""

    def __init__(self, store: Store, log: Log | None = None) -> None:
        self.store = store
        self.log = log or Log()
        self.outbox: deque[bytes] = deque()
        self.sent = 0
        self.sent_segments = 0
        self.inspected: list[InspectOwn] = []
        self._reader = store.open_reader()
        self._reader.connection.execute("BEGIN")
        self._segments = LogReader(self._reader.connection, SPACE)
        standings = {SPACE: standing(self._reader, SPACE)}
        self.session = Session(standings, self.log, own=store.replica)
        self._order = order_of(standings, self.session)
        self._arrived: deque[bytes] = deque()

    def close(self) -> None:
        self._reader.connection.close()

    def start(self) -> None:
        self.perform(self.session.start())

    def take(self, frame: bytes) -> None:
        if is_segment(frame):
            self._arrived.append(frame)
            self.perform(self.session.receive_segment(len(frame)))
        else:
            self.perform(self.session.receive(decode(frame)))

    def perform(self, effects: Sequence[Effect]) -> None:
        fetches = []
        for effect in effects:
            match effect:
                case Send(message):
                    self._send(encode(message))
                case SendFrame(frame):
                    self.sent_segments += 1
                    self._send(frame)
                case Fetch():
                    fetches.append(effect)
                case Merge(size):
                    applied = self.store.merge(self._arrived.popleft(), self._order).result(WAIT_S)
                    self.perform(self.session.merged(size, applied.changes))
                case AddEntries(entries):
                    self.log.entries += entries
                case InspectOwn():
                    self.inspected.append(effect)
                case Finished():
                    pass
        for fetch in fetches:  # reading goes on beside sending: it is answered after the effects it came with
            self._fetch(fetch)

    def _fetch(self, effect: Fetch) -> None:
        segment = self._segments.segment(effect.replica, effect.first, effect.last, effect.unwanted)
        if segment is None:
            self.perform(self.session.fetched(effect, None, effect.last))
            return
        last = segment.first + len(segment.records) // 40 - 1
        self.perform(self.session.fetched(effect, encode(segment), last))

    def _send(self, frame: bytes) -> None:
        self.sent += len(frame)
        self.outbox.append(frame)


def run(one: Side, two: Side, frames_max: int | None = None) -> int:
    """Carry frames both ways until both are silent, or so many segments have been taken in; returns how many."""
    one.start()
    two.start()
    taken = 0
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                frame = source.outbox.popleft()
                if is_segment(frame):
                    if taken == frames_max:
                        return taken
                    taken += 1
                target.take(frame)
    return taken


def sync(one: Store, two: Store, frames_max: int | None = None) -> tuple[Side, Side]:
    """Hold one session between two stores."""
    sides = Side(one), Side(two)
    try:
        run(*sides, frames_max)
    finally:
        for side in sides:
            side.close()
    return sides


def messages_of(side: Side) -> list[Message]:
    return [decode(frame) for frame in side.outbox]
