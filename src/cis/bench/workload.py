"""Seeded memories: the same numbers give the same memories, on every machine and in every process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from cis.model import Kind, SpaceId
from cis.store.author import Write
from cis.wire.content import Content

_TEXT = (
    "the agent node memory peer replication user prefers dark mode project deadline friday meeting notes vector "
    "clock hybrid logical merge conflict python async event loop server client socket stream batch database index "
    "query result token context model embedding search semantic similarity category space key value update delete "
    "tombstone origin sequence number"
)
_CATEGORIES = ("note", "task", "preference", "context")
_TEXT_BYTES = 1 << 16
_VECTOR_MODEL = "bench"


@dataclass(frozen=True, slots=True)
class Workload:
    """``memories`` written onto ``onto`` that are there already: half overwrite, in random order."""

    memories: int
    value_bytes: int = 200
    vector_dim: int = 0
    onto: int = 0
    seed: int = 7

    @property
    def distinct(self) -> int:
        """How many memories there are in the end."""
        return self.onto + self.memories - self._overwrites

    def base(self, space: SpaceId) -> Iterator[Write]:
        """Yield what is there already."""
        return self._writes(space, range(self.onto), Random(self.seed))

    def writes(self, space: SpaceId) -> Iterator[Write]:
        """Yield what is measured."""
        rng = Random(self.seed + 1)
        fresh = range(self.onto, self.distinct)
        if not self.onto:
            return self._writes(space, fresh, rng)
        numbers = [*rng.sample(range(self.onto), self._overwrites), *fresh]
        rng.shuffle(numbers)
        return self._writes(space, numbers, rng)

    @property
    def _overwrites(self) -> int:
        return min(self.onto, self.memories // 2)

    def _writes(self, space: SpaceId, numbers: range | list[int], rng: Random) -> Iterator[Write]:
        text = _text(rng, _TEXT_BYTES + self.value_bytes)
        vectors = np.random.default_rng(self.seed)
        for number in numbers:
            start = rng.randrange(_TEXT_BYTES)
            vector = vectors.standard_normal(self.vector_dim, np.float32).tobytes() if self.vector_dim else b""
            content = Content(
                f"agent/{number % 1000:03d}/memory/{number:08d}",
                text[start : start + self.value_bytes],
                category=_CATEGORIES[number & 3],
                vector=vector,
                vector_model=_VECTOR_MODEL if vector else "",
            )
            yield Write(space, Kind.PUT, content)


def _text(rng: Random, size: int) -> bytes:
    words = " ".join(rng.choices(_TEXT.split(), k=size // 3)).encode()
    return (words * (size // len(words) + 1))[:size]
