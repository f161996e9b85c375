"""Search: memories by words and by meaning, fused by reciprocal rank (Cormack, Clarke, Büttcher, SIGIR 2009).

Each half ranks what it finds; a memory's score is the sum of ``weight / (60 + rank)`` over the halves. Ranks need no
common scale, as scores of words and cosines have none. A place among the words counts by the share of the query that
the memory holds, and nothing below a half of it beside meaning: such were found by words like "the". What waits for its
vector, and what the model fails with, makes a search by words alone, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.api.exchange.rows import bytes_of
from cis.api.memories.embedding_work import EmbeddingWork
from cis.api.memories.meaning_search import Alike, MeaningScan
from cis.api.memories.memory_schema import PAGE_MAX, Found, Hit, Memory, SearchMemories
from cis.api.memories.recalling import current
from cis.api.memories.search_options import Weights
from cis.api.memories.snippets import Words
from cis.api.memories.values import memory_of
from cis.api.memories.word_search import Filters, Row, find_by_words, words_of
from cis.api.reading import Readers
from cis.crdt import Policy
from cis.errors import CisError, Unavailable, UsageError
from cis.model import MemoryId
from cis.node.home.local import LocalNode
from cis.store.read import Reader, Recalled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RANK_CONSTANT = 60
"""The k of reciprocal rank fusion: how little the first places differ."""
SHARE_MIN = 0.5
"""A memory that holds less of what the query says than this was found by words that tell little."""
DEPTH_MIN = 100
"""So many of either half are fused, or twice as many as are asked for."""
PRIVATE = "the private space is searched by words alone: memory.embedding.private would show a server what is in it"
WAIT_S = 0.7
"""How long a search waits for texts that were just written to get their vectors."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A memory found: its places from 1, and how like the query it is."""

    row: Row
    score: float
    words: int | None
    meaning: int | None
    similarity: float | None


@dataclass(frozen=True)
class _Aim:
    """What to compare with whose vectors; ``note`` says why not, where there is no query."""

    query: npt.NDArray[np.float32] | None = None
    model: str = ""
    waiting: int = 0
    note: str = ""


class SearchOperations:
    """Finds memories."""

    def __init__(
        self, local: LocalNode, policy: Policy, readers: Readers, work: EmbeddingWork, weights: Weights
    ) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._work = work
        self._weights = weights
        self._beside = ThreadPoolExecutor(1, "cis-search")

    def search(self, request: SearchMemories) -> Found:
        """Find memories, best first."""
        words = words_of(request.query)
        _check(request, words)
        filters, depth = self._filters(request), max(DEPTH_MIN, 2 * request.limit)
        aim = self._aim(request) if request.mode != "words" else _Aim()
        by_words: list[Row] = []
        by_meaning: list[Alike] = []
        with self._local.store.index() as connection:
            scan = self._scan(aim, depth)
            if words and request.mode != "meaning":
                by_words = find_by_words(connection, words, filters, depth)
            if scan is not None:
                by_meaning = scan.passing(connection, filters)
        halves = (("words", bool(words) and request.mode != "meaning"), ("meaning", aim.query is not None))
        return Found(
            hits=tuple(self._hits(fuse(by_words, by_meaning, self._weights), words, aim.model, request.limit)),
            by=tuple(name for name, done in halves if done),  # type: ignore[misc] # the two names
            model=aim.model or None,
            waiting=aim.waiting,
            note=aim.note,
        )

    def _scan(self, aim: _Aim, depth: int) -> MeaningScan | None:
        """Begin to look for what is alike, beside the search by words, where there is something to compare."""
        if aim.query is None:
            return None
        return MeaningScan(self._local.store.vectors(aim.model), aim.query, depth, self._beside)

    def _aim(self, request: SearchMemories) -> _Aim:
        """Return the query as a vector; in a search by meaning alone, raises why there is none."""
        if request.vector is not None:
            query = vector_of(bytes_of(request.vector))
            self._work.touch(request.vector_model)
            return _Aim(query, request.vector_model)
        model = self._work.embedder
        try:
            if model is None:
                raise Unavailable(self._work.state().advice)
            names = request.spaces if request.space is None else (request.space,)
            if names and not self._work.may_see(map(self._local.cluster.space, names)):
                raise Unavailable(PRIVATE)  # nor may it see what is looked for there
            with self._local.store.index():
                pass  # what was just written is among those that wait
            waiting = self._work.catch_up(WAIT_S)
            query = self._work.embed_query(request.query)
        except CisError as error:
            if request.mode == "meaning":
                raise
            return _Aim(note=str(error))
        note = f"{waiting} memories have no vector yet and were looked for by words alone" if waiting else ""
        return _Aim(query, model.name, waiting, note)

    def _hits(self, ranked: Sequence[_Ranked], words: Sequence[str], model: str, limit: int) -> Iterator[Hit]:
        asked = Words(words)
        for one, memory in self._opened(ranked, limit):
            shown = asked.snippet(memory)
            yield Hit(
                memory=memory,
                score=round(one.score, 6),
                snippet=shown.text,
                highlights=shown.highlights,
                words=one.words,
                meaning=one.meaning,
                similarity=round(one.similarity, 4) if one.similarity is not None else None,
                why=_why(one, asked.in_memory(memory), model),
            )

    def _opened(self, ranked: Sequence[_Ranked], limit: int) -> Iterator[tuple[_Ranked, Memory]]:
        """Yield so many of what was found with what it is now; what has just gone is left out."""
        now_ms, place = self._local.clock_ms(), 0
        with self._readers.snapshot() as reader:
            while limit and place < len(ranked):
                chosen = ranked[place : place + limit]
                place += len(chosen)
                recalled = _recall(reader, [one.row for one in chosen])
                for one in chosen:
                    shown = current(recalled.get(one.row.memory), self._policy, now_ms)
                    if shown is not None:
                        limit -= 1
                        yield one, memory_of(shown, self._local.cluster)

    def _filters(self, request: SearchMemories) -> Filters:
        return Filters(
            now_ms=self._local.clock_ms(),
            spaces=self._spaces(request),
            category=request.category,
            tag=request.tag,
            prefix=request.prefix,
            since_ms=request.since_ms,
            until_ms=request.until_ms,
        )

    def _spaces(self, request: SearchMemories) -> tuple[int, ...] | None:
        """Return the numbers of the spaces to search, None for all."""
        names = request.spaces if request.space is None else (request.space,)
        if names is None:
            return None
        if request.spaces is not None and not set(names) <= set(request.spaces):
            raise UsageError(f"the space {request.space} is none of those to search: {', '.join(request.spaces)}")
        spaces = [self._local.cluster.space(name) for name in names]
        with self._readers.snapshot() as reader:
            numbers = [reader.space_number(space) for space in spaces]
        return tuple(number for number in numbers if number is not None)


def fuse(by_words: Sequence[Row], by_meaning: Sequence[Alike], weights: Weights) -> list[_Ranked]:
    """Return what either half found, the best first; in doubt what is more alike."""
    word_places = {row.number: place for place, row in enumerate(by_words, 1)}
    alike = {one.row.number: (place, one.similarity) for place, one in enumerate(by_meaning, 1)}
    rows = {row.number: row for row in (*(one.row for one in by_meaning), *by_words)}
    ranked = []
    for number, row in rows.items():
        words, (meaning, similarity) = word_places.get(number), alike.get(number, (None, None))
        share = 0.0 if by_meaning and row.share < SHARE_MIN else row.share
        score = share * weights.words / (RANK_CONSTANT + words) if words else 0.0
        score += weights.meaning / (RANK_CONSTANT + meaning) if meaning else 0.0
        ranked.append(_Ranked(row, score, words, meaning, similarity))
    return sorted(ranked, key=lambda one: (-one.score, -(one.similarity or 0.0), one.words or 0, one.row.number))


def _recall(reader: Reader, rows: Iterable[Row]) -> dict[bytes, Recalled]:
    """Return the memories there are, by id; those of a space at once, which is quicker by far."""
    by_space: dict[int, list[MemoryId]] = {}
    for row in rows:
        by_space.setdefault(row.space, []).append(MemoryId(row.memory))
    found = [reader.recall_many(memories, reader.space(number)) for number, memories in by_space.items()]
    return {memory: recalled for of_space in found for memory, recalled in of_space.items()}


def vector_of(data: bytes) -> npt.NDArray[np.float32]:
    """Return the numbers of a vector; `UsageError` where they are none that can be compared."""
    import numpy as np  # noqa: PLC0415 - slow to load, and rarely needed

    if not data or len(data) % 4:
        raise UsageError(f"a vector of {len(data)} bytes: float32 take 4 each")
    vector = np.frombuffer(data, dtype="<f4")
    if not np.isfinite(vector).all() or not vector.any():
        raise UsageError("the vector is compared by its direction: give finite numbers, not all of them 0")
    return vector


def _check(request: SearchMemories, words: Sequence[str]) -> None:
    """Raise `UsageError` for what cannot be searched."""
    if not 0 < request.limit <= PAGE_MAX:
        raise UsageError(f"a limit of {request.limit}: it is 1 to {PAGE_MAX}")
    if request.vector is None and not words:
        raise UsageError(f"{request.query[:40]!r} holds no word to search for: give letters or digits")
    if request.vector is not None and (request.mode == "words" or not request.vector_model):
        raise UsageError("a vector is compared by meaning, with those of the model you name: give vector_model")


def _why(one: _Ranked, words: Sequence[str], model: str) -> str:
    """Say by what a memory was found: ``words: dark, theme; meaning 0.62 (all-MiniLM-L6-v2)``."""
    reasons = []
    if one.words is not None:
        reasons.append(f"words: {', '.join(words)}" if words else "words")
    if one.similarity is not None:
        reasons.append(f"meaning {one.similarity:.2f} ({model})")
    return "; ".join(reasons)
