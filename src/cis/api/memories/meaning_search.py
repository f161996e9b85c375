"""Memories by meaning: nearest vectors of one model by cosine, exactly those that pass the filters.

Most filters let most memories pass, so the nearest are looked up first. Where too few of them pass, the scan is made
again over those that do, and no others: the answer is the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cis.api.memories.word_search import Filters, Row, numbers_passing, rows_passing

if TYPE_CHECKING:
    from collections.abc import Collection
    from concurrent.futures import Executor

    import apsw
    import numpy as np
    import numpy.typing as npt

SIMILARITY_MIN = 0.2
"""Below it, texts have nothing to do with each other."""
_MORE = 4
"""So many times more than wanted are looked up first."""


class Nearest(Protocol):
    """What is asked of `cis.store.vectors.VectorIndex`."""

    def nearest(
        self, query: npt.NDArray[np.float32], limit: int, allowed: Collection[int] | None
    ) -> Sequence[tuple[int, float]]:
        """Return numbers of memories and the cosine of their vectors to the query, the greatest first."""
        ...


class Alike(NamedTuple):
    """A memory, and how like the query it is: -1 to 1."""

    row: Row
    similarity: float


class MeaningScan:
    """Looks for what is nearest to a query, in a thread of ``beside`` as soon as it is made: that takes the longest."""

    def __init__(self, vectors: Nearest, query: npt.NDArray[np.float32], depth: int, beside: Executor) -> None:
        self._vectors = vectors
        self._query = query
        self._depth = depth
        self._nearest = beside.submit(vectors.nearest, query, depth * _MORE, None)

    def passing(self, connection: apsw.Connection, filters: Filters) -> list[Alike]:
        """Return at most ``depth`` memories that pass, the most alike first."""
        found = self._nearest.result()
        alike = _passing(connection, found, filters)
        complete = len(found) < self._depth * _MORE or found[-1][1] < SIMILARITY_MIN
        if len(alike) < self._depth and not complete:
            allowed = numbers_passing(connection, filters)
            alike = _passing(connection, self._vectors.nearest(self._query, self._depth, allowed), filters)
        return alike[: self._depth]


def _passing(connection: apsw.Connection, found: Sequence[tuple[int, float]], filters: Filters) -> list[Alike]:
    near = [(number, similarity) for number, similarity in found if similarity >= SIMILARITY_MIN]
    rows = rows_passing(connection, [number for number, _ in near], filters)
    return [Alike(rows[number], similarity) for number, similarity in near if number in rows]
