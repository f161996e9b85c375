"""Import in batches and export as a stream of rows; files are read and written by `cis.api.files`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cis.api.exchange.entry import Count, Element, Entry, Vector, parts
from cis.api.exchange.rows import entry_of_row, row_of_entry
from cis.api.memory import ttl_ms_of
from cis.api.memory_schema import BATCH_MAX, BatchResult, ExportMemories, ImportBatch, RowProblem
from cis.api.reading import Readers
from cis.api.values import TYPES, pack, unpack
from cis.crdt import Policy, Shape
from cis.errors import CisError, UsageError
from cis.model import Kind, SpaceId, did_of, hlc_ms, node_of
from cis.node.local import LocalNode
from cis.store.author import Write, Written
from cis.store.read import Reader, Recalled
from cis.wire.content import Content, Form


class TransferOperations:
    """Takes in and gives out many memories."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers

    def take_in(self, request: ImportBatch) -> BatchResult:
        """Write a batch; a row that cannot be written is reported and the others are written all the same.

        A set's elements are added to those there are; a counter whose key exists is left as it is, because its
        totals would count twice; a register equal to what is there is not written again.
        """
        if len(request.rows) > BATCH_MAX:
            raise UsageError(f"a batch of {len(request.rows)} rows: at most {BATCH_MAX}")
        space = self._local.cluster.space(request.space)
        problems: list[RowProblem] = []
        writes: list[tuple[int, Write]] = []
        unchanged = 0
        with self._readers.snapshot() as reader:
            for number, row in enumerate(request.rows):
                try:
                    planned = self._plan(reader, space, entry_of_row(row))
                except CisError as error:
                    problems.append(RowProblem(number, str(row.get("key", ""))[:80], str(error)))
                    continue
                unchanged += not planned
                writes += [(number, write) for write in planned]
        done, failed = self._write(writes)
        problems += [RowProblem(row, str(request.rows[row].get("key", "")), str(why)) for row, why in failed.items()]
        return BatchResult(len(done - failed.keys()), unchanged, tuple(problems))

    def give_out(self, request: ExportMemories) -> Iterator[dict[str, Any]]:
        """Yield the rows of all memories, of one state of the store, in order of key."""
        space = self._local.cluster.space(request.space)
        now_ms = self._local.clock_ms()
        with self._readers.snapshot() as reader:
            keyed = []
            for memory in reader.memories(space):
                recalled = reader.recall_by_id(memory, space, self._policy)
                if recalled is not None and not recalled.expired(now_ms) and _wanted(recalled, request):
                    keyed.append((recalled.key, memory))
            for _, memory in sorted(keyed):
                recalled = reader.recall_by_id(memory, space, self._policy)
                if recalled is not None and (entry := self._entry_of(recalled, now_ms)) is not None:
                    yield from (row_of_entry(part) for part in parts(entry))

    def _plan(self, reader: Reader, space: SpaceId, entry: Entry) -> list[Write]:
        existing = reader.recall(space, entry.key, self._policy)
        if existing is not None and existing.expired(self._local.clock_ms()):
            existing = None
        base = Content(entry.key, category=entry.category, tags=entry.tags, ttl_ms=ttl_ms_of(entry.ttl_s))
        if isinstance(entry.value, Count):
            if existing is not None:
                raise UsageError("a counter of that key exists already; its totals would count twice")
            content = _with(base, added=entry.value.added, subtracted=entry.value.subtracted)
            return [Write(space, Kind.COUNT, content)]
        if entry.type == "set" and isinstance(entry.value, tuple):
            held = _elements_held(existing)
            contents = [_with(base, *_packed(element, canonical=True)) for element in entry.value]
            return [Write(space, Kind.ADD, one) for one in contents if (one.form, one.value) not in held]
        value, form = _packed(Element(entry.value, entry.form))  # type: ignore[arg-type] # validated with its type
        vector = (entry.vector.data, entry.vector.model) if entry.vector else (b"", "")
        content = Content(
            base.key, value, form, base.category, base.tags, base.ttl_ms, vector=vector[0], vector_model=vector[1]
        )
        return [] if _same(existing, content) else [Write(space, Kind.PUT, content)]

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

    def _entry_of(self, recalled: Recalled, now_ms: int) -> Entry | None:
        latest = recalled.latest
        contents = [part.content for part in recalled.parts if part.content is not None]
        if latest.content is None or len(contents) < len(recalled.parts):
            return None
        node = node_of(latest.change.dot.replica)
        member = self._local.cluster.membership.member(node)
        value, form = _exported(recalled, contents)
        content = latest.content
        return Entry(
            key=recalled.key,
            value=value,
            form=form,  # type: ignore[arg-type] # one of the three
            type=TYPES[recalled.shape],
            category=content.category,
            tags=content.tags,
            ttl_s=(recalled.expires_ms - now_ms) / 1000 if recalled.expires_ms else None,
            vector=Vector(content.vector_model or "unknown", content.vector) if content.vector else None,
            hlc=latest.change.hlc,
            updated_ms=hlc_ms(latest.change.hlc),
            author=member.name if member is not None else did_of(node),
        )


def _packed(element: Element, *, canonical: bool = False) -> tuple[bytes, int]:
    """Return an imported value as a body holds it, and its form."""
    if isinstance(element.value, bytes):
        return element.value, Form.BYTES
    return pack(element.value, element.form, canonical=canonical)


def _exported(recalled: Recalled, contents: list[Content]) -> tuple[Any, str]:
    if recalled.shape is Shape.COUNTER:
        return Count(sum(one.added for one in contents), sum(one.subtracted for one in contents)), "text"
    if recalled.shape is Shape.SET:
        distinct = sorted({(one.value, one.form) for one in contents})
        return tuple(_element(Content(recalled.key, value, form)) for value, form in distinct), "text"
    element = _element(contents[0])
    return element.value, element.form


def _element(content: Content) -> Element:
    value, form = unpack(content)
    return Element(content.value, "bytes") if form == "bytes" else Element(value, form)  # type: ignore[arg-type] # readable


def _elements_held(existing: Recalled | None) -> set[tuple[int, bytes]]:
    if existing is None or existing.shape is not Shape.SET:
        return set()
    return {(part.content.form, part.content.value) for part in existing.parts if part.content is not None}


def _same(existing: Recalled | None, content: Content) -> bool:
    """Tell whether a register holds just this already; one that expires is written again, as its time begins anew."""
    if existing is None or existing.shape is not Shape.REGISTER or existing.siblings:
        return False
    return existing.parts[0].content == content and not content.ttl_ms


def _wanted(recalled: Recalled, request: ExportMemories) -> bool:
    content = recalled.latest.content
    in_category = request.category is None or (content is not None and content.category == request.category)
    return in_category and recalled.key.startswith(request.prefix) and recalled.key != ""


def _with(base: Content, value: bytes = b"", form: int = 0, added: int = 0, subtracted: int = 0) -> Content:
    return Content(base.key, value, form, base.category, base.tags, base.ttl_ms, added=added, subtracted=subtracted)
