"""Operations on what memories are found by: which model there is, and making the index anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cis.api.memories.embedding_schema import Embedding, GetEmbedding, ModelVectors, Reindex, Reindexing
from cis.api.memories.embedding_work import EmbeddingWork
from cis.errors import TimedOut, Unavailable
from cis.node.home.local import LocalNode

_LOOK_S = 1.0
_ALL = 1 << 40


class IndexOperations:
    """Says how the index is, and makes it anew."""

    def __init__(self, local: LocalNode, work: EmbeddingWork) -> None:
        self._local = local
        self._work = work

    def embedding(self, _: GetEmbedding) -> Embedding:
        """Say which model there is, and how many memories have its vectors."""
        state = self._work.state()
        with contextlib.suppress(TimedOut), self._local.store.index(_LOOK_S):
            pass  # what was just written counts
        models = self._local.store.vectors(state.model or "").models()
        return Embedding(
            model=state.model,
            dimensions=state.dimensions,
            local=state.local,
            waiting=self._work.waiting(),
            problem=state.problem,
            advice=state.advice,
            vectors=tuple(
                ModelVectors(model=name, dimensions=dimensions, memories=count)
                for name, (dimensions, count) in sorted(models.items())
            ),
        )

    def reindex(self, request: Reindex) -> Iterator[Reindexing]:
        """Make the index anew; the last that is yielded says how it came out."""
        self._local.store.reindex()
        while (memories := self._indexed()) is None:
            yield Reindexing(memories=0, waiting=0, done=False)
        waiting = self._work.waiting()
        while request.vectors and waiting:
            yield Reindexing(memories=memories, waiting=waiting, done=False)
            waiting = self._work.catch_up(_LOOK_S, _ALL)
            if self._work.problem:
                raise Unavailable(f"the words are indexed; {waiting} vectors wait for the model: {self._work.problem}")
        self._work.wake()
        yield Reindexing(memories=memories, waiting=waiting, done=True)

    def _indexed(self) -> int | None:
        """Return how many memories the index holds once it is whole, None where that takes longer."""
        try:
            with self._local.store.index(_LOOK_S) as connection:
                return int(connection.execute("SELECT count(*) FROM doc").get)
        except TimedOut:
            return None
