"""What is asked of a node's memories, and what it answers; the field names are those of ``--json``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request

Form = Literal["text", "json", "bytes", "unreadable", "elsewhere"]
"""Of what is unreadable, or on other devices by choice, the value is null."""
ELSEWHERE = "(on other devices)"
"""What people are shown in place of a value that is elsewhere by choice and was not fetched."""
Type = Literal["register", "counter", "set"]

PAGE_MAX = 1000
BATCH_MAX = 2048


class VectorInfo(msgspec.Struct, frozen=True):
    """What is told of a vector: which model made it, and how many numbers it has."""

    model: str
    dimensions: int


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory as shown.

    ``value`` is text, JSON, a number (counter) or a list (set); bytes are ``{"base64": …}``. ``conflicts``
    counts the concurrent values kept beside it. Times are Unix milliseconds. ``elsewhere`` where the value is on other
    devices by choice: lists leave it there, getting the memory fetches it. ``version`` is another after every change.
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
    version: str
    elsewhere: bool = False


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a write came to; ``changed`` is false where there was nothing to do, ``value`` is a counter's new one."""

    key: str
    space: str
    changed: bool
    updated_ms: int
    value: int | None = None


class SetMemory(Request[Saved], frozen=True, kw_only=True):
    """Set a memory; ``value`` is a string for text, any JSON for json, a base64 string for bytes.

    With ``version`` only where the memory is still at that one, "" where there is none; else `Changed` is raised. That
    holds for what has reached this node: what is written elsewhere meanwhile becomes a conflict, as ever.
    """

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
    version: str | None = None


class GetMemory(Request[Memory | None], frozen=True, kw_only=True):
    """Return one memory, null where there is none."""

    path: ClassVar[str] = "memory/get"
    key: str
    space: str = "public"


class DeleteMemory(Request[Saved], frozen=True, kw_only=True):
    """Delete a memory, here and everywhere; with ``version`` only where it is still at that one."""

    path: ClassVar[str] = "memory/delete"
    key: str
    space: str = "public"
    version: str | None = None


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
    """Memories in the order asked for; ``next`` is what to pass as ``after`` for more, null at the end."""

    memories: tuple[Memory, ...]
    next: str | None


class ListMemories(Request[Page], frozen=True, kw_only=True):
    """List memories, in order of key or the latest changed first."""

    path: ClassVar[str] = "memory/list"
    prefix: str = ""
    category: str | None = None
    tag: str | None = None
    space: str | None = None
    order: Literal["key", "newest"] = "key"
    limit: int = 100
    after: str | None = None


Mode = Literal["hybrid", "words", "meaning"]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A memory found; the greater the score the better.

    ``snippet`` is where it matched, ``highlights`` the ranges of characters in it that are words asked for. ``words``
    and ``meaning`` are its places, from 1, among those found by either, null where it was not; ``similarity`` is the
    cosine of its vector and the query's. ``why`` says the same for people.
    """

    memory: Memory
    score: float
    snippet: str
    highlights: tuple[tuple[int, int], ...] = ()
    words: int | None = None
    meaning: int | None = None
    similarity: float | None = None
    why: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to: hits, best first, and how they were looked for.

    ``model`` is the one whose vectors were compared, ``waiting`` how many memories have none of it yet and were looked
    for by words alone; ``note`` says what would make for a better search, "" where nothing.
    """

    hits: tuple[Hit, ...]
    by: tuple[Literal["words", "meaning"], ...]
    model: str | None = None
    waiting: int = 0
    note: str = ""


class SearchMemories(Request[Found], frozen=True, kw_only=True):
    """Find memories by words in key, value and tags (BM25) and by meaning (vectors), best first.

    ``hybrid`` fuses both by reciprocal rank, and is by words alone where there is no model. ``vector``, base64 of
    float32, stands for the query's meaning and is compared with vectors of ``vector_model`` alone. ``spaces`` bounds
    what ``space`` may name; null is all. Times are Unix milliseconds, ``until_ms`` not included.
    """

    path: ClassVar[str] = "memory/search"
    query: str = ""
    category: str | None = None
    tag: str | None = None
    prefix: str = ""
    space: str | None = None
    spaces: tuple[str, ...] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    limit: int = 20
    mode: Mode = "hybrid"
    vector: str | None = None
    vector_model: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a memory: ``kind`` is what it did, ``shown`` whether it makes what is shown now.

    ``alive`` is whether it counts still, ``resolves`` how many values written apart it replaced by one, 0 for none.
    ``author`` is the member, ``device`` its identity in short. The value is null where it is not kept any more.
    """

    kind: Literal["delete", "put", "count", "add", "remove"]
    id: str
    form: Form
    value: Any
    category: str
    author: str
    author_did: str
    device: str
    updated_ms: int
    expires_ms: int | None
    shown: bool
    alive: bool
    resolves: int
    elsewhere: bool = False


class Sibling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the values a memory has at once; a counter or a set is one, whoever wrote what it is made of.

    ``number`` counts from 1, the value that is shown, on; ``id`` names this very value, on every node.
    """

    number: int
    id: str
    type: Type
    form: Form
    value: Any
    category: str
    tags: tuple[str, ...]
    author: str
    author_did: str
    device: str
    updated_ms: int
    expires_ms: int | None
    shown: bool
    elsewhere: bool = False


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that was changed in two places at once; the first of its values is the one shown."""

    key: str
    space: str
    id: str
    values: tuple[Sibling, ...]


class ListConflicts(Request[tuple[Conflict, ...]], frozen=True, kw_only=True):
    """List the memories that were changed in two places at once, or the one of that key."""

    path: ClassVar[str] = "memory/conflicts"
    key: str | None = None
    space: str | None = None
    limit: int = 100


class ResolveConflict(Request[Saved], frozen=True, kw_only=True):
    """End a conflict: ``keep`` one of its values (its id, the beginning of it, or its number), or give a ``value``.

    ``seen`` are the ids of the values this was decided on: it is refused where there are others by now. Category, tags
    and time to live are those of the value kept, or shown.
    """

    path: ClassVar[str] = "memory/resolve"
    key: str
    space: str = "public"
    keep: str | None = None
    value: Any = None
    form: Literal["text", "json", "bytes"] | None = None
    """of ``value``; None where one of them is kept"""
    seen: tuple[str, ...] | None = None


class MemoryHistory(Request[tuple[Version, ...]], frozen=True, kw_only=True):
    """List the changes of a memory that are still known, newest first."""

    path: ClassVar[str] = "memory/history"
    key: str
    space: str = "public"
    limit: int = 100


class ReplicaStats(msgspec.Struct, frozen=True):
    """How much of one replica's log is held: everything up to ``held``, and ``beyond`` changes after a gap."""

    author: str
    author_did: str
    incarnation: str
    held: int
    beyond: int


class Tally(msgspec.Struct, frozen=True):
    """How many memories, and the bytes of their values."""

    memories: int
    bytes: int


class SpaceStats(msgspec.Struct, frozen=True, kw_only=True):
    """One space; nodes that hold the same changes have the same ``state_hash``. ``authors`` wrote what is shown."""

    name: str
    memories: int
    bytes: int
    conflicts: int
    categories: dict[str, int]
    types: dict[str, int]
    authors: dict[str, Tally]
    state_hash: str
    replicas: tuple[ReplicaStats, ...]


class Stats(msgspec.Struct, frozen=True):
    """What the store holds; sizes of files in bytes, and how much of each `memory/compact` could give back."""

    spaces: tuple[SpaceStats, ...]
    files: dict[str, int]
    free: dict[str, int]


class MemoryStats(Request[Stats], frozen=True, kw_only=True):
    """Count what is stored."""

    path: ClassVar[str] = "memory/stats"


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What compacting came to: sizes of each file with its journal before and after, expired memories removed."""

    before: dict[str, int]
    after: dict[str, int]
    expired: int


class CompactStore(Request[Compacted], frozen=True, kw_only=True):
    """Remove what has expired, fold what was replaced, and give the disk back what neither file needs."""

    path: ClassVar[str] = "memory/compact"
    timeout_s: ClassVar[float] = 3600.0
    """it takes time in proportion to what is stored"""


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


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change was committed, or a memory's time to live has passed (``expire``, which nobody wrote: kind is null).

    ``memory`` is what is shown now, null where nothing is (``key`` is then empty if it was not known); ``kind``,
    ``author``, ``device`` and ``at_ms`` are of the change.
    """

    event: Literal["set", "delete", "expire"]
    key: str
    space: str
    memory: Memory | None
    kind: Literal["delete", "put", "count", "add", "remove"] | None
    author: str
    author_did: str
    device: str
    at_ms: int


class WatchMemories(Request[WatchEvent], frozen=True, kw_only=True):
    """Stream changes as they are committed, whoever made them."""

    path: ClassVar[str] = "memory/watch"
    stream: ClassVar[bool] = True
    prefix: str = ""
    space: str | None = None
