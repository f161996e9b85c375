"""What the tools take: one type each, from which both the schema and the check of what comes are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cis.errors import UsageError

LIST_MAX = 50
SEARCH_MAX = 30
ELEMENTS_MAX = 100
NEW = "new"
"""The version of a memory that is not there yet."""

Key = Annotated[
    str, Meta(description="Its name, with / as separator by custom, such as project/decisions/db.", min_length=1)
]
Space = Annotated[str, Meta(description="The space it is in.")]
AnySpace = Annotated[str, Meta(description="Only this space; else all that are served.")]
Category = Annotated[
    str, Meta(description="Only this category: context, preference, task, result, error, skill, note, or another word.")
]
Tag = Annotated[str, Meta(description="Only those with this tag.")]
Prefix = Annotated[str, Meta(description="Only keys that begin so.")]
Cursor = Annotated[str, Meta(description="next_cursor of the answer before, for what follows.")]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what tools take."""


class Store(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_store."""

    key: Key
    value: Annotated[str, Meta(description="What to remember, as text; with as_json, as JSON text.")]
    as_json: Annotated[bool, Meta(description="The value is JSON, and is kept as JSON.")] = False
    category: Annotated[
        str, Meta(description="context, preference, task, result, error, skill, note, or a word of your own.")
    ] = "note"
    tags: Annotated[tuple[str, ...], Meta(description="Words to find it by.", max_length=32)] = ()
    ttl_seconds: Annotated[float, Meta(description="Forget it after this many seconds; 0 keeps it.", ge=0)] = 0
    if_version: Annotated[
        str, Meta(description=f"Only where it is still at this version, as read; {NEW}: where there is none.")
    ] = ""
    space: Space = ""


class Search(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_search."""

    query: Annotated[str, Meta(description="What you look for: words, a name, or a question.", min_length=1)]
    mode: Annotated[
        Literal["hybrid", "words", "meaning"], Meta(description="By words and meaning together, or by one of them.")
    ] = "hybrid"
    category: Category = ""
    tag: Tag = ""
    prefix: Prefix = ""
    space: AnySpace = ""
    limit: Annotated[int, Meta(description="How many at most.", ge=1, le=SEARCH_MAX)] = 10


class Get(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_get."""

    key: Key
    space: Space = ""
    offset: Annotated[
        int, Meta(description="Where in a long value to begin: next_offset of the part before.", ge=0)
    ] = 0


class List(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_list."""

    prefix: Prefix = ""
    category: Category = ""
    tag: Tag = ""
    space: AnySpace = ""
    order: Annotated[Literal["newest", "key"], Meta(description="The latest first, or by key.")] = "newest"
    limit: Annotated[int, Meta(description="How many at most.", ge=1, le=LIST_MAX)] = 20
    cursor: Cursor = ""


class Delete(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_delete."""

    key: Key
    space: Space = ""


class Count(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_count."""

    key: Key
    by: Annotated[int, Meta(description="How much to add; may be negative.")] = 1
    space: Space = ""


class Collect(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_collect."""

    key: Key
    add: Annotated[tuple[str, ...], Meta(description="Elements to add.", max_length=ELEMENTS_MAX)] = ()
    remove: Annotated[tuple[str, ...], Meta(description="Elements to take out.", max_length=ELEMENTS_MAX)] = ()
    space: Space = ""


class Conflicts(Arguments, frozen=True, kw_only=True):
    """Arguments of memory_conflicts."""

    key: Annotated[str, Meta(description="Only this memory.")] = ""
    space: AnySpace = ""
    limit: Annotated[int, Meta(description="How many memories at most.", ge=1, le=SEARCH_MAX)] = 10


class Nothing(Arguments, frozen=True, kw_only=True):
    """Arguments of a tool that takes none."""


def read(kind: type[Arguments], given: dict[str, Any] | None) -> Arguments:
    """Return the arguments that came; `UsageError` that names the argument and what is allowed there.

    Null is what models write for an argument that they leave out.
    """
    try:
        return msgspec.convert({name: value for name, value in (given or {}).items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        names = ", ".join(kind.__struct_fields__) or "none"
        raise UsageError(f"wrong arguments: {error}. It takes: {names}") from error
