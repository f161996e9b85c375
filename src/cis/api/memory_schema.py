"""What is asked of a node's memories, and what it answers; the field names are those of ``--json``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from cis.api.protocol import Request

Form = Literal["text", "json", "bytes", "unreadable"]
Type = Literal["register", "counter", "set"]

PAGE_MAX = 1000
BATCH_MAX = 2048


class VectorInfo(msgspec.Struct, frozen=True):
    """What is told of a vector: which model made it, and how many numbers it has."""

    model: str
    dimensions: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as shown.

    ``value`` is text, JSON, a number (counter) or a list (set); bytes are ``{"base64": …}``. ``conflicts``
    counts the concurrent values kept beside it. Times are Unix milliseconds.
    """

    key: str
    space: str
    type: Type
    form: Form
    value: Any
    category: str
    tags: tuple[str, ...]
    author: str
    author_did: str
    updated_ms: int
    hlc: int
    expires_ms: int | None
    conflicts: int
    vector: VectorInfo | None
    id: str


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a write came to; ``changed`` is false where there was nothing to do, ``value`` is a counter's new one."""

    key: str
    space: str
    changed: bool
    updated_ms: int
    value: int | None = None


class SetMemory(Request[Saved], frozen=True, kw_only=True):
    """Set a memory; ``value`` is a string for text, any JSON for json, a base64 string for bytes."""

    path: ClassVar[str] = "memory/set"
    key: str
    value: Any
    form: Literal["text", "json", "bytes"] = "text"
    space: str = "public"
    category: str = "note"
    tags: tuple[str, ...] = ()
    ttl_s: float | None = None
    vector: str | None = None
    """base64 of float32, little-endian"""
    vector_model: str = ""


class GetMemory(Request[Memory | None], frozen=True, kw_only=True):
    """Return one memory, null where there is none."""

    path: ClassVar[str] = "memory/get"
    key: str
    space: str = "public"


class DeleteMemory(Request[Saved], frozen=True, kw_only=True):
    """Delete a memory, here and everywhere."""

    path: ClassVar[str] = "memory/delete"
    key: str
    space: str = "public"


class IncrementMemory(Request[Saved], frozen=True, kw_only=True):
    """Add to a counter, made where there is none; ``by`` may be negative."""

    path: ClassVar[str] = "memory/incr"
    key: str
    by: int = 1
    space: str = "public"
    category: str | None = None


class AddToMemory(Request[Saved], frozen=True, kw_only=True):
    """Add elements to a set, made where there is none."""

    path: ClassVar[str] = "memory/add"
    key: str
    values: tuple[Any, ...]
    form: Literal["text", "json", "bytes"] = "text"
    space: str = "public"
    category: str | None = None


class RemoveFromMemory(Request[Saved], frozen=True, kw_only=True):
    """Remove elements from a set."""

    path: ClassVar[str] = "memory/remove"
    key: str
    values: tuple[Any, ...]
    form: Literal["text", "json", "bytes"] = "text"
    space: str = "public"


class Page(msgspec.Struct, frozen=True):
    """Memories in order of key; ``next`` is what to pass as ``after`` for more, null at the end."""

    memories: tuple[Memory, ...]
    next: str | None


class ListMemories(Request[Page], frozen=True, kw_only=True):
    """List memories in order of key."""

    path: ClassVar[str] = "memory/list"
    prefix: str = ""
    category: str | None = None
    tag: str | None = None
    space: str | None = None
    limit: int = 100
    after: str | None = None


class Hit(msgspec.Struct, frozen=True):
    """A memory found; the greater the score the better, ``snippet`` is where it matched."""

    memory: Memory
    score: float
    snippet: str


class SearchMemories(Request[tuple[Hit, ...]], frozen=True, kw_only=True):
    """Find memories by words in key, value and tags, best first (BM25)."""

    path: ClassVar[str] = "memory/search"
    query: str
    category: str | None = None
    space: str | None = None
    limit: int = 20


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a memory: ``kind`` is what it did, ``shown`` whether it makes what is shown now."""

    kind: Literal["delete", "put", "count", "add", "remove"]
    form: Form
    value: Any
    category: str
    author: str
    author_did: str
    updated_ms: int
    shown: bool
    alive: bool


class Conflict(msgspec.Struct, frozen=True):
    """A memory with concurrent values: what is shown, and what is kept beside it."""

    key: str
    space: str
    shown: tuple[Version, ...]
    others: tuple[Version, ...]


class ListConflicts(Request[tuple[Conflict, ...]], frozen=True, kw_only=True):
    """List the memories that were changed in two places at once."""

    path: ClassVar[str] = "memory/conflicts"
    space: str | None = None
    limit: int = 100


class MemoryHistory(Request[tuple[Version, ...]], frozen=True, kw_only=True):
    """List the changes of a memory that are still known, newest first."""

    path: ClassVar[str] = "memory/history"
    key: str
    space: str = "public"


class ReplicaStats(msgspec.Struct, frozen=True):
    """How much of one replica's log is held: everything up to ``held``, and ``beyond`` changes after a gap."""

    author: str
    author_did: str
    incarnation: str
    held: int
    beyond: int


class SpaceStats(msgspec.Struct, frozen=True, kw_only=True):
    """One space; nodes that hold the same changes have the same ``state_hash``."""

    name: str
    memories: int
    bytes: int
    conflicts: int
    categories: dict[str, int]
    state_hash: str
    replicas: tuple[ReplicaStats, ...]


class Stats(msgspec.Struct, frozen=True):
    """What the store holds; sizes of files in bytes."""

    spaces: tuple[SpaceStats, ...]
    files: dict[str, int]


class MemoryStats(Request[Stats], frozen=True, kw_only=True):
    """Count what is stored."""

    path: ClassVar[str] = "memory/stats"


class RowProblem(msgspec.Struct, frozen=True):
    """A row of a batch that was not taken: its place in the batch from 0, and why."""

    row: int
    key: str
    reason: str


class BatchResult(msgspec.Struct, frozen=True):
    """What became of a batch."""

    written: int
    unchanged: int
    problems: tuple[RowProblem, ...]


class ImportBatch(Request[BatchResult], frozen=True, kw_only=True):
    """Take in rows as `memory export` writes them, at most 2,048 at once; durable when answered."""

    path: ClassVar[str] = "memory/import"
    rows: tuple[dict[str, Any], ...]
    space: str = "public"


class ExportMemories(Request[dict[str, Any]], frozen=True, kw_only=True):
    """Stream all memories as rows that `memory/import` takes."""

    path: ClassVar[str] = "memory/export"
    stream: ClassVar[bool] = True
    prefix: str = ""
    category: str | None = None
    space: str = "public"


class WatchEvent(msgspec.Struct, frozen=True):
    """A memory changed; ``memory`` is null where it was deleted (``key`` is then empty if it was not known)."""

    event: Literal["set", "delete"]
    key: str
    space: str
    memory: Memory | None


class WatchMemories(Request[WatchEvent], frozen=True, kw_only=True):
    """Stream changes as they are committed, whoever made them."""

    path: ClassVar[str] = "memory/watch"
    stream: ClassVar[bool] = True
    prefix: str = ""
    space: str | None = None
