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
import os
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from cis.errors import StoreError
from cis.store.database import Layout, fetch, open_database, open_reader, translated
from cis.store.engine import Around, Commit, Engine, Signer
from cis.store.incarnation import current_replica, renew, stored_replica
from cis.store.index import Indexer
from cis.store.jobs import Job
from cis.store.read import Holdings, Reader, holdings
from cis.store.replicas import Replicas
from cis.store.schema import MEMORY_MIGRATIONS
from cis.store.withdrawal import Withdrawn, withdraw
from cis.store.writer import InPlace, Runner, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import apsw

    from cis.errors import CisError
    from cis.model import NodeId, SpaceId
    from cis.store.admission import Judge, Limit
    from cis.store.author import Write, Written
    from cis.store.merge import Applied
    from cis.store.ordering import Order
    from cis.trust.sealing import Entropy, SpaceKeys

_log = logging.getLogger(__name__)

MEMORY_LAYOUT = Layout(application_id=0x6369736D, migrations=MEMORY_MIGRATIONS)
INDEX_WAIT_S = 10.0
_IDLE_READERS_MAX = 8


@dataclass(frozen=True)
class Setting:
    """What the store needs from outside: identity, clock, entropy, and who may write how far."""

    node: NodeId
    sign: Callable[[bytes], bytes]
    authority: Callable[[SpaceId], bytes]
    judge: Judge
    limit: Limit
    clock_ms: Callable[[], int]
    entropy: Entropy


class Store:
    """See the module; any thread may call its methods, the opener's alone those of `reader`.

    One that is not ``threaded`` is for simulations: whatever it is given is done before the call returns, upkeep
    when `rest` is called, there is no index, and the disk is not waited for.
    """

    def __init__(self, folder: Path, key: bytes, setting: Setting, *, threaded: bool = True) -> None:
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
            layout = MEMORY_LAYOUT if threaded else replace(MEMORY_LAYOUT, synchronous="OFF")
            connection = open_database(self.path, key, layout)
            opened.callback(connection.close)
            self.replica = current_replica(connection, self.path, setting.node, setting.entropy)
            self._indexer: Indexer | _NoIndex = (
                Indexer(self.path, self._index_path, key, self.keys, self.replica) if threaded else _NoIndex()
            )
            opened.callback(self._indexer.close)
            self._idle_readers: list[Reader] = []
            opened.callback(_close_all, self._idle_readers)
            self.reader = self.open_reader()
            opened.callback(self.reader.connection.close)
            signer = Signer(
                lambda: self.replica,
                setting.sign,
                setting.authority,
                self._renew,
                partial(self._renew, undo=True),
                setting.clock_ms,
                setting.entropy,
            )
            around = Around(setting.judge, setting.limit, self._on_commit, lambda: self._indexer.done)
            engine = Engine(self.path, connection, self.keys, signer, around)
            self._runner: Runner = Writer(engine) if threaded else InPlace(engine)
            opened.callback(self._runner.close)
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

    def share(self, space: SpaceId, name: str) -> None:
        """Keep a space this node holds no keys of: it is merged and served, not read. `add_space` brings keys later."""

        def task(connection: apsw.Connection) -> None:
            Replicas(connection).add_space(space, name, replicated=True)

        self.execute(task).result()

    def withdraw(self, nodes: Collection[NodeId] | None = None) -> Withdrawn:
        """Remove what removals void of the logs of these nodes, of all if None; returns how much that was.

        To be called when the membership has changed. What this node itself wrote beyond its cut is removed with the
        rest, and it goes on under a new incarnation.
        """
        setting = self._setting

        def task(connection: apsw.Connection) -> Withdrawn:
            done = withdraw(connection, setting.judge, setting.limit, nodes, setting.clock_ms())
            if self.replica in done.replicas:
                self._renew(connection)
            return done

        done: Withdrawn = self.execute(task).result()
        if done.changes:
            self._on_commit(Commit((), (), withdrawn=done.changes))
        return done

    def write(self, writes: Sequence[Write]) -> Future[list[Written | CisError]]:
        """Write in order; durable when the future is done; one outcome per write."""
        return self._runner.submit(Job(writes=writes))

    def merge(self, frame: bytes, order: Order | None = None) -> Future[Applied]:
        """Verify and merge a segment's frame; the future raises `PeerFault` where it is refused.

        ``order`` is that of the session it came in: it tells whether what lies below this node's floor and before the
        segment was collected by the peer.
        """
        return self._runner.submit(Job(frame=frame, turn=order.turn() if order is not None else None))

    def execute(self, task: Callable[[apsw.Connection], Any]) -> Future[Any]:
        """Run a task on memory.db in the transaction of its group; a `CisError` it raises is its answer.

        It must then have changed nothing: the rest of its group is committed.
        """
        return self._runner.submit(Job(task=task))

    def rest(self) -> None:
        """See to upkeep now: held changes whose time has come, folding, trimming; threaded ones do so by themselves."""
        self._runner.rest()

    def renew_incarnation(self) -> None:
        """Write as a new replica from now on."""
        self.execute(self._renew).result()

    def _renew(self, connection: apsw.Connection, *, undo: bool = False) -> None:
        node, entropy = self._setting.node, self._setting.entropy
        self.replica = stored_replica(connection, node) if undo else renew(connection, node, entropy)

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Call the listener after every commit that brought changes or withdrew some; on whichever thread."""
        self._listeners.append(listener)

    # --- reading ------------------------------------------------------------------------------------------

    def open_reader(self) -> Reader:
        """Return a reader over a connection of its own; the caller closes ``reader.connection``."""
        return Reader(open_reader(self.path, self._key), self.keys)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Yield a reader that sees one state of the store until it is left."""
        try:
            reader = self._idle_readers.pop()
        except IndexError:
            reader = self.open_reader()
        try:
            reader.connection.execute("BEGIN")
            fetch(reader.connection, "SELECT 1 FROM meta LIMIT 1")  # the snapshot begins with the first read
            yield reader
        except BaseException:
            reader.connection.close()
            raise
        reader.connection.execute("ROLLBACK")
        if len(self._idle_readers) < _IDLE_READERS_MAX:
            self._idle_readers.append(reader)
        else:
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

    def holdings(self, space: SpaceId) -> Holdings:
        """Count what is held of a space, whether it can be read or not; takes time in proportion."""
        with self.snapshot() as reader:
            return holdings(reader, space)

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


def _close_all(readers: list[Reader]) -> None:
    while readers:
        readers.pop().connection.close()


class _NoIndex:
    """Stands where an index would, in a store that has no threads."""

    done = (1 << 63) - 1
    """Nothing waits for the journal."""

    def wake(self) -> None: ...

    def keys_changed(self) -> None: ...

    def close(self) -> None: ...

    def wait_reached(self, *_: object) -> None:
        raise StoreError("this store keeps no index: only memories whose key is known can be read")


class _Lock:
    """One process at a time writes a store."""

    def __init__(self, path: Path) -> None:
        with translated(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "r+b")
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
