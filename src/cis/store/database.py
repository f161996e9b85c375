"""Opening SQLite files: page encryption, pragmas, versions, migrations, and foreign errors translated once.

AEGIS pages (SQLite3 Multiple Ciphers), WAL, and for the truth ``synchronous=FULL``: an acknowledged commit
survives ``kill -9`` and power loss. A file that cannot be used is left exactly as it was found.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from cis.errors import StoreError, system_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SQLITE_VERSION_MIN = 3_051_003
"""Older ones have the WAL-reset corruption bug."""
BUSY_TIMEOUT_MS = 5_000
INDEX_NAME = "index.db"
"""The file that is made of the other, and can be again."""
_KEY_BYTES = 32
_PAGE_BYTES = 8192
_PLAIN_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True)
class Layout:
    """What a file of the store must be: its application id, its migrations in order; and its writer's pragmas."""

    application_id: int
    migrations: Sequence[str]
    cache_kib: int = 65_536
    checkpoint_pages: int = 4_000
    synchronous: str = "FULL"
    forgetful: bool = False
    """what is deleted leaves the pages at once: of what is not sealed by itself"""


class IndexDamaged(StoreError):
    """The file that is made of the other is damaged."""


def open_database(path: Path, key: bytes, layout: Layout) -> apsw.Connection:
    """Open for writing, creating or migrating as needed; `StoreError` names the file and what is wrong."""
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_VERSION_MIN:
        raise StoreError(f"SQLite {apsw.sqlite_lib_version()} corrupts WAL files: install apsw-sqlite3mc ≥ 3.51.3")
    with translated(path):
        _refuse_foreign(path)
        if not path.exists():
            path.touch(mode=0o600)
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        with closed_on_failure(connection):
            _unlock(connection, key)
            _require_ours(connection, path, layout)
            _tune_writer(connection, layout)
            _migrate(connection, layout)
        return connection


def open_reader(path: Path, key: bytes) -> apsw.Connection:
    """Open an existing file for reading only, on a connection of its own."""
    with translated(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        with closed_on_failure(connection):
            _unlock(connection, key)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -32768")
        return connection


@contextlib.contextmanager
def closed_on_failure(connection: apsw.Connection) -> Iterator[None]:
    """Close a connection that was opened for nothing, where what comes next raises."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


RESTING_CACHE_BYTES = 2 << 20
"""What a writer's page cache may hold while nothing is to be done. Its bound is for large merges; a node that only
follows a few changes a second would fill it all the same in some hours, as history grows, and never give it back."""


def give_back(connection: apsw.Connection) -> None:
    """Give back the page cache of a connection at rest, if it is large; what is needed again is read again."""
    used, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
    if used > RESTING_CACHE_BYTES:
        connection.release_memory()


def memory_used() -> int:
    """Return how many bytes SQLite holds in this process: page caches above all."""
    used: int = apsw.memory_used()
    return used


def fetch(connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return all rows, typed by the schema alone; errors as in `translated`."""
    try:
        return connection.execute(query, tuple(bindings)).fetchall()
    except apsw.Error as error:
        raise _store_error(Path(connection.filename), error) or error from None


def fetch_one(connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> Any:  # noqa: ANN401 - as stored
    """Return the first column of the first row, None where there is no row; errors as in `translated`."""
    rows = fetch(connection, query, bindings)
    return rows[0][0] if rows else None


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors and the operating system's into a `StoreError` that says what to do."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise _store_error(path, error) or error from None


@contextlib.contextmanager
def queried(path: Path) -> Iterator[None]:
    """Do as `translated` with SQLite's errors alone: around what others ask a connection, whatever else they do."""
    try:
        yield
    except apsw.Error as error:
        raise _store_error(path, error) or error from None


@contextlib.contextmanager
def one_state(connection: apsw.Connection) -> Iterator[None]:
    """See one state of the file throughout, that of the transaction one is in if there is one; nothing is written."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        _roll_back(connection)


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit on success, roll back on any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: apsw.Connection) -> None:
    if connection.in_transaction:  # a disk that fails may have ended it
        connection.execute("ROLLBACK")


def _store_error(path: Path, error: Exception) -> StoreError | None:
    """Return what an error means to whoever runs the node; None where it is a defect of ours."""
    match error:
        case apsw.NotADBError() | apsw.CorruptError() if path.name == INDEX_NAME:
            return IndexDamaged(f"{path} is damaged ({error}): `cis memory reindex` makes it anew, and nothing is lost")
        case apsw.NotADBError():
            text = (
                f"{path} cannot be read with this node's key: it is damaged, or belongs to another identity. "
                "Nothing was changed; restore it from a backup, or move it away"
            )
        case apsw.CorruptError():
            text = f"{path} is damaged ({error}); restore it from a backup, or resync from a peer"
        case apsw.FullError():
            text = f"the disk that holds {path} is full: free some space; nothing acknowledged is lost"
        case apsw.BusyError():
            text = f"{path} is in use by another process: stop it (cis down), or use its daemon"
        case OSError() if remedy := system_remedy(error):
            text = f"{path} cannot be opened or written: {remedy}"
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.IOError() | OSError():
            text = f"{path} cannot be opened or written ({error}): check the disk, the folder's owner and mode"
        case _:
            return None
    return StoreError(text)


def _refuse_foreign(path: Path) -> None:
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_PLAIN_MAGIC)) == _PLAIN_MAGIC:
                raise StoreError(f"{path} is an unencrypted SQLite file, not one of ours: move it away")


def _unlock(connection: apsw.Connection, key: bytes) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("cipher", "aegis")
    assert len(key) == _KEY_BYTES, "pages are sealed under a key, not a passphrase: deriving one takes 20 ms"
    connection.execute(f"PRAGMA key = 'raw:{key.hex()}'")
    connection.pragma("page_size", _PAGE_BYTES)


def _require_ours(connection: apsw.Connection, path: Path, layout: Layout) -> None:
    version: int = connection.pragma("user_version")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        return  # new, or killed while it was being made
    if connection.pragma("application_id") != layout.application_id:
        raise StoreError(f"{path} is not the file it should be: move it away")
    if version > len(layout.migrations):
        raise StoreError(
            f"{path} was written by a newer cis (format {version}, this one knows {len(layout.migrations)}): update cis"
        )


def _tune_writer(connection: apsw.Connection, layout: Layout) -> None:
    if connection.pragma("journal_mode", "wal") != "wal":
        raise StoreError("the file system does not support write-ahead logging: choose another home")
    for name, value in {
        "synchronous": layout.synchronous,
        "cache_size": -layout.cache_kib,
        "wal_autocheckpoint": layout.checkpoint_pages,
        "secure_delete": "ON" if layout.forgetful else "OFF",
        "temp_store": "MEMORY",
    }.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _migrate(connection: apsw.Connection, layout: Layout) -> None:
    version = connection.pragma("user_version")
    for number, script in enumerate(layout.migrations[version:], start=version + 1):
        with transaction(connection):
            connection.execute(script)
            connection.execute(f"PRAGMA application_id = {layout.application_id}")
            connection.execute(f"PRAGMA user_version = {number}")
