"""Giving the disk back: what was deleted or replaced leaves the file for good, and the file shrinks to what it holds.

Rewriting a file (VACUUM) takes a time and a room in proportion to its size, so it is done when asked for alone, each
file on the thread that writes it. The copy SQLite makes meanwhile is encrypted as the file is, so it may be on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cis.store.compaction import compact, trim_journal
from cis.store.database import transaction

if TYPE_CHECKING:
    import apsw


def compact_memory(connection: apsw.Connection, indexed: Callable[[], int]) -> None:
    """Fold what was replaced, drop what the index has passed of the journal, and rewrite memory.db; takes long."""
    _to_the_end(connection, compact)
    _to_the_end(connection, lambda given: trim_journal(given, indexed()))
    rewrite(connection)


def compact_index(connection: apsw.Connection) -> None:
    """Merge the full text's segments, dropping deleted words, and rewrite index.db; takes long."""
    with transaction(connection):
        connection.execute("INSERT INTO text(text) VALUES('optimize')")
    rewrite(connection)


def rewrite(connection: apsw.Connection) -> None:
    """Rewrite a file, outside a transaction, and empty its journal as far as readers let it."""
    before = connection.pragma("temp_store")
    connection.execute("PRAGMA temp_store = FILE")
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute(f"PRAGMA temp_store = {before}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _to_the_end(connection: apsw.Connection, step: Callable[[apsw.Connection], bool]) -> None:
    more = True
    while more:
        with transaction(connection):
            more = step(connection)
