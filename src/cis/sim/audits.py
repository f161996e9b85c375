"""An audit of `cis.sync` over a simulated stream: the machine decides, this performs, as `cis.node.auditing` does."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cis.errors import CisError, Fault, PeerFault
from cis.model import Dot, SpaceId
from cis.store.admission import check
from cis.store.audit import count_wrong, explain, items, supply, unheld_bodies
from cis.store.collection import adopt
from cis.store.repair import mend, repair
from cis.sync.audit import Audit
from cis.sync.audit_effects import (
    AuditEffect,
    AuditFinished,
    Drop,
    Explain,
    Explained,
    Inventory,
    Mend,
    Range,
    Recheck,
    Repair,
    Supply,
)
from cis.sync.session import Send, SendFrame
from cis.wire.messages import decode, encode, is_segment

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.wires import End
    from cis.store.read import Reader


class AuditRun:
    """One side of one audit; ``on_end`` is told of its end, with the error if there was one."""

    def __init__(
        self, node: SimNode, end: End, stream: int, on_end: Callable[[AuditRun, CisError | None], None], *, own: bool
    ) -> None:
        self.stream = stream
        self.own = own
        self.over = False
        self._node = node
        self._end = end
        self._on_end = on_end
        self._open = contextlib.ExitStack()
        self._reader = self._open.enter_context(node.store.snapshot())
        inventory = _inventory(self._reader, node.cluster.public)
        self._machine = Audit({node.cluster.public: inventory}, initiator=own)
        self._segments: deque[bytes] = deque()

    def start(self) -> None:
        """Open with the spaces and their vectors."""
        self._step(self._machine.start)

    def take(self, frame: bytes) -> None:
        """Take a frame of the other side."""
        if is_segment(frame):
            self._segments.append(frame)
            self._step(self._machine.receive_segment)
        else:
            self._step(lambda: self._machine.receive(decode(frame)))

    def drop(self) -> None:
        """Let the snapshot go; nothing more is heard of the audit."""
        self.over = True
        self._open.close()

    def give_up(self, error: CisError) -> None:
        """End it with an error."""
        if not self.over:
            self.drop()
            self._on_end(self, error)

    def _step(self, react: Callable[[], list[AuditEffect]]) -> None:
        if self.over:
            return
        try:
            waiting = deque(react())
            while waiting and not self.over:
                waiting.extend(self._perform(waiting.popleft()))
        except CisError as error:
            self.give_up(error)

    def _perform(self, effect: AuditEffect) -> list[AuditEffect]:
        machine, store, now_ms = self._machine, self._node.store, self._node.clock_ms()
        answer: list[AuditEffect] = []
        match effect:
            case Send(message):
                self._end.send(self.stream, encode(message))
            case SendFrame(frame):
                self._end.send(self.stream, frame)
            case AuditFinished():
                self.drop()
                self._on_end(self, None)
            case Explain(space, asked):
                answer = machine.explained(space, [Explained(*one) for one in explain(self._reader, space, asked)])
            case Supply(wanted):
                answer = machine.supplied(*supply(store.reader, *wanted))
            case Mend(space, memories):
                store.execute(lambda connection: mend(connection, space, memories, now_ms)).result()
                answer = machine.mended()
            case Drop(space, dead, floor):
                store.execute(lambda connection: adopt(connection, space, dead, floor)).result()
                self._node.world.adopted(self._node)
                answer = machine.mended()
            case Repair(wanted):
                answer = machine.repaired(wanted, self._repair(wanted, self._segments.popleft()))
            case Recheck(space, lost, replaced):
                wrong = count_wrong(store.reader, space, lost, replaced)
                answer = machine.rechecked(space, wrong, len(unheld_bodies(store.reader, space)))
        return answer

    def _repair(self, wanted: Range, frame: bytes) -> int | None:
        """Put back what the segment has; None where it does not fit what is held, through no fault of the peer's."""
        node = self._node
        verified = check(frame, {wanted.space}, node.cluster.judge)
        if isinstance(verified, PeerFault):
            if verified.fault is Fault.BUSY:
                return None
            raise verified
        of_another = (verified.space, verified.replica) != wanted[:2]
        if of_another or not verified.segment.first <= wanted.first <= verified.last:
            raise PeerFault(Fault.MALFORMED, "a segment that is not the one wanted")
        try:
            return node.store.execute(lambda connection: repair(connection, verified, node.clock_ms())).result().last  # type: ignore[no-any-return] # what repair returns
        except PeerFault as fault:
            if fault.fault is not Fault.FORKED:
                raise
            return None


def _inventory(reader: Reader, space: SpaceId) -> Inventory:
    unheld = _ranges(space, unheld_bodies(reader, space))
    return Inventory(reader.vector(space), items(reader, space), reader.floor(space), (), tuple(unheld))


def _ranges(space: SpaceId, dots: Iterable[Dot]) -> list[Range]:
    """Join neighbouring dots, which come in order."""
    found: list[Range] = []
    for replica, seq in dots:
        if found and found[-1].replica == replica and found[-1].last == seq - 1:
            found[-1] = found[-1]._replace(last=seq)
        else:
            found.append(Range(space, replica, seq, seq))
    return found
