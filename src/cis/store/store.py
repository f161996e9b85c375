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
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from cis.errors import StoreError
from cis.store.compacting import compact_memory
from cis.store.database import Layout, open_database, translated
from cis.store.engine import Around, Commit, Engine, Signer
from cis.store.incarnation import current_replica, renew, stored_replica
from cis.store.index import Indexer, Place
from cis.store.jobs import Job
from cis.store.placing import BEYOND_MAX
from cis.store.reading import Reading
from cis.store.replicas import Replicas
from cis.store.schema import MEMORY_MIGRATIONS
from cis.store.withdrawal import Withdrawn, withdraw
from cis.store.writer import InPlace, Runner, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
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
    beyond_max: Callable[[], int] = lambda: BEYOND_MAX
    """how far past the end of a log a change may be to be kept"""


class Store(Reading):
    """See the module; any thread may call its methods, the opener's alone those of `reader`.

    One that is not ``threaded`` is for simulations: whatever it is given is done before the call returns, upkeep
    when `rest` is called, there is no index, and the disk is not waited for.
    """

    def __init__(self, folder: Path, key: bytes, setting: Setting, *, threaded: bool = True) -> None:
        super().__init__(folder, key, setting.clock_ms)
        self._setting = setting
        self._listeners: list[Callable[[Commit], None]] = []
        with translated(self.path), contextlib.ExitStack() as opened:
            opened.callback(_Lock(folder / "lock").release)
            layout = MEMORY_LAYOUT if threaded else replace(MEMORY_LAYOUT, synchronous="OFF")
            connection = open_database(self.path, key, layout)
            opened.callback(connection.close)
            self.replica = current_replica(connection, self.path, setting.node, setting.entropy)
            opened.callback(self._close_reading)
            if threaded:
                place = Place(self.path, self._index_path, key, self.replica)
                self._indexer = Indexer(place, self.keys, self._on_round)
            opened.callback(self._indexer.close)
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
            around = Around(
                setting.judge, setting.limit, self._on_commit, lambda: self._indexer.done, setting.beyond_max
            )
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

    def compact(self) -> None:
        """Fold, trim and rewrite both files, so that the disk gets back what they do not need; may take minutes."""
        self._indexer.compact().result()
        done = self._indexer
        self._runner.submit(Job(alone=lambda connection: compact_memory(connection, lambda: done.done))).result()

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
