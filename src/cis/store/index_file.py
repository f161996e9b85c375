"""The file index.db: opened if it is of this very store and up to date enough, else made anew; and how it forgets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cis.errors import StoreError
from cis.store.database import Layout, fetch, open_database, transaction, translated
from cis.store.schema import INDEX_MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

_log = logging.getLogger(__name__)

# What a power cut loses of an index is filled again from the journal: it need not be durable to the last commit.
INDEX_LAYOUT = Layout(0x63697369, INDEX_MIGRATIONS, cache_kib=16_384, synchronous="NORMAL", forgetful=True)
MERGED_PAGES = 64
"""Pages of the full text rewritten per step of forgetting: a quarter of a MiB, some milliseconds."""
_JOURNAL = """
    SELECT newest, coalesce((SELECT min(no) - 1 FROM journal), newest)
    FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0) AS newest)"""


def open_index(path: Path, key: bytes, source: bytes, memory: apsw.Connection) -> apsw.Connection:
    """Open the index of this very store; one that is damaged, foreign, newer, older or behind is made anew."""
    newest, trimmed = fetch(memory, _JOURNAL)[0]
    try:
        connection = open_database(path, key, INDEX_LAYOUT)
        found = fetch(connection, "SELECT source, journal FROM progress")
        if found and found[0][0] == source and trimmed <= found[0][1] <= newest:
            return connection
        connection.close()
    except StoreError as error:
        _log.warning("the index is rebuilt: %s", error)
    return make_index(path, key, source, memory)


def make_index(path: Path, key: bytes, source: bytes, memory: apsw.Connection) -> apsw.Connection:
    """Make an index that holds nothing yet, in the place of one that nobody has open for writing."""
    with translated(path):
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            leftover.unlink(missing_ok=True)
    connection = open_database(path, key, INDEX_LAYOUT)
    newest, _ = fetch(memory, _JOURNAL)[0]
    with translated(path):
        row = (source, newest)
        connection.execute("INSERT INTO progress(one, source, journal, rebuilt) VALUES(1, ?, ?, x'')", row)
    return connection


def forget_some(connection: apsw.Connection, *, begin: bool) -> bool:
    """Rewrite some of the full text without the words of deleted rows; False once none is left.

    FTS5 marks deleted rows of a table without contents, and drops their words when it merges the segments they are in.
    """
    with transaction(connection):
        before = connection.total_changes()
        pages = -MERGED_PAGES if begin else MERGED_PAGES
        connection.execute("INSERT INTO text(text, rank) VALUES('merge', ?)", (pages,))
        more: bool = connection.total_changes() - before > 1
        if not more:
            connection.execute("UPDATE progress SET forgotten = 0")
    if not more:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return more
