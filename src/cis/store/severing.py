"""What of a log had been collected when a removal cut it off: collected it stays, should the log come again.

A removal may itself be undone, and who never heard of it holds the log whole. What had replaced the changes collected
here was collected with them, and nobody sends it again; so without this they would come back alive.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from cis.store.collection import drop
from cis.store.database import fetch
from cis.store.replicas import rid_of, split_rid
from cis.store.rows import Rows
from cis.wire.segment import HASH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from cis.store.replicas import LogEnd

    Run = tuple[int, int]
    """first and last of some numbers without a gap"""


def sever(connection: apsw.Connection, end: LogEnd, first: int) -> None:
    """Remember which changes of a log are collected from that number on, before they are cut off."""
    bounds = (rid_of(end.number, first), rid_of(end.number, end.floor))
    heads = {rid for (rid,) in fetch(connection, "SELECT rid FROM head WHERE rid BETWEEN ? AND ?", bounds)}
    query = "SELECT rid, length(hashes) / ?3 FROM changeset WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid"
    rows = fetch(connection, query, (*bounds, HASH_LENGTH))
    held = (rid for start, count in rows for rid in range(start, start + count) if rid <= bounds[1])
    _remember(connection, end, _runs(split_rid(rid)[1] for rid in held if rid not in heads))


def sever_all(connection: apsw.Connection, end: LogEnd) -> None:
    """Remember that all of a log is collected, before it is forgotten."""
    _remember(connection, end, [(1, end.seq)])


def collect_again(connection: apsw.Connection, end: LogEnd) -> None:
    """Collect once more what of a log's severed changes has come, and take it for stable once more up to there."""
    if not end.severed:
        return
    query = "SELECT low, min(high, ?2) FROM severed WHERE replica = ?1 AND low <= ?2"
    runs = fetch(connection, query, (end.number, end.seq))
    if not runs:
        return
    query = "SELECT rid FROM head WHERE rid BETWEEN ? AND ?"
    spans = [(rid_of(end.number, low), rid_of(end.number, high)) for low, high in runs]
    rids = array("q", [rid for span in spans for (rid,) in fetch(connection, query, span)])
    drop(connection, Rows(connection).stored(rids, bodies=False))
    end.floor = max(end.floor, *(high for _, high in runs))
    connection.execute("UPDATE replica SET floor = max(floor, ?) WHERE no = ?", (end.floor, end.number))


def _runs(seqs: Iterable[int]) -> list[Run]:
    runs: list[Run] = []
    for seq in seqs:
        low = runs.pop()[0] if runs and runs[-1][1] == seq - 1 else seq
        runs.append((low, seq))
    return runs


def _remember(connection: apsw.Connection, end: LogEnd, runs: Iterable[Run]) -> None:
    statement = "INSERT INTO severed VALUES(?,?,?) ON CONFLICT DO UPDATE SET high = max(high, excluded.high)"
    connection.executemany(statement, [(end.number, low, high) for low, high in runs])
