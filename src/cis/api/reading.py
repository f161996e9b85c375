"""Readers of the store for whichever thread needs one, kept for the next."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

from cis.store.database import queried
from cis.store.read import Reader
from cis.store.store import Store

IDLE_READERS_MAX = 4


class Readers:
    """Lends readers, each seeing one state of the store while it is lent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._idle: queue.SimpleQueue[Reader] = queue.SimpleQueue()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Yield a reader inside a transaction."""
        try:
            reader = self._idle.get_nowait()
        except queue.Empty:
            reader = self._store.open_reader()
        try:
            with queried(self._store.path):
                reader.connection.execute("BEGIN")
                yield reader
                reader.connection.execute("COMMIT")
        except BaseException:
            reader.connection.close()
            raise
        if self._idle.qsize() < IDLE_READERS_MAX:
            self._idle.put(reader)
        else:
            reader.connection.close()

    def close(self) -> None:
        """Close those not lent."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().connection.close()
