from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from cis.store.database import RESTING_CACHE_BYTES, give_back
from tests.stores import WAIT_S, Author, open_store, put, write


def cached(connection: apsw.Connection) -> int:
    """What a connection's page cache holds, in bytes."""
    used, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
    return used


def test_a_connection_at_rest_keeps_a_small_cache_and_gives_a_large_one_back(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "file.db"))
    connection.execute("PRAGMA cache_size = -65536; CREATE TABLE held (body)")
    connection.execute("INSERT INTO held VALUES (zeroblob(?))", (RESTING_CACHE_BYTES // 2,))
    small = cached(connection)
    give_back(connection)
    assert cached(connection) == small > RESTING_CACHE_BYTES // 2
    connection.execute("INSERT INTO held VALUES (zeroblob(?))", (RESTING_CACHE_BYTES,))
    give_back(connection)
    assert cached(connection) < RESTING_CACHE_BYTES // 4


def test_a_store_that_rests_holds_little_of_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    rested = threading.Event()

    def at_rest(connection: apsw.Connection) -> None:
        before = cached(connection)
        give_back(connection)
        if before > RESTING_CACHE_BYTES:
            held.append(cached(connection))
            rested.set()

    monkeypatch.setattr("cis.store.engine.give_back", at_rest)
    with open_store(tmp_path, Author(1)) as store:
        write(store, *(put(f"key/{number}", "text " * 400) for number in range(2_000)))
        assert rested.wait(WAIT_S)
        assert held[0] < RESTING_CACHE_BYTES
        write(store, put("key/1", "taken"))


def test_the_index_gives_back_what_it_cached_once_it_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested = threading.Event()

    def at_rest(connection: apsw.Connection) -> None:
        give_back(connection)
        if "doc" in {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}:
            rested.set()

    monkeypatch.setattr("cis.store.index.give_back", at_rest)
    with open_store(tmp_path, Author(1)) as store:
        assert rested.wait(WAIT_S)
        rested.clear()
        write(store, put("key", "text"))
        assert rested.wait(WAIT_S)


def test_readers_that_were_needed_at_once_are_closed_when_they_are_needed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("cis.store.reading.time.monotonic", lambda: now)
    with open_store(tmp_path, Author(1)) as store:
        with store.snapshot() as first, store.snapshot() as second, store.snapshot() as third:
            pass
        now += 30.0
        with store.snapshot() as used:
            assert used is first, "the one that was given back last"
        now += 31.0
        with store.snapshot() as used:
            assert used is first
        for surplus in (second, third):
            with pytest.raises(apsw.ConnectionClosedError):
                surplus.connection.execute("SELECT 1")
        now += 600.0
        with store.snapshot() as used:
            assert used is first, "one is kept, however seldom it is needed"
