"""Seeded memories and queries for searches: words as rare and common as those of a language, vectors in any direction.

The word of rank r occurs in proportion to 1 / r (Zipf, 1949): the first are in most memories, most are in few. A query
has one of the common words and two of the others, and a vector near that of one memory.
"""

from __future__ import annotations

import functools
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
SEED = 7
VOCABULARY = 20_000
WORDS_EACH = 30
COMMON = 200
WORD_BYTES_MIN = 3
"""Of a word and the space behind it."""
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


@functools.cache
def vocabulary(seed: int = SEED) -> list[str]:
    """Return all words, the most common first."""
    rng, found = Random(seed), dict[str, None]()
    while len(found) < VOCABULARY:
        found["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4)))] = None
    return sorted(found, key=len)


@functools.cache
def frequencies() -> list[float]:
    """Return the weights of the words, each added to those before it."""
    return list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))


def asked(count: int, seed: int = SEED) -> Iterator[str]:
    """Yield the texts of so many queries."""
    rng, words = Random(seed + 2), vocabulary(seed)
    for _ in range(count):
        yield " ".join((rng.choice(words[:COMMON]), *rng.choices(words[COMMON:], k=2)))


@dataclass(frozen=True)
class SearchData:
    """``memories`` with ``dimensions`` numbers each."""

    memories: int
    dimensions: int = 384
    seed: int = SEED

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """One row for each memory, of length 1."""
        rows = np.random.default_rng(self.seed).standard_normal((self.memories, self.dimensions), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def writes(self, space: SpaceId) -> Iterator[Write]:
        """Yield the memories."""
        rng, words = Random(self.seed + 1), vocabulary(self.seed)
        for number, vector in enumerate(self.vectors):
            value = " ".join(rng.choices(words, cum_weights=frequencies(), k=WORDS_EACH)).encode()
            key, category = f"agent/{number % 1000:03d}/{number:08d}", _CATEGORIES[number % len(_CATEGORIES)]
            content = Content(key, value, category=category, vector=vector.tobytes(), vector_model=MODEL)
            yield Write(space, Kind.PUT, content)

    def queries(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield texts, each with its vector."""
        rng, noise = Random(self.seed + 3), np.random.default_rng(self.seed + 2)
        for text in asked(count, self.seed):
            near = self.vectors[rng.randrange(self.memories)]
            apart = noise.standard_normal(self.dimensions, np.float32) * (_NEAR / self.dimensions**0.5)
            yield text, (near + apart).astype("<f4").tobytes()
