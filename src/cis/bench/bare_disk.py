"""The least that makes bytes durable on this disk: plain SQLite set up as our store is, and the call beneath it.

No encryption, no index, one table; the same library, page size, log and checkpoints as `cis.store.database`.
"""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import apsw

from cis.bench.figures import BenchFailed

PAGE_BYTES = 8192
ROWS_AT_ONCE = 16_384
"""Rows in one transaction, about as many as the writer of a store takes together."""
_FRAME_BYTES = PAGE_BYTES + 24
"""A page in SQLite's log, with its header."""
_CHECKPOINT_PAGES = 4000
_INSERT = "INSERT INTO line SELECT ?1 + value, substr(?2, value * ?3 + 1, ?3) FROM carray(?4)"
_ROW_BYTES = 5000
"""Two do not fit a page."""


def insert_s(folder: Path, rows: int, row_bytes: int) -> float:
    """Return seconds until so many rows of so many bytes are durable, in transactions of `ROWS_AT_ONCE`."""
    chunk, numbers = os.urandom(row_bytes * min(rows, ROWS_AT_ONCE)), array("q", range(min(rows, ROWS_AT_ONCE)))
    with _opened(folder / "insert.db") as connection:
        began = time.perf_counter()
        for start in range(0, rows, ROWS_AT_ONCE):
            connection.execute("BEGIN IMMEDIATE")
            places = apsw.carray(numbers, stop=min(ROWS_AT_ONCE, rows - start))
            connection.execute(_INSERT, (start, chunk, row_bytes, places))
            connection.execute("COMMIT")
        elapsed_s = time.perf_counter() - began
        written: int = connection.execute("SELECT sum(length(value)) FROM line").get
    if written != rows * row_bytes:
        raise BenchFailed(f"{written:,} bytes were inserted where {rows * row_bytes:,} were expected")
    return elapsed_s


def commit_ms(folder: Path, pages: int, commits: int) -> list[float]:
    """Return the milliseconds of each of so many commits, each of so many pages; `BenchFailed` where it was others."""
    with _opened(folder / "commit.db") as connection:
        connection.executemany("INSERT INTO line VALUES(?, zeroblob(?))", [(no, _ROW_BYTES) for no in range(pages)])
        before, taken_ms = _written(connection), []
        for _ in range(commits):
            began = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE line SET value = randomblob(?)", (_ROW_BYTES,))
            connection.execute("COMMIT")
            taken_ms.append((time.perf_counter() - began) * 1e3)
        wrote = _written(connection) - before
    if not pages * commits <= wrote <= (pages + 1) * commits:
        raise BenchFailed(f"{wrote:,} pages were committed where {pages * commits:,} were expected")
    return taken_ms


def sync_ms(folder: Path, pages: int, times: int) -> list[float]:
    """Return the milliseconds it takes to append so many pages to a file and have the disk say that it has them."""
    data, taken_ms = os.urandom(pages * _FRAME_BYTES), []
    sync = getattr(os, "fdatasync", os.fsync)
    with (folder / "appended").open("wb", buffering=0) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(data)
            sync(file.fileno())
            taken_ms.append((time.perf_counter() - began) * 1e3)
    return taken_ms


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("page_size", PAGE_BYTES)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        connection.execute("CREATE TABLE line(no INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        yield connection
    finally:
        connection.close()


def _written(connection: apsw.Connection) -> int:
    return connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]
