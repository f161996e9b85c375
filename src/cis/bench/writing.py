"""Local writes in bulk and one by one."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from cis.errors import CisError

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode
    from cis.store.author import Write
    from cis.store.store import Store

WRITES_AT_ONCE = 2048
"""As an import does."""
SINGLES_AT_ONCE = 128
UNDER_WAY_MAX = 8
"""Batches handed over and not yet durable: the writer takes them together into one transaction."""


def write_all(store: Store, writes: Sequence[Write], *, single: bool = False) -> float:
    """Write everything in order; returns seconds until the last is durable. Raises what a write met."""
    size = SINGLES_AT_ONCE if single else WRITES_AT_ONCE
    under_way: deque[Future[Any]] = deque()
    began = time.perf_counter()
    for start in range(0, len(writes), size):
        if len(under_way) >= UNDER_WAY_MAX:
            _check(under_way.popleft())
        under_way.append(store.write(writes[start : start + size]))
    while under_way:
        _check(under_way.popleft())
    return time.perf_counter() - began


def write_one_by_one(store: Store, writes: Sequence[Write]) -> list[float]:
    """Write each once the one before it is durable; returns the milliseconds each took."""
    latencies_ms = []
    for write in writes:
        began = time.perf_counter()
        _check(store.write([write]))
        latencies_ms.append((time.perf_counter() - began) * 1e3)
    return latencies_ms


@contextlib.contextmanager
def embedding(local: LocalNode) -> Iterator[str | None]:
    """Embed what is there and what comes, as a node does; yields the model, None where there is none."""
    from cis.api.memories.embedding_work import EmbeddingWork
    from cis.embedding.choosing import EmbeddingOptions

    with contextlib.closing(EmbeddingWork(local, EmbeddingOptions())) as work:
        work.start()
        yield work.state().model


@contextlib.contextmanager
def pages_written() -> Iterator[list[int]]:
    """Yield how many pages each transaction of the store's writer has written since, in this process."""
    import apsw

    from cis.store.engine import Engine

    name, pages = "_commit_group", list[int]()
    commit = getattr(Engine, name)

    def counted(engine: Engine, *arguments: object) -> None:
        connection = engine._connection  # noqa: SLF001 - the one that writes
        before = connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]
        commit(engine, *arguments)
        pages.append(connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0] - before)

    setattr(Engine, name, counted)
    try:
        yield pages
    finally:
        setattr(Engine, name, commit)


@contextlib.contextmanager
def changesets_of_one() -> Iterator[None]:
    """Let this process put every change into a changeset of its own, as a node does whose writes come singly."""
    from cis.store import author

    name = "CHANGES_PER_CHANGESET_MAX"
    most = getattr(author, name)
    setattr(author, name, 1)
    try:
        yield
    finally:
        setattr(author, name, most)


def _check(future: Future[Any]) -> None:
    for outcome in future.result():
        if isinstance(outcome, CisError):
            raise outcome
