"""What the tools give back: one type each, from which the schema of the answer is made."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cis.api.memories.memory_schema import Form
from cis.apps.mcp.entries import Entry, Untrusted


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what tools give back."""


class Stored(Answer, frozen=True, kw_only=True):
    """What a write came to."""

    key: str
    space: str
    changed: Annotated[bool, Meta(description="False where there was nothing to do.")]
    updated: str


class Counted(Answer, frozen=True, kw_only=True):
    """A counter after it was changed."""

    key: str
    space: str
    value: Annotated[int, Meta(description="What it comes to, as far as this node knows.")]


class Collected(Answer, frozen=True, kw_only=True):
    """A set after it was changed."""

    untrusted: Untrusted = True
    key: str
    space: str
    changed: bool
    size: int
    members: Annotated[tuple[Any, ...], Meta(description="Some of its elements, where truncated; else all.")]
    truncated: bool


class Match(Entry, frozen=True, kw_only=True):
    """A memory that was found."""

    snippet: Annotated[str, Meta(description="Where it matched.")]
    why: str
    score: float


class Found(Answer, frozen=True, kw_only=True):
    """What a search found, best first."""

    untrusted: Untrusted = True
    matches: tuple[Match, ...]
    searched_by: Annotated[tuple[str, ...], Meta(description="words, meaning, or both.")]
    waiting: Annotated[int, Meta(description="How many memories cannot be found by meaning yet.")]
    note: Annotated[str, Meta(description="What would make for a better search; mostly empty.")]


class Listed(Answer, frozen=True, kw_only=True):
    """A page of memories."""

    untrusted: Untrusted = True
    memories: tuple[Entry, ...]
    next_cursor: Annotated[str | None, Meta(description="Pass it as cursor for more; null at the end.")]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One of the values of a memory that has several."""

    value: Any
    truncated: bool
    form: Form
    author: str
    device: str
    updated: str
    shown: Annotated[bool, Meta(description="Whether memory_get gives this one.")]


class Conflicting(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that was changed in two places at once."""

    key: str
    space: str
    values: tuple[Value, ...]
    truncated: Annotated[bool, Meta(description="Whether it has more values than these.")]


class Contested(Answer, frozen=True, kw_only=True):
    """The memories in conflict."""

    untrusted: Untrusted = True
    conflicts: tuple[Conflicting, ...]
    truncated: Annotated[bool, Meta(description="Whether there are more: ask for a greater limit.")]


class Network(Answer, frozen=True, kw_only=True):
    """How the node and its network are."""

    node: str
    role: str
    running: Annotated[bool, Meta(description="False: nothing is sent or received until its user starts it.")]
    connected: Annotated[tuple[str, ...], Meta(description="Other nodes connected now.")]
    members: tuple[str, ...]
    public_memories: int
    spaces: Annotated[tuple[str, ...], Meta(description="The spaces served here, the default first.")]
    read_only: bool
    may_delete: bool
    problems: Annotated[dict[str, str], Meta(description="What does not work, and why.")]
