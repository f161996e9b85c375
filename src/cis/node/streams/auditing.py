"""Running an audit of `cis.sync` over a stream: the machine decides, this performs, one effect after the other.

What is compared comes from one snapshot, on a thread of its own; all that is mended goes through the store's writer.
Who begins checks its own store first, so that what it compares is at least what follows from its own logs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cis.errors import CisError, Fault, PeerFault
from cis.model import Dot, MemoryId, NodeId, ReplicaId, SpaceId
from cis.net import Stream
from cis.node.home.local import LocalNode
from cis.node.streams.patience import unless_stalled
from cis.node.streams.snapshots import SnapshotThread
from cis.store.admission import Gate, check
from cis.store.audit import count_wrong, explain, items, supply, unheld_bodies
from cis.store.audit_check import Checked, check_space
from cis.store.collection import Ended, adopt
from cis.store.read import Reader, stable
from cis.store.repair import Repaired, mend, mend_ends, repair
from cis.sync.audit import Audit
from cis.sync.audit_effects import (
    AuditEffect,
    AuditFinished,
    AuditReport,
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
from cis.wire.messages import FRAME_BYTES_MAX, decode, encode, is_segment

if TYPE_CHECKING:
    import apsw

AUDIT_STALL_S = 120.0
"""An audit in which nothing happens for so long is given up; what was mended stays so."""
AUDIT_S_MAX = 1800.0
"""So is one that takes longer: its snapshot keeps the store's journal from being reused."""
ARRIVED_BYTES_MAX = 32 << 20
"""Frames that may wait to be looked at: an honest peer has less under way."""
MENDED_AT_ONCE = 4096
"""Memories derived anew in one task of the writer: each task reads all headers once."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class AuditSummary:
    """What an audit did, and what the check before it found: headers looked at, what was wrong with this store."""

    report: AuditReport
    checked: int = 0
    derived_anew: int = 0
    """memories whose tables did not follow from the log"""
    damaged: int = 0
    """runs of changesets that were missing or not what was signed"""


async def run_audit(
    local: LocalNode, stream: Stream, peer: NodeId, *, initiator: bool, checked: bool = True
) -> AuditSummary:
    """Hold one audit of the spaces shared to its end; raises `PeerFault`, StreamReset, ConnectionLost or TimeoutError.

    The initiator has its own store ``checked`` first.
    """
    spaces = local.cluster.shared_with(peer)
    found: dict[SpaceId, Checked] = {}
    for space in spaces if initiator and checked else ():
        found[space] = await asyncio.to_thread(check_and_mend, local, space)
    with SnapshotThread(local.store, "cis-audit") as desk:
        work = await desk.run(lambda: AuditWork(local, desk.open(), spaces, found, initiator=initiator))
        report = await _Runner(stream, work, desk).run()
    checks = found.values()
    return AuditSummary(
        report,
        sum(one.changes for one in checks),
        sum(len(one.suspects) for one in checks),
        sum(len(one.damaged) for one in checks),
    )


def check_and_mend(local: LocalNode, space: SpaceId) -> Checked:
    """Check the logs and tables of a space, and derive anew what does not follow; waits for the writer."""
    store = local.store
    with store.snapshot() as reader:
        found = check_space(reader, space, local.clock_ms())
    mend_in_steps(local, space, found.suspects, local.clock_ms())
    if found.ends:
        store.execute(lambda connection: mend_ends(connection, found.ends)).result()
    return found


def mend_in_steps(local: LocalNode, space: SpaceId, memories: Sequence[MemoryId], now_ms: int) -> None:
    """Derive memories anew, letting others write in between."""
    for at in range(0, len(memories), MENDED_AT_ONCE):
        some = memories[at : at + MENDED_AT_ONCE]
        local.store.execute(partial(mend, space=space, memories=some, now_ms=now_ms)).result()


class AuditWork:
    """Does for an audit what it asks, one effect after the other; blocking, made and used on one thread.

    What is compared is read from one snapshot, what is mended goes through the writer.
    """

    def __init__(
        self,
        local: LocalNode,
        reader: Reader,
        spaces: Sequence[SpaceId],
        found: Mapping[SpaceId, Checked],
        *,
        initiator: bool,
    ) -> None:
        self._local = local
        self._reader = reader
        self._segments: deque[bytes] = deque()
        inventories = {space: _inventory(reader, space, found.get(space)) for space in spaces}
        self.audit = Audit(inventories, initiator=initiator)

    def take(self, frame: bytes) -> list[AuditEffect]:
        """Take a frame of the peer's; `PeerFault` where it does not belong."""
        if is_segment(frame):
            self._segments.append(frame)
            return self.audit.receive_segment()
        return self.audit.receive(decode(frame))

    def answer(self, effect: AuditEffect) -> list[AuditEffect]:
        """Do what is asked, and return what follows; sending is not asked here."""
        audit, now_ms = self.audit, self._local.clock_ms()
        match effect:
            case Explain(space, asked):
                return audit.explained(space, [Explained(*one) for one in explain(self._reader, space, asked)])
            case Supply(wanted):
                with self._local.store.snapshot() as reader:
                    return audit.supplied(*supply(reader, *wanted))
            case Mend(space, memories):
                mend_in_steps(self._local, space, memories, now_ms)
                return audit.mended()
            case Drop(space, dead, floor, compared, settled):
                own = self._local.store.replica
                if floor.contiguous(own) > compared.contiguous(own):
                    self._local.store.renew_incarnation()  # others hold what this store lost, or say so
                ended = Ended(dead, floor, compared, settled)
                self._write(lambda connection: adopt(connection, space, ended))
                return audit.mended()
            case Repair(wanted):
                return audit.repaired(wanted, self._repair(wanted, self._segments.popleft(), now_ms))
            case Recheck(space, lost, replaced):
                with self._local.store.snapshot() as reader:
                    wrong = count_wrong(reader, space, lost, replaced)
                    return audit.rechecked(space, wrong, len(unheld_bodies(reader, space)))
        raise AssertionError(effect)

    def _write(self, task: Callable[[apsw.Connection], _Result]) -> _Result:
        done: _Result = self._local.store.execute(task).result()
        return done

    def _repair(self, wanted: Range, frame: bytes, now_ms: int) -> int | None:
        """Put back what the segment has; None where it does not fit what is held, through no fault of the peer's."""
        cluster = self._local.cluster
        verified = check(frame, {wanted.space}, Gate(cluster.judge, cluster.limit, self._stable))
        if isinstance(verified, PeerFault):
            if verified.fault in {Fault.BUSY, Fault.CUT}:
                return None
            raise verified
        of_another = (verified.space, verified.replica) != wanted[:2]
        if of_another or not verified.segment.first <= wanted.first <= verified.last:
            raise PeerFault(Fault.MALFORMED, "a segment that is not the one wanted")
        try:
            put_back: Repaired = self._write(lambda connection: repair(connection, verified, now_ms))
        except PeerFault as fault:
            if fault.fault is not Fault.FORKED:
                raise
            return None
        return put_back.last

    def _stable(self, space: SpaceId, replica: ReplicaId) -> int:
        return stable(self._reader, space).contiguous(replica)


def _inventory(reader: Reader, space: SpaceId, found: Checked | None) -> Inventory:
    damaged = found.damaged if found is not None else ()
    return Inventory(
        reader.vector(space),
        items(reader, space),
        reader.floor(space),
        reader.owes(space),
        tuple(Range(space, *one) for one in damaged),
        tuple(_ranges(space, unheld_bodies(reader, space))),
    )


def _ranges(space: SpaceId, dots: Iterable[Dot]) -> list[Range]:
    """Join neighbouring dots, which come in order."""
    found: list[Range] = []
    for replica, seq in dots:
        if found and found[-1].replica == replica and found[-1].last == seq - 1:
            found[-1] = found[-1]._replace(last=seq)
        else:
            found.append(Range(space, replica, seq, seq))
    return found


class _Arrivals:
    """Frames that wait to be looked at, bounded in bytes by making the reader wait."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes | CisError] = asyncio.Queue()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def drain(self, stream: Stream) -> None:
        """Keep the stream drained; its end or failure is an arrival like any other."""
        try:
            while (frame := await stream.read_frame(FRAME_BYTES_MAX)) is not None:
                await self._room.wait()
                self._bytes += len(frame)
                if self._bytes > ARRIVED_BYTES_MAX:
                    self._room.clear()
                self._frames.put_nowait(frame)
            self._frames.put_nowait(PeerFault(Fault.NONE, "the peer ended the audit early"))
        except CisError as error:
            self._frames.put_nowait(error)

    async def get(self) -> bytes:
        """Return the next frame, or raise what ended the stream."""
        frame = await self._frames.get()
        if isinstance(frame, CisError):
            raise frame
        self._bytes -= len(frame)
        if self._bytes <= ARRIVED_BYTES_MAX:
            self._room.set()
        return frame


class _Runner:
    def __init__(self, stream: Stream, work: AuditWork, desk: SnapshotThread) -> None:
        self._stream = stream
        self._work = work
        self._desk = desk
        self._arrivals = _Arrivals()

    async def run(self) -> AuditReport:
        audit = self._work.audit
        async with asyncio.timeout(AUDIT_S_MAX), asyncio.TaskGroup() as group:
            draining = group.create_task(self._arrivals.drain(self._stream))
            try:
                await self._perform(audit.start())
                while not audit.finished:
                    async with unless_stalled(self._stream, AUDIT_STALL_S):
                        frame = await self._arrivals.get()
                    await self._perform(await self._desk.run(self._work.take, frame))
            finally:
                draining.cancel()
        return audit.report

    async def _perform(self, effects: list[AuditEffect]) -> None:
        waiting = deque(effects)
        while waiting:
            async with unless_stalled(self._stream, AUDIT_STALL_S):
                match waiting.popleft():
                    case Send(message):
                        await self._stream.write_frame(encode(message))
                    case SendFrame(frame):
                        await self._stream.write_frame(frame, bulk=True)
                    case AuditFinished():
                        self._stream.finish()
                    case effect:
                        waiting.extend(await self._desk.run(self._work.answer, effect))
