"""Operations on single memories: set, get, delete, counters, sets, history.

They block until what they wrote is durable, so a server calls them in threads. An expired memory counts as
absent everywhere: adding to an expired counter or set begins a new one. Where values of different types are in
conflict nothing is written before that is resolved: it would have to replace one of them unasked.
"""

from __future__ import annotations

from collections.abc import Sequence

from cis.api.exchange.rows import bytes_of
from cis.api.memories.differences import listing
from cis.api.memories.elsewhere import Fetching
from cis.api.memories.memory_schema import (
    PAGE_MAX,
    AddToMemory,
    DeleteMemory,
    GetMemory,
    IncrementMemory,
    Memory,
    MemoryHistory,
    RemoveFromMemory,
    Saved,
    SetMemory,
    Version,
)
from cis.api.memories.past import of_people, resolutions
from cis.api.memories.recalling import current, values_of, version_of
from cis.api.memories.values import TYPES, memory_of, pack, past_of, value_of
from cis.api.reading import Readers
from cis.crdt import Policy, Shape
from cis.errors import CisError, UsageError
from cis.model import Dot, Kind, SpaceId, hlc_ms
from cis.node.home.local import LocalNode
from cis.store.author import Write, Written, changed
from cis.store.read import Recalled
from cis.wire.content import COUNT_MAX, Content

_NO_TTL = 0


class MemoryOperations:
    """Writes and recalls; ``policy`` is how conflicting values are shown."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, fetching: Fetching | None = None) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._fetching = fetching or Fetching(local, readers)

    def set(self, request: SetMemory) -> Saved:
        """Set a memory; a counter or a set is not replaced by a value without being deleted first."""
        space = self._space(request.space)
        whole, before = self._found(space, request.key)
        expected = _expected(request, whole, before)
        if before is not None:
            _require_one_type(request, before)
            if before.shape is not Shape.REGISTER:
                shown = TYPES[before.shape]
                raise UsageError(f"{request.key!r} is a {shown}, which a value would replace: delete it first")
        value, form = pack(request.value, request.form)
        vector = bytes_of(request.vector) if request.vector is not None else b""
        content = Content(
            request.key,
            value,
            form=form,
            category=request.category,
            tags=request.tags,
            ttl_ms=ttl_ms_of(request.ttl_s),
            vector=vector,
            vector_model=request.vector_model if vector else "",
        )
        return self._save(request, [Write(space, Kind.PUT, content, expected=expected)])

    def get(self, request: GetMemory) -> Memory | None:
        """Return one memory; `Elsewhere` where its value is on other devices and cannot be fetched."""
        recalled = self.recall(self._space(request.space), request.key)
        return memory_of(self._fetching.whole(recalled), self._local.cluster) if recalled is not None else None

    def delete(self, request: DeleteMemory) -> Saved:
        """Delete a memory."""
        space = self._space(request.space)
        expected = None if request.version is None else _expected(request, *self._found(space, request.key))
        return self._save(request, [Write(space, Kind.DELETE, Content(request.key), expected=expected)])

    def increment(self, request: IncrementMemory) -> Saved:
        """Add to a counter."""
        if abs(request.by) > COUNT_MAX:
            raise UsageError(f"{request.by} is more than a counter holds: at most ±2⁶²")
        space = self._space(request.space)
        writes, before = self._before(request, Shape.COUNTER)
        content = _like(before, added=max(request.by, 0), subtracted=max(-request.by, 0))
        saved = self._save(request, [*writes, Write(space, Kind.COUNT, content)])
        recalled = self.recall(space, request.key)
        value = value_of(recalled)[0] if recalled is not None and recalled.shape is Shape.COUNTER else None
        return Saved(key=saved.key, space=saved.space, changed=True, updated_ms=saved.updated_ms, value=value)

    def add(self, request: AddToMemory) -> Saved:
        """Add elements to a set."""
        space = self._space(request.space)
        writes, before = self._before(request, Shape.SET)
        for value in request.values:
            packed, form = pack(value, request.form, canonical=True)
            writes.append(Write(space, Kind.ADD, _like(before, value=packed, form=form)))
        return self._save(request, writes)

    def remove(self, request: RemoveFromMemory) -> Saved:
        """Remove elements from a set."""
        space = self._space(request.space)
        before = self.recall(space, request.key)
        if before is None:
            return Saved(key=request.key, space=request.space, changed=False, updated_ms=self._local.clock_ms())
        _require_type(request, before, Shape.SET)
        writes = []
        for value in request.values:
            packed, form = pack(value, request.form, canonical=True)
            writes.append(Write(space, Kind.REMOVE, Content(request.key, packed, form=form)))
        return self._save(request, writes)

    def history(self, request: MemoryHistory) -> tuple[Version, ...]:
        """List what is still known of a memory's changes."""
        if not 0 < request.limit <= PAGE_MAX:
            raise UsageError(f"a limit of {request.limit}: it is 1 to {PAGE_MAX}")
        space = self._space(request.space)
        memory = self._local.cluster.spaces()[request.space].memory_id(request.key)
        with self._readers.snapshot() as reader:
            recalled = current(reader.recall_by_id(memory, space), self._policy, self._local.clock_ms())
            shown = {part.change.dot for part in recalled.parts} if recalled is not None else set()
            alive = {stored.rid for stored in reader.rows.live(memory)}
            stored = reader.rows.history(memory)
            people = of_people([one.change for one in stored])
            known = [one for one in stored if one.change.dot in people]
            known.sort(key=lambda one: (one.change.hlc, one.change.dot), reverse=True)
            told = [(reader.part(one), one.rid in alive) for one in known[: request.limit]]
        parts = self._fetching.parts(space, [part for part, _ in told])
        ended = resolutions([part.change for part in parts])
        return tuple(
            past_of(
                part,
                self._local.cluster,
                shown=part.change.dot in shown,
                alive=living,
                resolves=ended.get(part.change.dot, 0),
            )
            for part, (_, living) in zip(parts, told, strict=True)
        )

    def recall(self, space: SpaceId, key: str) -> Recalled | None:
        """Return a memory that has not expired."""
        return self._found(space, key)[1]

    def _found(self, space: SpaceId, key: str) -> tuple[Recalled | None, Recalled | None]:
        """Return a memory with all its values, and as it is shown now."""
        with self._readers.snapshot() as reader:
            whole = reader.recall(space, key)
        return whole, current(whole, self._policy, self._local.clock_ms())

    def _space(self, name: str) -> SpaceId:
        return self._local.cluster.space(name)

    def _before(self, request: IncrementMemory | AddToMemory, shape: Shape) -> tuple[list[Write], Content]:
        """What must be written first, and what the new change takes over from the memory as it stands."""
        space, key, category = self._space(request.space), request.key, request.category
        with self._readers.snapshot() as reader:
            whole = reader.recall(space, key)
        now_ms = self._local.clock_ms()
        recalled = current(whole, Policy.CRDT, now_ms)
        if whole is None:
            return [], Content(key, category=category or "note")
        if recalled is None:
            expired = frozenset(part.change.dot for part in (*whole.parts, *whole.siblings))
            first = Write(space, Kind.DELETE, Content(key), expired)
            return [first], Content(key, category=category or "note")
        _require_type(request, recalled, shape)
        latest = recalled.latest.content
        if latest is None:
            return [], Content(key, category=category or "note")
        left_ms = recalled.expires_ms - now_ms if recalled.expires_ms else _NO_TTL
        return [], Content(key, category=category or latest.category, tags=latest.tags, ttl_ms=left_ms)

    def _save(self, request: _Keyed, writes: Sequence[Write]) -> Saved:
        outcomes = self._local.store.write(writes).result()
        for outcome in outcomes:
            if isinstance(outcome, CisError):
                raise outcome
        written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
        return Saved(
            key=request.key,
            space=request.space,
            changed=any(one.dot is not None for one in written),
            updated_ms=max((hlc_ms(one.hlc) for one in written), default=self._local.clock_ms()),
        )


_Keyed = SetMemory | DeleteMemory | IncrementMemory | AddToMemory | RemoveFromMemory


def _expected(
    request: SetMemory | DeleteMemory, whole: Recalled | None, before: Recalled | None
) -> frozenset[Dot] | None:
    """Return the values that must still be all when a write is made for one version; `Changed` if that is past."""
    if request.version is None:
        return None
    if request.version != (version_of(before) if before is not None else ""):
        raise changed(request.key)
    return frozenset(part.change.dot for part in (*whole.parts, *whole.siblings)) if whole is not None else frozenset()


def _require_type(request: _Keyed, recalled: Recalled, shape: Shape) -> None:
    _require_one_type(request, recalled)
    if recalled.shape is not shape:
        what = f"a {TYPES[recalled.shape]}, not a {TYPES[shape]}"
        raise UsageError(f"{request.key!r} is {what}: delete it first, or choose another key")


def _require_one_type(request: _Keyed, recalled: Recalled) -> None:
    shapes = {value.shape: None for value in values_of(recalled)}
    if len(shapes) > 1:
        types = " and ".join(f"a {TYPES[shape]}" for shape in shapes)
        raise UsageError(
            f"{request.key!r} is in conflict, {types} at once: `{listing(request.key, request.space)}` shows it, "
            "`cis memory resolve` ends it"
        )


def ttl_ms_of(seconds: float | None) -> int:
    """Return a time to live in milliseconds, 0 for none; `UsageError` for one that is not above 0."""
    if seconds is None:
        return _NO_TTL
    if not 0 < seconds < 1e11:
        raise UsageError(f"a time to live of {seconds:g} s: give seconds above 0, or leave it out")
    return max(1, round(seconds * 1000))


def _like(before: Content, *, value: bytes = b"", form: int = 0, added: int = 0, subtracted: int = 0) -> Content:
    return Content(
        before.key, value, form=form, category=before.category, tags=before.tags, ttl_ms=before.ttl_ms,
        added=added, subtracted=subtracted,
    )  # fmt: skip
