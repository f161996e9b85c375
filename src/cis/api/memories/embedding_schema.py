"""What is asked of the model that memories are searched by, and what it answers."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cis.api.control.protocol import Request


class ModelVectors(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories have a vector of a model, and of how many numbers."""

    model: str
    dimensions: int
    memories: int


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """How memories are searched by meaning.

    ``model`` is null where there is none; ``advice`` then says how to get one. ``local`` is whether texts stay in the
    process, ``waiting`` how many memories have no vector of the model yet and will get one, ``problem`` what the model
    last failed with. ``vectors`` lists all models there are vectors of, agents' own among them.
    """

    model: str | None
    dimensions: int
    local: bool
    waiting: int
    problem: str
    advice: str
    vectors: tuple[ModelVectors, ...]


class GetEmbedding(Request[Embedding], frozen=True, kw_only=True):
    """Say which model memories are searched by, and how many have its vectors."""

    path: ClassVar[str] = "memory/model"


class Reindexing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the index has come: memories in it, and how many of them still wait for a vector."""

    memories: int
    waiting: int
    done: bool


class Reindex(Request[Reindexing], frozen=True, kw_only=True):
    """Make the index anew from what is stored, and stream how far it has come.

    ``vectors`` waits until all memories have their vectors too, which takes a model some 10 ms each.
    """

    path: ClassVar[str] = "memory/reindex"
    stream: ClassVar[bool] = True
    vectors: bool = False
