"""One view of the store for as long as an exchange with a peer lasts, read by one thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from cis.store.read import Reader
from cis.store.store import Store

_Result = TypeVar("_Result")


class SnapshotThread:
    """A context manager; the snapshot is closed after the last read, without being waited for."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, name)
        self._reader: Reader | None = None

    async def run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        """Run something on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def open(self) -> Reader:
        """Take the snapshot; on the thread."""
        self._reader = self._store.open_reader()
        self._reader.connection.execute("BEGIN")
        return self._reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.connection.close()
