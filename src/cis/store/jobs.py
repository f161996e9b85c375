"""What waits for the writer: jobs with a future each, taken together in groups; none is ever left unanswered.

Whoever submits bounds the queue by waiting: local callers for their futures, peers by their session's credit.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cis.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apsw

    from cis.store.author import Write
    from cis.store.ordering import Turn
    from cis.trust.signing import Verified

GROUP_BYTES_MAX = 8 << 20
GROUP_JOBS_MAX = 4096


@dataclass(slots=True)
class Job:
    """One of four: writes to author, a peer's frame to merge, a task to run on the connection, or one to run alone."""

    writes: Sequence[Write] = ()
    frame: bytes = b""
    turn: Turn | None = None
    """where the frame came in a session"""
    task: Callable[[apsw.Connection], Any] | None = None
    alone: Callable[[apsw.Connection], Any] | None = None
    """a task that is run after its group, outside any transaction"""
    verified: Verified | None = None
    future: Future[Any] = field(default_factory=Future)

    def begin(self) -> bool:
        """Take the job up; False where its caller has cancelled it."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def answer(self, outcome: object) -> None:
        """Give the caller the outcome; an exception is raised there."""
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Inbox:
    """Jobs from any thread to the one that writes, until it is closed or has failed."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._refusal: StoreError | None = None

    def put(self, job: Job) -> Future[Any]:
        """Queue the job; after `close` or `fail` it is refused at once."""
        with self._guard:
            if self._refusal is None:
                self._queue.put(job)
                return job.future
        job.answer(self._refusal)
        return job.future

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return self._queue.empty()

    def take(self, patience_s: float) -> tuple[list[Job], bool]:
        """Return what waits, up to a group's size, having waited for the first; and whether that is all."""
        jobs: list[Job] = []
        size = 0
        while len(jobs) < GROUP_JOBS_MAX and size < GROUP_BYTES_MAX:
            try:
                job = self._queue.get_nowait() if jobs else self._queue.get(timeout=patience_s)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            size += len(job.frame)
        return jobs, False

    def close(self) -> None:
        """Refuse whatever still comes; what is queued will be taken."""
        with self._guard:
            if self._refusal is None:
                self._refusal = StoreError("the store is closed: open it again, or start the node")
                self._queue.put(None)

    def fail(self, refusal: StoreError, in_hand: Sequence[Job]) -> None:
        """Refuse what is in hand, what is queued and whatever still comes."""
        with self._guard:
            self._refusal = refusal
        queued = (self._queue.get_nowait() for _ in range(self._queue.qsize()))
        for job in [*in_hand, *queued]:
            if job is not None and not job.future.done() and job.begin():
                job.answer(refusal)
