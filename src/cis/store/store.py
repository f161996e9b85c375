"""The store of one node: memory.db and index.db opened together, written by one thread, read by many.

::

    with Store.open(home, key, node, parts) as store:
        store.add_space(keys, "public", replicated=True)
        store.write([Write(space, Kind.PUT, Content("editor", b"dark mode"))]).result()
        store.reader.recall(space, "editor")
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cis.errors import StoreError
from cis.store.database import Layout, fetch, open_database, open_reader, translated
from cis.store.incarnation import current_replica, renew
from cis.store.index import Indexer
from cis.store.read import Reader
from cis.store.replicas import Replicas
from cis.store.schema import MEMORY_MIGRATIONS
from cis.store.writer import Around, Signer, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import apsw

    from cis.errors import CisError
    from cis.model import NodeId, SpaceId
    from cis.store.admission import Judge
    from cis.store.author import Write, Written
    from cis.store.merge import Applied
    from cis.store.writer import Commit
    from cis.trust.sealing import Entropy, SpaceKeys

_log = logging.getLogger(__name__)

MEMORY_LAYOUT = Layout(application_id=0x6369736D, migrations=MEMORY_MIGRATIONS)
INDEX_WAIT_S = 10.0


@dataclass(frozen=True)
class Setting:
    """What the store needs from outside: identity, clock, entropy, and who may write."""

    node: NodeId
    sign: Callable[[bytes], bytes]
    authority: Callable[[SpaceId], bytes]
    judge: Judge
    clock_ms: Callable[[], int]
    entropy: Entropy


class Store:
    """See the module; any thread may call its methods, the opener's alone those of `reader`."""

    def __init__(self, folder: Path, key: bytes, setting: Setting) -> None:
        self.path = folder / "memory.db"
        self._index_path = folder / "index.db"
        self._key = key
        self._setting = setting
        self.keys: dict[SpaceId, SpaceKeys] = {}
        self._listeners: list[Callable[[Commit], None]] = []
        self._index: apsw.Connection | None = None
        self._index_guard = threading.Lock()
        with contextlib.ExitStack() as opened:
            opened.callback(_Lock(folder / "lock").release)
            connection = open_database(self.path, key, MEMORY_LAYOUT)
            opened.callback(connection.close)
            self.replica = current_replica(connection, self.path, setting.node, setting.entropy)
            self._indexer = Indexer(self.path, self._index_path, key, self.keys, self.replica)
            opened.callback(self._indexer.close)
            self.reader = self.open_reader()
            opened.callback(self.reader.connection.close)
            signer = Signer(
                lambda: self.replica,
                setting.sign,
                setting.authority,
                self._renew,
                setting.clock_ms,
                setting.entropy,
            )
            around = Around(setting.judge, self._on_commit, lambda: self._indexer.done)
            self._writer = Writer(self.path, connection, self.keys, signer, around)
            opened.callback(self._writer.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is queued, then close both files."""
        self._opened.close()
        with self._index_guard:
            if self._index is not None:
                self._index.close()
                self._index = None

    # --- writing ------------------------------------------------------------------------------------------

    def add_space(self, keys: SpaceKeys, name: str, *, replicated: bool) -> None:
        """Make a space known, or bring new epoch keys of a known one; only its number and name are stored."""
        self.keys[keys.space] = keys

        def task(connection: apsw.Connection) -> None:
            Replicas(connection).add_space(keys.space, name, replicated=replicated)

        self.execute(task).result()
        self._indexer.keys_changed()

    def write(self, writes: Sequence[Write]) -> Future[list[Written | CisError]]:
        """Write in order; durable when the future is done; one outcome per write."""
        return self._writer.write(writes)

    def merge(self, frame: bytes) -> Future[Applied]:
        """Verify and merge a segment's frame; the future raises `PeerFault` where it is refused."""
        return self._writer.merge(frame)

    def execute(self, task: Callable[[apsw.Connection], Any]) -> Future[Any]:
        """Run a task on memory.db in a transaction."""
        return self._writer.execute(task)

    def renew_incarnation(self) -> None:
        """Write as a new replica from now on."""
        self.execute(self._renew).result()

    def _renew(self, connection: apsw.Connection) -> None:
        self.replica = renew(connection, self._setting.node, self._setting.entropy)

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Call the listener after every commit that brought changes, on the writer's thread."""
        self._listeners.append(listener)

    # --- reading ------------------------------------------------------------------------------------------

    def open_reader(self) -> Reader:
        """Return a reader over a connection of its own; the caller closes ``reader.connection``."""
        return Reader(open_reader(self.path, self._key), self.keys)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Yield a reader that sees one state of the store until it is left."""
        reader = self.open_reader()
        try:
            reader.connection.execute("BEGIN")
            fetch(reader.connection, "SELECT 1 FROM meta LIMIT 1")  # the snapshot begins with the first read
            yield reader
        finally:
            reader.connection.close()

    @contextlib.contextmanager
    def index(self, timeout_s: float = INDEX_WAIT_S) -> Iterator[apsw.Connection]:
        """Yield a connection to index.db once it has caught up with this moment, or raise `TimedOut`."""
        with self.snapshot() as reader:
            newest: int = reader.connection.execute("SELECT max(no) FROM journal").get or 0
        self._indexer.wake()
        self._indexer.wait_reached(newest, timeout_s)
        with self._index_guard:
            if self._index is None:
                self._index = open_reader(self._index_path, self._key)
            yield self._index

    def check(self) -> list[str]:
        """Return SQLite's complaints about memory.db, none where it is whole."""
        with self.snapshot() as reader:
            rows = fetch(reader.connection, "PRAGMA integrity_check")
        return [complaint for (complaint,) in rows if complaint != "ok"]

    def _on_commit(self, commit: Commit) -> None:
        self._indexer.wake()
        for listener in self._listeners:
            try:
                listener(commit)
            except Exception:  # noqa: BLE001 - what is committed stays so; a listener's defect stops no writing
                _log.exception("a listener failed on a commit")


class _Lock:
    """One process at a time writes a store."""

    def __init__(self, path: Path) -> None:
        with translated(path):
            self._file = path.open("a+b")
        try:
            _lock_exclusively(self._file.fileno())
        except OSError:
            self._file.close()
            raise StoreError(
                f"{path.parent} is in use by another cis process: use its daemon, or stop it with `cis down`"
            ) from None

    def release(self) -> None:
        self._file.close()


def _lock_exclusively(descriptor: int) -> None:
    try:
        import fcntl  # noqa: PLC0415 - absent on Windows
    except ImportError:
        import msvcrt  # noqa: PLC0415 - present on Windows alone

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # Windows
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
