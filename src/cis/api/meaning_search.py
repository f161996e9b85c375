"""Memories by meaning: nearest vectors of one model by cosine, exactly those that pass the filters.

Most filters let most memories pass, so the nearest are looked up first. Where too few of them pass, the scan is made
again over those that do, and no others: the answer is the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cis.api.word_search import Filters, Row, numbers_passing, rows_passing

if TYPE_CHECKING:
    from collections.abc import Collection

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


def find_by_meaning(
    connection: apsw.Connection, vectors: Nearest, query: npt.NDArray[np.float32], filters: Filters, depth: int
) -> list[Alike]:
    """Return at most ``depth`` memories, the most alike first."""
    found = vectors.nearest(query, depth * _MORE, None)
    alike = _passing(connection, found, filters)
    complete = len(found) < depth * _MORE or found[-1][1] < SIMILARITY_MIN
    if len(alike) < depth and not complete:
        alike = _passing(connection, vectors.nearest(query, depth, numbers_passing(connection, filters)), filters)
    return alike[:depth]


def _passing(connection: apsw.Connection, found: Sequence[tuple[int, float]], filters: Filters) -> list[Alike]:
    near = [(number, similarity) for number, similarity in found if similarity >= SIMILARITY_MIN]
    rows = rows_passing(connection, [number for number, _ in near], filters)
    return [Alike(rows[number], similarity) for number, similarity in near if number in rows]
