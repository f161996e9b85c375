"""Seeded memories: the same numbers give the same memories, on every machine and in every process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from cis.bench.search_data import WORD_BYTES_MIN, frequencies, vocabulary
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
    """``memories`` written onto ``onto`` that are there already: half overwrite, in random order.

    ``language`` makes values of words as rare and common as those of a language (`search_data`), to be searched; else
    they are parts of one text, made much quicker.
    """

    memories: int
    value_bytes: int = 200
    vector_dim: int = 0
    onto: int = 0
    seed: int = 7
    language: bool = False

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
        text = b"" if self.language else _text(rng, _TEXT_BYTES + self.value_bytes)
        vectors = np.random.default_rng(self.seed)
        for number in numbers:
            vector = vectors.standard_normal(self.vector_dim, np.float32).tobytes() if self.vector_dim else b""
            content = Content(
                key_of(number),
                _speech(rng, self.value_bytes) if self.language else _part(rng, text, self.value_bytes),
                category=_CATEGORIES[number & 3],
                vector=vector,
                vector_model=_VECTOR_MODEL if vector else "",
            )
            yield Write(space, Kind.PUT, content)


def key_of(number: int) -> str:
    """Return the key of the memory of that number."""
    return f"agent/{number % 1000:03d}/memory/{number:08d}"


def _part(rng: Random, text: bytes, size: int) -> bytes:
    start = rng.randrange(_TEXT_BYTES)
    return text[start : start + size]


def _speech(rng: Random, size: int) -> bytes:
    words = rng.choices(vocabulary(), cum_weights=frequencies(), k=max(1, size // WORD_BYTES_MIN))
    return " ".join(words).encode()[:size].ljust(size)


def _text(rng: Random, size: int) -> bytes:
    words = " ".join(rng.choices(_TEXT.split(), k=size // 3)).encode()
    return (words * (size // len(words) + 1))[:size]
