"""What writes memory.db, whoever runs it: group commit, merging, authoring, and upkeep in between.

The jobs of a group go into one transaction and are answered after its commit: merges first, then tasks, then
writes, each kind in the order it came. A group that fails on a defect is tried again job by job, so that one
caller's fault is not another's loss. `cis.store.writer` decides on which thread this happens, and when.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cis.crdt import HybridClock
from cis.errors import CisError, Fault, PeerFault, StoreError, UsageError
from cis.model import Hlc, ReplicaId, SpaceId
from cis.store.admission import Gate, Judge, Limit, check
from cis.store.author import Author, Draft, Write, Written
from cis.store.compaction import compact, trim_journal
from cis.store.database import give_back, transaction, translated
from cis.store.jobs import Job
from cis.store.merge import Applied, Merger
from cis.store.read import Reader
from cis.store.replicas import Replicas
from cis.wire.messages import decode
from cis.wire.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import apsw

    from cis.trust.sealing import Entropy, SpaceKeys
    from cis.trust.signing import Verified

_log = logging.getLogger(__name__)

FOLD_AT_ROWS = 262_144
_SHARED_CLOCK, _PRIVATE_CLOCK = "hlc", "hlc private"


@dataclass(frozen=True)
class Signer:
    """What writing needs of the identity: who writes, how it signs, under which authority, now."""

    replica: Callable[[], ReplicaId]
    sign: Callable[[bytes], bytes]
    authority: Callable[[SpaceId], bytes]
    renew: Callable[[apsw.Connection], None]
    reload: Callable[[apsw.Connection], None]
    """forgets a renewal that was rolled back"""
    clock_ms: Callable[[], int]
    entropy: Entropy


@dataclass(frozen=True)
class Commit:
    """What one transaction brought: segments merged from peers, and those written here, ready to send on."""

    merged: tuple[Applied, ...]
    written: tuple[Segment, ...]
    promoted: int = 0
    withdrawn: int = 0
    """changes that a removal of their author voided"""


@dataclass(slots=True)
class _Round:
    """What one transaction gathers, to be told after its commit."""

    answers: list[tuple[Job, Any]] = field(default_factory=list)
    merged: list[Applied] = field(default_factory=list)
    written: list[Segment] = field(default_factory=list)
    promoted: int = 0


@dataclass(frozen=True)
class Around:
    """What surrounds the engine: who may write how far, who is told of commits, how far the index has come."""

    judge: Judge
    limit: Limit
    on_commit: Callable[[Commit], None]
    indexed: Callable[[], int]
    beyond_max: Callable[[], int]
    """how far past the end of a log a change may be to be kept"""


class Engine:
    """Owns the connection that writes; one thread at a time may call it. After `close` nothing may be asked of it."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        keys: dict[SpaceId, SpaceKeys],
        signer: Signer,
        around: Around,
    ) -> None:
        self._path = path
        self._connection = connection
        self._keys = keys
        self._signer = signer
        self._around = around
        self._replicas = Replicas(connection)
        self._gate = Gate(around.judge, around.limit, self._replicas.stable)
        self._merger = Merger(connection, self._replicas, around.beyond_max)
        self._reader = Reader(connection, keys)
        self._clock = HybridClock(self._reader.latest_hlc(_SHARED_CLOCK))
        # A clock of its own, so that stamps others see do not count what is written privately.
        self._private_clock = HybridClock(self._reader.latest_hlc(_PRIVATE_CLOCK))
        self._authors = {
            True: Author(self._reader, self._replicas, self._clock),
            False: Author(self._reader, self._replicas, self._private_clock),
        }
        self._unfolded = 1
        self._astray = False
        """whether what is known here is ahead of the tables, as a transaction was rolled back"""

    @property
    def settled(self) -> bool:
        """Tell whether everything is folded: upkeep may wait."""
        return not self._unfolded

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def commit(self, jobs: Iterable[Job]) -> None:
        """Take the jobs into one transaction, and answer each after its commit or with why it came to nothing."""
        ready = [job for job in jobs if job.begin() and self._verified(job)]
        if not ready:
            return
        grouped = [job for job in ready if job.alone is None]
        if grouped:
            self._commit_group(grouped)
        for job in ready:
            if job.alone is not None:
                self._run_alone(job, job.alone)
        if self._unfolded > FOLD_AT_ROWS:
            self._fold_once()

    def _verified(self, job: Job) -> bool:
        """Check a foreign segment before the transaction; answer the job where it is refused."""
        if job.frame:
            checked = check(job.frame, self._replicas.shared, self._gate)
            if isinstance(checked, PeerFault) or checked.tail is not None:
                _refuse_rest(job)
            if isinstance(checked, PeerFault):
                job.answer(checked)
                return False
            job.verified = checked
        return True

    def _run_alone(self, job: Job, task: Callable[[apsw.Connection], Any]) -> None:
        try:
            with translated(self._path):
                job.answer(task(self._connection))
        except StoreError as error:
            job.answer(error)
        except Exception as error:  # noqa: BLE001 - whoever waits must be answered
            _log.exception("a task on the store failed")
            job.answer(StoreError(f"internal error while working on the store: {error!r}"))

    def _commit_group(self, jobs: list[Job]) -> None:
        round_ = _Round()
        try:
            with translated(self._path), transaction(self._connection):
                self._learn()
                self._perform(jobs, round_)
        except Exception as error:  # noqa: BLE001 - whoever waits must be answered; all is rolled back
            if len(jobs) > 1:
                self._undo((), error)
                for job in jobs:
                    self._commit_group([job])
            elif isinstance(error, StoreError):
                self._undo(jobs, error)
            else:
                _log.exception("a write failed")
                self._undo(jobs, StoreError(f"internal error while writing: {error!r}; nothing of it was stored"))
        else:
            self._unfolded += sum(applied.changes for applied in round_.merged) + len(round_.written)
            self._tell(round_)

    def _perform(self, jobs: list[Job], round_: _Round) -> None:
        now_ms = self._signer.clock_ms()
        round_.promoted, latest = self._merger.promote(now_ms)
        self._clock.observe(latest, now_ms)
        foreign = [(job, job.verified) for job in jobs if job.verified is not None]
        outcomes = self._merger.merge([verified for _, verified in foreign], now_ms, [job.turn for job, _ in foreign])
        for (job, _), outcome in zip(foreign, outcomes, strict=True):
            round_.answers.append((job, outcome))
            if isinstance(outcome, Applied) and outcome.changes:
                self._clock.observe(outcome.latest, now_ms)
                round_.merged.append(outcome)
        self._mind_own_log(zip((verified for _, verified in foreign), outcomes, strict=True))
        tasks = [(job, job.task) for job in jobs if job.task is not None]
        for job, task in tasks:
            round_.answers.append((job, self._attempt(task)))
        if tasks:  # one may have let held changes go
            round_.promoted += self._merger.promote(now_ms)[0]
        writing = [job for job in jobs if job.task is None and job.verified is None]
        results = self._author_all([write for job in writing for write in job.writes], now_ms, round_)
        start = 0
        for job in writing:
            round_.answers.append((job, results[start : start + len(job.writes)]))
            start += len(job.writes)
        self._save_clock()

    def _mind_own_log(self, told: Iterable[tuple[Verified, Applied | PeerFault]]) -> None:
        """Go on under a new incarnation where this replica's log was cut, or others know more of it than this store.

        More is known where it lies behind a gap, was named, or is stable. Then either this store was rolled back or
        cloned, or somebody means to replace what is yet to be written.
        """
        own, awaits = self._signer.replica(), self._merger.awaits
        lived = any(verified.replica == own and _is_news(outcome) for verified, outcome in told)
        ends = self._replicas.of(own)
        if lived or any(end.beyond or end.floor > end.seq or awaits(end.number) for end in ends):
            _log.warning("others know what this replica never wrote: it goes on under a new incarnation")
            self._signer.renew(self._connection)
        elif any(self._around.limit(space, own) is not None for space in self._replicas.spaces_of(own)):
            _log.warning("what this node wrote was cut off with its removal: it goes on under a new incarnation")
            self._signer.renew(self._connection)

    def _save_clock(self) -> None:
        clocks = {_SHARED_CLOCK: self._clock, _PRIVATE_CLOCK: self._private_clock}
        rows = [(name, clock.last.to_bytes(8, "big")) for name, clock in clocks.items()]
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)

    def _attempt(self, task: Callable[[apsw.Connection], Any]) -> Any:  # noqa: ANN401 - whatever the task returns
        try:
            return task(self._connection)
        except StoreError:
            raise  # it may have changed something: all of its transaction goes
        except CisError as error:
            return error
        finally:
            self._merger.reload()

    def _author_all(self, writes: list[Write], now_ms: int, round_: _Round) -> list[Written | CisError]:
        outcomes: list[Written | CisError] = []
        while len(outcomes) < len(writes):
            space = writes[len(outcomes)].space
            keys, number = self._keys.get(space), self._replicas.space_numbers.get(space)
            if keys is None or number is None:
                outcomes.append(UsageError("there is no such space here: cis space list shows them"))
                continue
            end = self._replicas.end(number, self._signer.replica())
            try:
                authority = self._signer.authority(space)
            except CisError as error:
                outcomes.append(error)
                continue
            draft = Draft(keys, end.replica, end.seq + 1, end.link, authority)
            author = self._authors[space in self._replicas.shared]
            outcomes += author.compose(draft, writes, len(outcomes), end, now_ms, holding=self._merger.holding)
            if draft.lines:
                verified = draft.close(self._signer.sign, self._signer.entropy)
                merged = self._merger.merge([verified], now_ms)[0]
                assert isinstance(merged, Applied), merged
                round_.written.append(verified.segment)
        return outcomes

    def _tell(self, round_: _Round) -> None:
        try:
            if round_.merged or round_.written or round_.promoted:
                self._around.on_commit(Commit(tuple(round_.merged), tuple(round_.written), round_.promoted))
        finally:
            for job, answer in round_.answers:
                if job.turn is not None and isinstance(answer, Applied) and not answer.gap:
                    job.turn.took((answer.space, answer.replica), answer.last)
                job.answer(answer)

    def _undo(self, jobs: Sequence[Job], error: Exception) -> None:
        """After a rollback: answer the jobs; what the round had changed is learnt again from the tables."""
        for job in jobs:
            _refuse_rest(job)
            job.answer(error)
        self._forget()

    def _forget(self) -> None:
        """Learn again what a rollback took back; on a disk that fails, before the next transaction does anything."""
        self._astray = True
        with contextlib.suppress(StoreError), translated(self._path):
            self._learn()

    def _learn(self) -> None:
        if self._astray:
            self._merger.reload()
            self._signer.reload(self._connection)
            self._clock.last = Hlc(max(self._clock.last, self._reader.latest_hlc(_SHARED_CLOCK)))
            self._astray = False

    # --- nothing waits -------------------------------------------------------------------------------------

    def rest(self, idle: Callable[[], bool]) -> None:
        """Let held changes go, and fold, trim and give memory back for as long as ``idle`` says that nothing waits."""
        if self._merger.holding:
            self._promote_due()
        while self._unfolded and idle():
            self._fold_once()
        if idle():
            self._tidy(lambda: trim_journal(self._connection, self._around.indexed()))
            give_back(self._connection)

    def _promote_due(self) -> None:
        round_ = _Round()

        def promote() -> bool:
            self._perform([], round_)
            return bool(round_.promoted)

        if self._tidy(promote):
            self._tell(round_)

    def _fold_once(self) -> None:
        if not self._tidy(lambda: compact(self._connection)):
            self._unfolded = 0

    def _tidy(self, step: Callable[[], bool]) -> bool:
        """Run a step of upkeep in a transaction; what fails is tried again later."""
        try:
            with translated(self._path), transaction(self._connection):
                self._learn()
                return step()
        except StoreError:
            _log.exception("upkeep of the store failed and will be tried again; nothing is lost")
            self._forget()
            return False


def _refuse_rest(job: Job) -> None:
    """Tell the session a frame came in that its segment was not taken, or not to its end."""
    if job.turn is not None:
        with contextlib.suppress(PeerFault):  # what cannot be read ends the session
            segment = decode(job.frame)
            if isinstance(segment, Segment):
                job.turn.refused((SpaceId(segment.space), ReplicaId(segment.replica)))


def _is_news(outcome: Applied | PeerFault) -> bool:
    """Tell whether a segment of a log showed what the log did not hold."""
    return outcome.fault is Fault.FORKED if isinstance(outcome, PeerFault) else outcome.gap or outcome.changes > 0
