"""Memories as the page shows them: values as text, made here, as a browser's numbers have 53 bits and ours more."""

from __future__ import annotations

import msgspec

from cis.api.exchange.rows import bytes_of
from cis.api.memories.differences import differences, kind_of, lines_of
from cis.api.memories.memory_schema import Conflict, Found, Hit, Memory, Page, Sibling

PREVIEW_CHARS = 240
CONFLICT_CHARS = 20_000
DIFFERENCES_MAX = 400


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A memory, or one of its values; ``text`` is its beginning where ``cut``, ``version`` changes with each change.

    ``form`` is null where the page cannot edit it.
    """

    key: str
    space: str
    kind: str
    form: str | None
    text: str
    cut: bool
    category: str
    tags: tuple[str, ...]
    author: str
    updated_ms: int
    expires_ms: int | None
    conflicts: int
    version: str


class ShownHit(msgspec.Struct, frozen=True):
    """A memory found, where it matched in parts, those that were asked for marked; and why it was found."""

    memory: Shown
    parts: tuple[tuple[str, bool], ...]
    why: str


class ShownPage(msgspec.Struct, frozen=True):
    """What a list or a search came to; ``next`` asks for more of a list, ``note`` says how to find more."""

    hits: tuple[ShownHit, ...]
    next: str | None = None
    note: str = ""


class ShownConflict(msgspec.Struct, frozen=True):
    """A memory with values written apart, the one shown elsewhere first; ``differences`` are of each from that one."""

    key: str
    space: str
    values: tuple[Shown, ...]
    differences: tuple[tuple[str, ...], ...]


def shown(one: Memory | Sibling, key: str, space: str, chars_max: int | None = None) -> Shown:
    """Return a memory or a value as shown, of at most so many characters."""
    text = _text(one)
    return Shown(
        key=key,
        space=space,
        kind=kind_of(one),
        form=one.form if one.type == "register" and one.form in {"text", "json"} else None,
        text=text[:chars_max],
        cut=chars_max is not None and len(text) > chars_max,
        category=one.category,
        tags=one.tags,
        author=one.author,
        updated_ms=one.updated_ms,
        expires_ms=one.expires_ms,
        conflicts=one.conflicts if isinstance(one, Memory) else 0,
        version=one.version if isinstance(one, Memory) else one.id,
    )


def listed(page: Page) -> ShownPage:
    """Return a page of a list."""
    return ShownPage(tuple(_hit(one) for one in page.memories), page.next)


def found(result: Found) -> ShownPage:
    """Return what a search found."""
    return ShownPage(tuple(_hit(hit.memory, hit) for hit in result.hits), None, result.note)


def conflict(one: Conflict) -> ShownConflict:
    """Return a conflict, its values side by side."""
    first, *others = one.values
    values = tuple(shown(value, one.key, one.space, CONFLICT_CHARS) for value in one.values)
    return ShownConflict(
        one.key, one.space, values, ((), *(tuple(differences(first, other)[:DIFFERENCES_MAX]) for other in others))
    )


def _hit(memory: Memory, hit: Hit | None = None) -> ShownHit:
    one = shown(memory, memory.key, memory.space, PREVIEW_CHARS)
    if hit is None or not hit.snippet:
        return ShownHit(one, ((one.text, False),), hit.why if hit is not None else "")
    parts, place = [], 0
    for begin, end in hit.highlights:
        parts += [(hit.snippet[place:begin], False), (hit.snippet[begin:end], True)]
        place = end
    return ShownHit(one, tuple(part for part in (*parts, (hit.snippet[place:], False)) if part[0]), hit.why)


def _text(one: Memory | Sibling) -> str:
    if one.form == "bytes":
        return f"({len(bytes_of(one.value['base64'])):,} bytes)"
    return "\n".join(lines_of(one))
