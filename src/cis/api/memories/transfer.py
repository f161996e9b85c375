"""Import in batches and export as a stream of rows; files are read and written by `cis.api.files`."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from cis.api.exchange.entry import Count, Element, Entry, Vector, parts
from cis.api.exchange.rows import entry_of_row, row_of_entry
from cis.api.memories.elsewhere import Fetching
from cis.api.memories.memory import ttl_ms_of
from cis.api.memories.memory_schema import BATCH_MAX, BatchResult, ExportMemories, ImportBatch, RowProblem
from cis.api.memories.recalling import Value, current, values_of
from cis.api.memories.values import TYPES, pack, unpack
from cis.api.reading import Readers
from cis.crdt import Policy, Shape
from cis.errors import CisError, UsageError
from cis.model import Dot, Kind, MemoryId, SpaceId, did_of, hlc_ms, node_of
from cis.node.home.local import LocalNode
from cis.store.author import Write, Written
from cis.store.read import Reader, Recalled
from cis.wire.content import COUNT_MAX, Content, Form

READ_AT_ONCE = 128
"""Memories whose values are in memory at a time."""
FETCHED_AT_ONCE = 64
"""Memories whose values are fetched in one question, where they are on other devices."""

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_TWICE = "a memory of that key exists already; a counter's totals would count twice"


class TransferOperations:
    """Takes in and gives out many memories."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, fetching: Fetching | None = None) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._fetching = fetching or Fetching(local, readers)

    def take_in(self, request: ImportBatch) -> BatchResult:
        """Write a batch; a row that cannot be written is reported and the others are written all the same.

        A set's elements are added to those there are; a counter whose key exists is left as it is, because its
        totals would count twice; a register's value that is there is not written again. What is ``beside`` replaces
        nothing, so that a conflict comes back as one.
        """
        if len(request.rows) > BATCH_MAX:
            raise UsageError(f"a batch of {len(request.rows)} rows: at most {BATCH_MAX}")
        space = self._local.cluster.space(request.space)
        problems: list[RowProblem] = []
        writes: list[tuple[int, Write]] = []
        unchanged, counters = 0, set[str]()
        with self._readers.snapshot() as reader:
            for number, row in enumerate(request.rows):
                try:
                    entry = entry_of_row(row)
                    _require_once(entry, counters)
                    planned = self._plan(reader, space, entry)
                except CisError as error:
                    problems.append(RowProblem(number, str(row.get("key", ""))[:80], str(error)))
                    continue
                unchanged += not planned
                writes += [(number, write) for write in planned]
        done, failed = self._write(writes)
        problems += [RowProblem(row, str(request.rows[row].get("key", "")), str(why)) for row, why in failed.items()]
        return BatchResult(len(done - failed.keys()), unchanged, tuple(problems))

    def give_out(self, request: ExportMemories) -> Iterator[dict[str, Any]]:
        """Yield the rows of all memories, of one state of the store, in order of key.

        Values on other devices are fetched, some at a time; `Elsewhere` where one cannot be: none is left out unsaid.
        """
        space = self._local.cluster.space(request.space)
        now_ms = self._local.clock_ms()
        with self._readers.snapshot() as reader:
            there = self._shown(reader, reader.memories(space), space, now_ms)
            keyed = sorted((recalled.key, recalled.memory) for recalled in there if _wanted(recalled, request))
            chosen = self._shown(reader, [memory for _, memory in keyed], space, now_ms)
            for recalled in self._whole(chosen):
                values = values_of(recalled)[::-1]
                for value in values:
                    entry = self._entry_of(value, now_ms)
                    if entry is not None:
                        yield from _rows(replace(entry, beside=len(values) > 1), value)

    def _whole(self, recalled: Iterator[Recalled]) -> Iterator[Recalled]:
        """Yield memories with all their values."""
        while some := list(itertools.islice(recalled, FETCHED_AT_ONCE)):
            yield from self._fetching.whole_of_many(some, beside=True)

    def _shown(self, reader: Reader, memories: Sequence[MemoryId], space: SpaceId, now_ms: int) -> Iterator[Recalled]:
        """Yield what is shown of those memories, in their order; some are read at once, which is quicker by far."""
        for start in range(0, len(memories), READ_AT_ONCE):
            some = memories[start : start + READ_AT_ONCE]
            found = reader.recall_many(some, space)
            shown = (current(found.get(memory), self._policy, now_ms) for memory in some)
            yield from (recalled for recalled in shown if recalled is not None)

    def _plan(self, reader: Reader, space: SpaceId, entry: Entry) -> list[Write]:
        whole = reader.recall(space, entry.key)
        now_ms = self._local.clock_ms()
        held = [value for value in values_of(whole) if not value.expired(now_ms)] if whole is not None else []
        saw = frozenset[Dot]() if entry.beside else None
        base = Content(entry.key, category=entry.category, tags=entry.tags, ttl_ms=ttl_ms_of(entry.ttl_s))
        if entry.type == "register":
            return _planned_register(space, entry, base, held, saw)
        first = []
        if whole is not None and not held and not entry.beside:
            expired = frozenset(part.change.dot for part in (*whole.parts, *whole.siblings))
            first = [Write(space, Kind.DELETE, Content(entry.key), expired)]
        if isinstance(entry.value, Count):
            if any(value.shape is Shape.COUNTER for value in held) or (held and not entry.beside):
                raise UsageError(_TWICE)
            content = _with(base, added=entry.value.added, subtracted=entry.value.subtracted)
            return [*first, Write(space, Kind.COUNT, content, saw)]
        assert isinstance(entry.value, tuple), "validated with its type"
        elements = {(one.form, one.value) for one in _contents(held, Shape.SET)}
        contents = [_with(base, *_packed(element, canonical=True)) for element in entry.value]
        adds = [Write(space, Kind.ADD, one, saw) for one in contents if (one.form, one.value) not in elements]
        return [*first, *adds]

    def _write(self, writes: list[tuple[int, Write]]) -> tuple[set[int], dict[int, CisError]]:
        done: set[int] = set()
        failed: dict[int, CisError] = {}
        for start in range(0, len(writes), BATCH_MAX):
            chunk = writes[start : start + BATCH_MAX]
            outcomes = self._local.store.write([write for _, write in chunk]).result()
            for (row, _), outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, Written):
                    done.add(row)
                else:
                    failed[row] = outcome
        return done, failed

    def _entry_of(self, value: Value, now_ms: int) -> Entry | None:
        latest = value.latest
        contents = [part.content for part in value.parts if part.content is not None]
        if latest.content is None or len(contents) < len(value.parts):
            return None
        node = node_of(latest.change.dot.replica)
        member = self._local.cluster.membership.member(node)
        exported, form = _exported(value, contents)
        content = latest.content
        return Entry(
            key=content.key,
            value=exported,
            form=form,  # type: ignore[arg-type] # one of the three
            type=TYPES[value.shape],
            category=content.category,
            tags=content.tags,
            ttl_s=(value.expires_ms - now_ms) / 1000 if value.expires_ms else None,
            vector=Vector(content.vector_model or "unknown", content.vector) if content.vector else None,
            hlc=latest.change.hlc,
            updated_ms=hlc_ms(latest.change.hlc),
            author=member.name if member is not None else did_of(node),
        )


def _require_once(entry: Entry, counters: set[str]) -> None:
    """Raise `UsageError` for a second counter of a key among the rows of a batch."""
    if entry.type == "counter":
        if entry.key in counters:
            raise UsageError(_TWICE)
        counters.add(entry.key)


def _planned_register(
    space: SpaceId, entry: Entry, base: Content, held: Sequence[Value], saw: frozenset[Dot] | None
) -> list[Write]:
    value, form = _packed(Element(entry.value, entry.form))  # type: ignore[arg-type] # validated with its type
    vector, model = (entry.vector.data, entry.vector.model) if entry.vector else (b"", "")
    content = msgspec.structs.replace(base, value=value, form=form, vector=vector, vector_model=model)
    # one that expires is written again, as its time begins anew
    there = not content.ttl_ms and content in _contents(held, Shape.REGISTER)
    return [] if there else [Write(space, Kind.PUT, content, saw)]


def _rows(entry: Entry, value: Value) -> list[dict[str, Any]]:
    """Return the rows of an entry; of one that no file may hold as it is, what of it may be: none stops an export."""
    for attempt in (entry, tidied := _tidied(entry)):
        with contextlib.suppress(UsageError):
            return [row_of_entry(part) for part in parts(attempt)]
    return [row_of_entry(part) for part in parts(_raw(tidied, value))]


def _tidied(entry: Entry) -> Entry:
    """Return an entry without its vector, its words without control characters."""
    category, *tags = (_CONTROL.sub("", word) for word in (entry.category, *entry.tags))
    return replace(entry, category=category or "note", tags=tuple(filter(None, tags)), vector=None)


def _raw(entry: Entry, value: Value) -> Entry:
    """Return an entry with its value as bytes, a counter's totals as far as one counter holds them."""
    if isinstance(entry.value, Count):
        return replace(entry, value=Count(min(entry.value.added, COUNT_MAX), min(entry.value.subtracted, COUNT_MAX)))
    raw = [part.content.value for part in value.parts if part.content is not None]
    if entry.type == "set":
        return replace(entry, value=tuple(Element(data, "bytes") for data in sorted(set(raw))))
    return replace(entry, value=raw[0], form="bytes")


def _contents(held: Sequence[Value], shape: Shape) -> list[Content]:
    return [part.content for value in held if value.shape is shape for part in value.parts if part.content is not None]


def _packed(element: Element, *, canonical: bool = False) -> tuple[bytes, int]:
    """Return an imported value as a body holds it, and its form."""
    if isinstance(element.value, bytes):
        return element.value, Form.BYTES
    return pack(element.value, element.form, canonical=canonical)


def _exported(of: Value, contents: Sequence[Content]) -> tuple[Any, str]:
    if of.shape is Shape.COUNTER:
        return Count(sum(one.added for one in contents), sum(one.subtracted for one in contents)), "text"
    if of.shape is Shape.SET:
        distinct = sorted({(one.value, one.form) for one in contents})
        return tuple(_element(Content(contents[0].key, value, form)) for value, form in distinct), "text"
    element = _element(contents[0])
    return element.value, element.form


def _element(content: Content) -> Element:
    value, form = unpack(content)
    return Element(content.value, "bytes") if form == "bytes" else Element(value, form)  # type: ignore[arg-type] # readable


def _wanted(recalled: Recalled, request: ExportMemories) -> bool:
    content = recalled.latest.about
    in_category = request.category is None or (content is not None and content.category == request.category)
    return in_category and recalled.key.startswith(request.prefix) and recalled.key != ""


def _with(base: Content, value: bytes = b"", form: int = 0, added: int = 0, subtracted: int = 0) -> Content:
    return Content(base.key, value, form, base.category, base.tags, base.ttl_ms, added=added, subtracted=subtracted)
