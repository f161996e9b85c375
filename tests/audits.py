"""Two audits joined in memory over real stores: every effect is performed, every byte is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from cis.node.home.local import LocalNode
from cis.node.streams.auditing import AuditWork
from cis.store.audit_check import Checked, check_space
from cis.store.repair import mend, mend_ends
from cis.store.store import Store
from cis.sync.audit_effects import AuditEffect, AuditFinished, AuditReport
from cis.sync.session import Send, SendFrame
from cis.wire.messages import encode
from tests.stores import SPACE, WAIT_S, judge_all, no_limit

Tamper = Callable[[bytes], bytes]


def clock_of(store: Store) -> int:
    return store._setting.clock_ms()


def self_check(store: Store) -> Checked:
    with store.snapshot() as reader:
        return check_space(reader, SPACE, clock_of(store))


def check_and_mend(store: Store) -> Checked:
    found = self_check(store)
    store.execute(lambda connection: mend(connection, SPACE, found.suspects, clock_of(store))).result(WAIT_S)
    store.execute(lambda connection: mend_ends(connection, found.ends)).result(WAIT_S)
    return found


class _Cluster:
    public = SPACE
    judge = staticmethod(judge_all)
    limit = staticmethod(no_limit)


class _Local:
    """What the work of an audit needs of a node."""

    cluster = _Cluster()

    def __init__(self, store: Store) -> None:
        self.store = store

    def clock_ms(self) -> int:
        return clock_of(self.store)


class AuditSide:
    """One end: a store's snapshot, an audit over it, and the frames on their way to the other."""

    def __init__(self, store: Store, *, initiator: bool, check_first: bool = True) -> None:
        self.store = store
        self.outbox: deque[bytes] = deque()
        self.sent = 0
        self.ended = 0
        self.found = check_and_mend(store) if check_first else None
        self._reader = store.open_reader()
        self._reader.connection.execute("BEGIN")
        found = {SPACE: self.found} if self.found is not None else {}
        self._work = AuditWork(cast("LocalNode", _Local(store)), self._reader, [SPACE], found, initiator=initiator)
        self.audit = self._work.audit

    def close(self) -> None:
        self._reader.connection.close()

    def start(self) -> None:
        self.perform(self.audit.start())

    def take(self, frame: bytes) -> None:
        self.perform(self._work.take(frame))

    def perform(self, effects: Sequence[AuditEffect]) -> None:
        waiting = deque(effects)
        while waiting:
            match waiting.popleft():
                case Send(message):
                    self._send(encode(message))
                case SendFrame(frame):
                    self._send(frame)
                case AuditFinished():
                    self.ended += 1
                case effect:
                    waiting.extend(self._work.answer(effect))

    def _send(self, frame: bytes) -> None:
        self.sent += len(frame)
        self.outbox.append(frame)


def run(one: AuditSide, two: AuditSide) -> None:
    """Carry frames both ways until both are silent."""
    one.start()
    two.start()
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                target.take(source.outbox.popleft())


def audit(one: Store, two: Store, *, check_first: bool = True) -> tuple[AuditReport, AuditReport]:
    """Hold one audit, begun by the first; returns both reports."""
    sides = AuditSide(one, initiator=True, check_first=check_first), AuditSide(two, initiator=False, check_first=False)
    try:
        run(*sides)
        assert all(side.audit.finished and side.ended == 1 for side in sides)
    finally:
        for side in sides:
            side.close()
    return sides[0].audit.report, sides[1].audit.report
