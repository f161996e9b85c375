"""The records that are registered: a table of SQLite, in a file or in memory, which nobody but members can read.

A file outlives a restart, so members find each other before all have come back; it is in no other way better, since
nodes register again when their connection ends. One that is damaged or not ours is refused, with what to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from cis.errors import StoreError

_APPLICATION_ID = 0x63697361
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    tag BLOB PRIMARY KEY, sealed BLOB NOT NULL, expires REAL NOT NULL, owner TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_expiry ON records (expires);
CREATE INDEX IF NOT EXISTS by_owner ON records (owner);
"""


class Shelf:
    """Belongs to one thread; times are Unix seconds, since they must hold across a restart.

    ``owner`` is a hash of the address that registered, under a key that ends with the process: it bounds what one
    address may keep, and is no address.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            if path is not None:  # SQLite gives the files beside it the mode it has by then
                path.touch(0o600)
            self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
            found = self._database.execute("PRAGMA application_id").fetchone()[0]
            if found not in {0, _APPLICATION_ID}:
                raise StoreError(f"{path} is a database of another program: name another file")
            if path is not None:
                path.chmod(0o600)
            self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
            held = self._database.execute("SELECT count(*), coalesce(sum(length(sealed)), 0) FROM records")
            self.count, self.bytes = held.fetchone()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"the anchor's database {path} cannot be used: {error}. It holds nothing that nodes do not put back: "
                "delete it, or start without --database"
            ) from error

    def put(self, tag: bytes, sealed: bytes, expires: float, owner: str) -> None:
        """Keep a record in place of the one under that tag; `StoreError` where the disk takes none."""
        self._drop("tag = ?", tag)
        self._do("INSERT INTO records VALUES (?, ?, ?, ?)", (tag, sealed, expires, owner))
        self.count, self.bytes = self.count + 1, self.bytes + len(sealed)

    def get(self, tag: bytes, now: float) -> bytes | None:
        """Return the record under a tag, unless it has expired."""
        rows = self._do("SELECT sealed FROM records WHERE tag = ? AND expires > ?", (tag, now))
        return rows[0][0] if rows else None

    def holds(self, tag: bytes) -> bool:
        """Tell whether there is a record under a tag, expired or not."""
        return bool(self._do("SELECT 1 FROM records WHERE tag = ?", (tag,)))

    def owned(self, owner: str) -> int:
        """Return how many records an owner has."""
        found: int = self._do("SELECT count(*) FROM records WHERE owner = ?", (owner,))[0][0]
        return found

    def expire(self, now: float) -> None:
        """Drop what has expired."""
        self._drop("expires <= ?", now)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _drop(self, condition: str, value: bytes | float) -> None:
        sizes = self._do(f"DELETE FROM records WHERE {condition} RETURNING length(sealed)", (value,))  # noqa: S608 - the conditions are ours
        self.count, self.bytes = self.count - len(sizes), self.bytes - sum(size for (size,) in sizes)

    def _do(self, statement: str, values: tuple[bytes | float | str, ...]) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the anchor's database cannot be used: {error}") from error
