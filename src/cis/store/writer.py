"""Who runs the engine: a thread of its own with an inbox, or whoever submits, at once, where nothing runs beside it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from cis.errors import StoreError
from cis.store.jobs import Inbox, Job

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cis.store.engine import Engine

_log = logging.getLogger(__name__)

IDLE_S = 5.0
SETTLE_S = 0.05
"""How long after the last job folding begins."""


class Runner(Protocol):
    """Takes jobs to the engine."""

    def submit(self, job: Job) -> Future[Any]:
        """Take a job; its future is done once it is committed or refused."""

    def rest(self) -> None:
        """See to upkeep now, unless it is seen to anyway."""

    def close(self) -> None:
        """Finish what was submitted, then close the engine."""


class Writer:
    """The one thread that writes: all jobs that wait are committed together, upkeep is done in between."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._serve, name="cis-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[Any]:
        """Queue a job, from any thread."""
        return self._inbox.put(job)

    def rest(self) -> None:
        """The thread rests by itself when nothing waits."""

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._inbox.close()
        self._thread.join()

    def _serve(self) -> None:
        jobs: list[Job] = []
        closing = False
        try:
            while not closing:
                jobs, closing = self._inbox.take(IDLE_S if self._engine.settled else SETTLE_S)
                if jobs:
                    self._engine.commit(jobs)
                elif not closing:
                    self._engine.rest(self._inbox.empty)
        except BaseException:
            _log.exception("the writer stopped; what was acknowledged is safe")
            self._inbox.fail(StoreError("the writer has stopped after an internal error: restart the node"), jobs)
            raise
        finally:
            self._engine.close()


class InPlace:
    """Runs each job where it is submitted, a transaction each, and upkeep only when told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, job: Job) -> Future[Any]:
        """Commit a job; what it raises beyond its answer leaves the transaction rolled back."""
        self._engine.commit([job])
        return job.future

    def rest(self) -> None:
        """See to upkeep until none is left."""
        self._engine.rest(lambda: True)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
