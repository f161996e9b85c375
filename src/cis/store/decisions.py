"""What was decided about other nodes: who was admitted, refused, joined, granted, revoked, and when.

Written behind: whoever decides never waits for the disk, and what waits is bounded. A decision that repeats the one
before it is counted in its row, so a node that tries again and again fills no table. Of too many rows those about
strangers go first: who holds no key cannot push out what was decided about members.

::

    decisions = Decisions(store.execute, clock_ms)
    decisions.record("refused", None, "the dialler does not know this cluster")
    newest_last = read_decisions(reader.connection, 20)
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cis.errors import CisError
from cis.model import NodeId
from cis.store.database import fetch

if TYPE_CHECKING:
    import apsw

_log = logging.getLogger(__name__)

KEPT_MAX = 10_000
TRIMMED_AT = KEPT_MAX + 256
"""Rows are dropped some hundred at a time."""
WAITING_MAX = 1024
DETAIL_CHARACTERS_MAX = 400


@dataclass(frozen=True, slots=True)
class Decision:
    """One row; ``at_ms`` (Unix) is when it was decided last, ``count`` how often in a row."""

    at_ms: int
    what: str
    node: NodeId | None
    detail: str
    count: int


class _Noted(NamedTuple):
    at_ms: int
    what: str
    node: NodeId | None
    detail: str


class Decisions:
    """Any thread may call; ``execute`` runs a task on the writer's thread and returns its future."""

    def __init__(
        self, execute: Callable[[Callable[[apsw.Connection], Any]], Future[Any]], clock_ms: Callable[[], int]
    ) -> None:
        self._execute = execute
        self._clock_ms = clock_ms
        self._guard = threading.Lock()
        self._waiting: deque[_Noted] = deque(maxlen=WAITING_MAX)
        self._under_way = False

    def record(self, what: str, node: NodeId | None, detail: str = "") -> None:
        """Note a decision; it is on disk a moment later. The oldest of too many that wait are lost."""
        noted = _Noted(self._clock_ms(), what, node, detail[:DETAIL_CHARACTERS_MAX])
        with self._guard:
            self._waiting.append(noted)
            if self._under_way:
                return
            self._under_way = True
        self._execute(self._write).add_done_callback(_tell_failure)

    def _write(self, connection: apsw.Connection) -> None:
        with self._guard:
            noted = list(self._waiting)
            self._waiting.clear()
            self._under_way = False
        save_decisions(connection, noted)


def save_decisions(connection: apsw.Connection, noted: list[_Noted]) -> None:
    """Append decisions, counting those that repeat the one before."""
    last = fetch(connection, "SELECT no, what, node, detail FROM decision ORDER BY no DESC LIMIT 1")
    number, former = (last[0][0], last[0][1:]) if last else (0, None)
    for at_ms, *decided in noted:
        if tuple(decided) == former:
            connection.execute("UPDATE decision SET at_ms = ?, count = count + 1 WHERE no = ?", (at_ms, number))
            continue
        query = "INSERT INTO decision(at_ms, what, node, detail, count) VALUES(?,?,?,?,1)"
        connection.execute(query, (at_ms, *decided))
        number, former = connection.last_insert_rowid(), tuple(decided)
    rows: int = connection.execute("SELECT count(*) FROM decision").get
    if rows > TRIMMED_AT:
        surplus = "SELECT no FROM decision ORDER BY node IS NOT NULL, no LIMIT ?"
        connection.execute(f"DELETE FROM decision WHERE no IN ({surplus})", (rows - KEPT_MAX,))


def read_decisions(connection: apsw.Connection, limit: int) -> list[Decision]:
    """Return the last ``limit`` decisions, the newest last."""
    query = "SELECT at_ms, what, node, detail, count FROM decision ORDER BY no DESC LIMIT ?"
    return [Decision(*row) for row in reversed(fetch(connection, query, (limit,)))]


def _tell_failure(future: Future[Any]) -> None:
    """A record that could not be written stops nothing that was decided."""
    error = future.exception()
    if isinstance(error, CisError):
        _log.info("a decision was not recorded: %s", error)
    elif error is not None:
        _log.error("a decision was not recorded", exc_info=error)
