"""The nearest vectors of one model: all of them in one matrix, compared with a query by one product.

A scan is exact and follows changes for nothing; 100,000 vectors of 384 dimensions take some milliseconds and 150 MB, so
they are in memory only while somebody searches. Approximate indexes (HNSW, Malkov and Yashunin 2018) are faster beyond
that, and slower to keep up than replication.
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw

from cis.arrays import np
from cis.store.database import INDEX_NAME, fetch, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

FLOAT_BYTES = 4
_CHUNK = 4096
_CACHE_KIB = 2048
_STALE_MAX = 16_384
"""Beyond so many changes all is loaded anew."""
_GATHERED = 8
"""Where fewer than one in so many are allowed, those alone are compared."""
_ALL = """
    SELECT v.doc, v.vector FROM model m CROSS JOIN vec v NOT INDEXED WHERE m.name = ?1 AND v.bytes = ?2
    AND v.no BETWEEN m.no << 40 AND m.no + 1 << 40"""
_SOME = """
    SELECT n.value, v.vector FROM carray(?3) n CROSS JOIN model m CROSS JOIN vec v ON v.no = m.no << 40 | n.value
    WHERE m.name = ?1 AND v.bytes = ?2"""
_COUNT = """
    SELECT count(*) FROM vec v WHERE v.model = (SELECT no FROM model WHERE name = ?1) AND v.bytes = ?2"""
_MODELS = """
    SELECT m.name, v.bytes, v.memories FROM model m JOIN
    (SELECT model, bytes, count(*) AS memories FROM vec GROUP BY model, bytes) v
    ON v.model = m.no ORDER BY v.memories"""
_Number = TypeVar("_Number", bound="np.generic")


class VectorIndex:
    """All vectors of one model, as index.db has them when it is asked; from any thread."""

    def __init__(self, model: str, connect: Callable[[], apsw.Connection]) -> None:
        self.model = model
        self._connect = connect
        self._connection: apsw.Connection | None = None
        self._guard = threading.Lock()
        self._stale = _Stale()
        self._tables: dict[int, _Table] = {}
        self._used_at = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since something was looked for; endless where nothing is held in memory."""
        return time.monotonic() - self._used_at if self._tables else float("inf")

    def touched(self, docs: Iterable[int]) -> None:
        """Say that vectors of these docs came or went; from any thread."""
        self._stale.add(docs)

    def drop(self) -> None:
        """Give the memory back, until something is looked for again."""
        with self._guard:
            self._release()

    def renewed(self) -> None:
        """Say that index.db was made anew; from any thread."""
        self._stale.stop()

    def nearest(
        self, query: bytes | Floats, limit: int, allowed: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return the docs whose vectors point most nearly where the query does, with their cosine, best first.

        ``query`` is float32; of vectors of other dimensions nothing is found. ``allowed`` leaves out other docs.
        """
        wanted = np.frombuffer(query, "<f4") if isinstance(query, bytes) else np.asarray(query, np.float32)
        scaled, sound = normalised(wanted.reshape(1, -1))
        if limit < 1 or not sound[0]:
            return []
        with self._guard:
            self._used_at = time.monotonic()
            try:
                found = self._table(scaled.shape[1]).nearest(scaled[0], limit, allowed)
                held = any(table.count for table in self._tables.values())
            except BaseException:
                self._release()  # what was to be brought up to date may not be
                raise
            if not held:
                self._release()  # whoever names models there are none of keeps no file open
            return found

    def models(self) -> dict[str, tuple[int, int]]:
        """Return for each model there are vectors of: their dimensions, and of how many memories."""
        with self._guard:
            rows = fetch(self._reading(), _MODELS)
            if not self._tables:
                self._forget()
        return {name: (length // FLOAT_BYTES, count) for name, length, count in rows}

    def _table(self, dimensions: int) -> _Table:
        """Return the vectors of so many dimensions, brought up to date."""
        stale = self._stale.take()
        if stale is None:
            self._forget()
        elif stale:
            docs = np.array(stale, np.int64)
            for size, table in self._tables.items():
                bindings = (self.model, size * FLOAT_BYTES, apsw.carray(docs))
                table.remove(docs)
                table.add(*_columns(fetch(self._reading(), _SOME, bindings), size))
        if dimensions not in self._tables:
            self._tables[dimensions] = self._loaded(dimensions)
        return self._tables[dimensions]

    def _loaded(self, dimensions: int) -> _Table:
        bindings = (self.model, dimensions * FLOAT_BYTES)
        with translated(Path(INDEX_NAME)), self._reading() as connection:
            table = _Table(dimensions, connection.execute(_COUNT, bindings).get)
            cursor = connection.execute(_ALL, bindings)
            while rows := list(itertools.islice(cursor, _CHUNK)):
                table.add(*_columns(rows, dimensions))
        return table

    def _reading(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return self._connection

    def _release(self) -> None:
        self._stale.stop()
        self._forget()

    def _forget(self) -> None:
        self._tables.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Stale:
    """Which docs changed since this was last asked; None where too many did, or nobody followed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._docs: set[int] | None = None

    def add(self, docs: Iterable[int]) -> None:
        with self._guard:
            if self._docs is not None:
                self._docs.update(docs)
                if len(self._docs) > _STALE_MAX:
                    self._docs = None

    def stop(self) -> None:
        with self._guard:
            self._docs = None

    def take(self) -> list[int] | None:
        with self._guard:
            docs, self._docs = self._docs, set()
        return sorted(docs) if docs is not None else None


class _Table:
    """Vectors of equal length, a row each; rows that become free are filled from the end."""

    def __init__(self, dimensions: int, room: int) -> None:
        self._matrix = np.empty((room, dimensions), np.float32)
        self._docs = np.empty(room, np.int64)
        self._row_of = np.full(room, -1, np.int32)
        """by doc, -1 for those without a vector"""
        self.count = 0

    def add(self, docs: npt.NDArray[np.int64], vectors: Floats) -> None:
        """Take in docs that are not there."""
        if not len(docs):
            return
        first, self.count = self.count, self.count + len(docs)
        self._matrix = _grown(self._matrix, self.count)
        self._docs = _grown(self._docs, self.count)
        self._row_of = _grown(self._row_of, int(docs.max()) + 1, fill=-1)
        self._matrix[first : self.count] = vectors
        self._docs[first : self.count] = docs
        self._row_of[docs] = np.arange(first, self.count)

    def remove(self, docs: npt.NDArray[np.int64]) -> None:
        """Leave out docs, whether they are there or not."""
        for row in sorted(self._rows(docs).tolist(), reverse=True):
            self.count -= 1
            moved = self._docs[self.count]
            self._row_of[self._docs[row]] = -1
            if row != self.count:
                self._matrix[row], self._docs[row], self._row_of[moved] = self._matrix[self.count], moved, row

    def nearest(self, query: Floats, limit: int, allowed: Collection[int] | None) -> list[tuple[int, float]]:
        """Return the nearest of those allowed; ties in order of doc."""
        docs, matrix = self._docs[: self.count], self._matrix[: self.count]
        if allowed is None:
            scores = matrix @ query
        else:
            rows = self._rows(np.fromiter(allowed, np.int64, len(allowed)))
            few = len(rows) * _GATHERED < self.count
            scores = matrix[rows] @ query if few else (matrix @ query)[rows]
            docs = docs[rows]
        if len(scores) > limit:
            chosen = np.argpartition(scores, len(scores) - limit)[-limit:]
            docs, scores = docs[chosen], scores[chosen]
        order = np.lexsort((docs, -scores))
        return list(zip(docs[order].tolist(), scores[order].tolist(), strict=True))

    def _rows(self, docs: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        rows = self._row_of[docs[(docs >= 0) & (docs < len(self._row_of))]]
        return rows[rows >= 0]


def normalised(matrix: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return each row scaled to length 1, and which have a direction: numbers that are finite, and not all 0."""
    with np.errstate(all="ignore"):
        wide = matrix.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        sound = np.isfinite(lengths) & (lengths > 0)
        scaled = wide / np.where(sound, lengths, 1.0)[:, None]
    return scaled.astype(np.float32), sound


def _columns(rows: Sequence[tuple[int, bytes]], dimensions: int) -> tuple[npt.NDArray[np.int64], Floats]:
    vectors = np.frombuffer(b"".join(vector for _, vector in rows), "<f4").reshape(len(rows), dimensions)
    return np.array([doc for doc, _ in rows], np.int64), vectors


def _grown(column: npt.NDArray[_Number], length: int, fill: int = 0) -> npt.NDArray[_Number]:
    """Return the column with room for so many rows."""
    if length <= len(column):
        return column
    grown = np.full((max(length, len(column) * 5 // 4), *column.shape[1:]), fill, column.dtype)
    grown[: len(column)] = column
    return grown
