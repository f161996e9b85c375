"""The one thread that writes memory.db: group commit, merging, authoring, and folding when there is nothing else.

Jobs queue with a future each; all that wait are taken together into one transaction, and their futures are
answered after its commit. Whoever submits bounds the queue by waiting: local callers for their futures, peers
by the credit of their session.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from cis.crdt import HybridClock
from cis.errors import CisError, Fault, PeerFault, StoreError, UsageError
from cis.model import Hlc, NodeId, ReplicaId, SpaceId, node_of
from cis.store.author import Author, Draft, Write, Written
from cis.store.compaction import compact
from cis.store.database import transaction, translated
from cis.store.merge import Applied, Merger
from cis.store.read import Reader
from cis.store.replicas import Replicas
from cis.trust.sealing import Entropy, SpaceKeys
from cis.trust.signing import Verified, verify
from cis.wire.messages import decode
from cis.wire.segment import Segment

_log = logging.getLogger(__name__)

GROUP_BYTES_MAX = 8 << 20
GROUP_JOBS_MAX = 4096
IDLE_S = 5.0
SETTLE_S = 0.05
"""How long after the last job folding begins."""
FOLD_AT_ROWS = 262_144

Judge = Callable[[NodeId, SpaceId, bytes], Fault | None]
"""May this node write to this space under this membership head?"""


@dataclass(frozen=True)
class Signer:
    """What the writer needs of the identity: who writes, how it signs, under which authority, now."""

    replica: Callable[[], ReplicaId]
    sign: Callable[[bytes], bytes]
    authority: Callable[[SpaceId], bytes]
    clock_ms: Callable[[], int]
    entropy: Entropy


@dataclass(frozen=True)
class Commit:
    """What one transaction brought: segments merged from peers, and those written here, ready to send on."""

    merged: tuple[Applied, ...]
    written: tuple[Segment, ...]
    promoted: int = 0


@dataclass(slots=True)
class _Job:
    future: Future[Any]
    writes: Sequence[Write] = ()
    frame: bytes = b""
    task: Callable[[apsw.Connection], Any] | None = None
    verified: Verified | None = None


@dataclass(slots=True)
class _Round:
    """What one transaction gathers, to be told after its commit."""

    answers: list[tuple[_Job, Any]] = field(default_factory=list)
    merged: list[Applied] = field(default_factory=list)
    written: list[Segment] = field(default_factory=list)
    promoted: int = 0


class Writer:
    """Submit jobs from any thread; `close` finishes what is queued."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        keys: dict[SpaceId, SpaceKeys],
        signer: Signer,
        judge: Judge,
        on_commit: Callable[[Commit], None],
    ) -> None:
        self._path = path
        self._connection = connection
        self._keys = keys
        self._signer = signer
        self._judge = judge
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._replicas = Replicas(connection)
        self._merger = Merger(connection, self._replicas)
        self._reader = Reader(connection, keys)
        self._clock = HybridClock(self._reader.latest_hlc())
        self._author = Author(self._reader, self._replicas, self._clock)
        self._unfolded = 1
        self._stopped: StoreError | None = None
        self._thread = threading.Thread(target=self._serve, name="cis-writer", daemon=True)
        self._thread.start()

    # --- submitting, from any thread ---------------------------------------------------------------------------

    def write(self, writes: Sequence[Write]) -> Future[list[Written | CisError]]:
        """Write in order; durable when the future is done. One outcome per write."""
        return self._submit(_Job(Future(), writes=writes))

    def merge(self, frame: bytes) -> Future[Applied]:
        """Verify and merge a segment frame; the future raises `PeerFault` where it is refused."""
        return self._submit(_Job(Future(), frame=frame))

    def execute(self, task: Callable[[apsw.Connection], Any]) -> Future[Any]:
        """Run a task in the transaction of its group; a `CisError` it raises is its answer, and it must then
        have changed nothing."""
        return self._submit(_Job(Future(), task=task))

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _submit(self, job: _Job) -> Future[Any]:
        if self._stopped is None:
            self._queue.put(job)
        else:
            job.future.set_exception(self._stopped)
        return job.future

    # --- the thread --------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        closing = False
        try:
            while not closing:
                jobs, closing = self._gather()
                if jobs:
                    self._commit_group(jobs)
                elif not closing:
                    self._rest()
        except BaseException:
            _log.exception("the writer stopped; what was acknowledged is safe")
            self._refuse_all()
            raise
        finally:
            self._connection.close()

    def _refuse_all(self) -> None:
        """After a defect nothing may wait for ever: answer what is queued and whatever still comes."""
        self._stopped = StoreError("the writer has stopped after an internal error: restart the node")
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    job.future.set_exception(self._stopped)

    def _gather(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        size = 0
        while len(jobs) < GROUP_JOBS_MAX and size < GROUP_BYTES_MAX:
            try:
                job = self._queue.get_nowait() if jobs else self._queue.get(timeout=self._patience_s())
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            size += len(job.frame)
        return jobs, False

    def _commit_group(self, jobs: list[_Job]) -> None:
        ready = [job for job in jobs if job.future.set_running_or_notify_cancel() and self._verified(job)]
        round_ = _Round()
        try:
            with translated(self._path), transaction(self._connection):
                self._perform(ready, round_)
        except StoreError as error:
            self._fail(ready, error)
            return
        except Exception as error:
            # A defect must answer whoever waits; the transaction is rolled back and the store unharmed.
            _log.exception("a group of writes failed")
            self._fail(ready, StoreError(f"internal error while writing: {error!r}; nothing of it was stored"))
            return
        self._tell(round_)
        self._unfolded += sum(applied.changes for applied in round_.merged) + len(round_.written)
        if self._unfolded > FOLD_AT_ROWS:
            self._fold_once()

    def _verified(self, job: _Job) -> bool:
        """Check a foreign segment before the transaction; answer the job where it is refused."""
        if not job.frame:
            return True
        try:
            segment = decode(job.frame)
            if not isinstance(segment, Segment):
                raise PeerFault(Fault.MALFORMED, "expected a segment")
            job.verified = verify(segment)
            author = node_of(job.verified.replica)
            for authority in job.verified.authorities():
                refusal = self._judge(author, job.verified.space, authority)
                if refusal is not None:
                    raise PeerFault(refusal, "a change by a node that may not write to that space")
        except PeerFault as fault:
            job.future.set_exception(fault)
            return False
        return True

    def _perform(self, jobs: list[_Job], round_: _Round) -> None:
        now_ms = self._signer.clock_ms()
        round_.promoted = self._merger.promote(now_ms)
        foreign = [job for job in jobs if job.verified is not None]
        outcomes = self._merger.merge([job.verified for job in foreign if job.verified], now_ms)
        for job, outcome in zip(foreign, outcomes, strict=True):
            round_.answers.append((job, outcome))
            if isinstance(outcome, Applied) and outcome.changes:
                self._clock.observe(outcome.latest, now_ms)
                round_.merged.append(outcome)
        for job in jobs:
            if job.task is not None:
                round_.answers.append((job, self._attempt(job.task)))
        wishes = [(job, write) for job in jobs for write in job.writes]
        results = self._author_all([write for _, write in wishes], now_ms, round_)
        start = 0
        for job in jobs:
            if job.task is None and job.verified is None:
                round_.answers.append((job, results[start : start + len(job.writes)]))
                start += len(job.writes)
        stamp = self._clock.last.to_bytes(8, "big")
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES('hlc', ?)", (stamp,))

    def _attempt(self, task: Callable[[apsw.Connection], Any]) -> Any:  # noqa: ANN401 - whatever the task returns
        try:
            return task(self._connection)
        except CisError as error:
            return error
        finally:
            self._replicas.reload()

    def _author_all(self, writes: list[Write], now_ms: int, round_: _Round) -> list[Written | CisError]:
        outcomes: list[Written | CisError] = []
        while len(outcomes) < len(writes):
            rest = writes[len(outcomes) :]
            space = rest[0].space
            keys = self._keys.get(space)
            if keys is None:
                outcomes.append(UsageError("there is no such space here: cis space list shows them"))
                continue
            run = next((at for at, write in enumerate(rest) if write.space != space), len(rest))
            end = self._replicas.end(self._replicas.space_numbers[space], self._signer.replica())
            authority = self._signer.authority(space)
            draft = Draft(keys, end.replica, end.seq + 1, end.link, authority)
            outcomes += self._author.compose(draft, rest[:run], end, now_ms)
            if draft.lines:
                verified = draft.close(self._signer.sign, self._signer.entropy)
                fault = self._merger.merge([verified], now_ms)[0]
                assert isinstance(fault, Applied), fault
                round_.written.append(verified.segment)
        return outcomes

    def _tell(self, round_: _Round) -> None:
        if round_.merged or round_.written or round_.promoted:
            self._on_commit(Commit(tuple(round_.merged), tuple(round_.written), round_.promoted))
        for job, answer in round_.answers:
            if isinstance(answer, CisError):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)

    def _fail(self, jobs: list[_Job], error: StoreError) -> None:
        self._merger.reload()
        self._clock.last = Hlc(max(self._clock.last, self._reader.latest_hlc()))
        for job in jobs:
            job.future.set_exception(error)

    def _patience_s(self) -> float:
        return SETTLE_S if self._unfolded else IDLE_S

    def _rest(self) -> None:
        """Nothing waits: promote held changes, and fold until something does."""
        promoted = 0
        if self._merger.holding:
            try:
                with translated(self._path), transaction(self._connection):
                    promoted = self._merger.promote(self._signer.clock_ms())
            except StoreError:
                self._merger.reload()
                _log.exception("held changes could not be let go; trying again")
        if promoted:
            self._on_commit(Commit((), (), promoted))
        while self._unfolded and self._queue.empty():
            self._fold_once()

    def _fold_once(self) -> None:
        try:
            with translated(self._path), transaction(self._connection):
                more = compact(self._connection)
        except StoreError:
            _log.exception("the store could not be compacted; nothing is lost")
            more = False
        if not more:
            self._unfolded = 0
