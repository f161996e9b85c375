"""Seeded memories and queries for searches: words as rare and common as those of a language, vectors in any direction.

The word of rank r occurs in proportion to 1 / r (Zipf, 1949): the first are in most memories, most are in few. A query
has one of the common words and two of the others, and a vector near that of one memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
import numpy.typing as npt

from cis.model import Kind, SpaceId
from cis.store.author import Write
from cis.wire.content import Content

MODEL = "bench"
VOCABULARY = 20_000
WORDS_EACH = 30
COMMON = 200
_CATEGORIES = ("note", "task", "preference", "context", "result")
_SYLLABLES = (
    "ba",
    "do",
    "ke",
    "li",
    "mu",
    "na",
    "po",
    "ra",
    "si",
    "tu",
    "ve",
    "wo",
    "xe",
    "yi",
    "zo",
    "ch",
    "st",
    "an",
)
_NEAR = 0.5


@dataclass(frozen=True)
class SearchData:
    """``memories`` with ``dimensions`` numbers each."""

    memories: int
    dimensions: int = 384
    seed: int = 7

    @cached_property
    def words(self) -> list[str]:
        """All words, the most common first."""
        rng, found = Random(self.seed), dict[str, None]()
        while len(found) < VOCABULARY:
            found["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4)))] = None
        return sorted(found, key=len)

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """One row for each memory, of length 1."""
        rows = np.random.default_rng(self.seed).standard_normal((self.memories, self.dimensions), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def writes(self, space: SpaceId) -> Iterator[Write]:
        """Yield the memories."""
        rng = Random(self.seed + 1)
        weights = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
        for number, vector in enumerate(self.vectors):
            value = " ".join(rng.choices(self.words, cum_weights=weights, k=WORDS_EACH)).encode()
            key, category = f"agent/{number % 1000:03d}/{number:08d}", _CATEGORIES[number % len(_CATEGORIES)]
            content = Content(key, value, category=category, vector=vector.tobytes(), vector_model=MODEL)
            yield Write(space, Kind.PUT, content)

    def queries(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield texts, each with its vector."""
        rng, noise = Random(self.seed + 2), np.random.default_rng(self.seed + 2)
        for _ in range(count):
            text = " ".join((rng.choice(self.words[:COMMON]), *rng.choices(self.words[COMMON:], k=2)))
            near = self.vectors[rng.randrange(self.memories)]
            apart = noise.standard_normal(self.dimensions, np.float32) * (_NEAR / self.dimensions**0.5)
            yield text, (near + apart).astype("<f4").tobytes()
