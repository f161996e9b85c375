"""Conflicts: memories changed in two places at once, whose values are kept side by side until somebody decides.

To keep a register's value, or give another, is one put that replaces all that was seen. To keep a counter or a set is
one delete of what stands beside it, so that what others count and add meanwhile still counts. A value that arrives
while somebody decides was not seen: it stays, and is a conflict again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cis.api.memories.differences import listing
from cis.api.memories.elsewhere import Fetching
from cis.api.memories.memory_schema import Conflict, ListConflicts, ResolveConflict, Saved, Sibling
from cis.api.memories.recalling import Value, current, values_of
from cis.api.memories.values import TYPES, pack, value_of
from cis.crdt import Policy, Shape
from cis.errors import Changed, CisError, UsageError
from cis.model import Dot, Kind, MemoryId, did_of, hlc_ms, node_of, short_id
from cis.store.author import Write, Written
from cis.wire.content import Content

if TYPE_CHECKING:
    from cis.api.reading import Readers
    from cis.model import SpaceId
    from cis.node.home.local import LocalNode
    from cis.node.membership.cluster import Cluster
    from cis.store.read import Reader, Recalled

LIMIT_MAX = 1000
ID_CHARS_MIN = 4
_MARKED = """
    SELECT d.memory, d.space FROM doc d WHERE d.siblings > 0 AND (?1 IS NULL OR d.space = ?1)
    ORDER BY d.key, d.space LIMIT ?2"""


class ConflictOperations:
    """Lists conflicts and ends them."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, fetching: Fetching | None = None) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._fetching = fetching or Fetching(local, readers)

    def conflicts(self, request: ListConflicts) -> tuple[Conflict, ...]:
        """List the memories with concurrent values; none are listed under lww, which hides them.

        Values on other devices are fetched where it is asked for one key, as far as they are to be had.
        """
        if not 0 < request.limit <= LIMIT_MAX:
            raise UsageError(f"a limit of {request.limit}: it is 1 to {LIMIT_MAX}")
        spaces = self._local.cluster.spaces() if request.space is None else {}
        named = None if request.space is None else self._local.cluster.space(request.space)
        found = []
        with self._readers.snapshot() as reader:
            if request.key is not None:
                chosen = [keys.space for keys in spaces.values()] if named is None else [named]
                recalled = [reader.recall(space, request.key) for space in chosen]
            else:
                number = None if named is None else reader.space_number(named)
                recalled = [self._recall(reader, *row) for row in self._marked(number, request.limit)]
        for one in recalled:
            shown = current(one, self._policy, self._local.clock_ms())
            if shown is not None and shown.siblings:
                if request.key is not None:
                    shown = self._fetching.as_far_as_possible(shown)
                found.append(conflict_of(shown, self._local.cluster))
        return tuple(found)

    def resolve(self, request: ResolveConflict) -> Saved:
        """End a conflict; `UsageError` for a value it has not, `CisError` for none, `Changed` where it has others.

        To keep a value that is on other devices it is fetched: `Elsewhere` where it cannot be, and nothing is changed.
        """
        space = self._local.cluster.space(request.space)
        with self._readers.snapshot() as reader:
            recalled = current(reader.recall(space, request.key), self._policy, self._local.clock_ms())
            if recalled is None or not recalled.siblings:
                raise CisError(f"{request.key!r} in {request.space} is in no conflict: nothing was changed")
            seen = frozenset(stored.change.dot for stored in reader.rows.live(recalled.memory))
        if request.form is None:
            recalled = self._fetching.whole(recalled, beside=True)
        values = values_of(recalled)
        if request.seen is not None and set(request.seen) != {value.id for value in values}:
            raise Changed(
                f"the values of {request.key!r} have changed since they were numbered, so nothing was changed: "
                f"`{listing(request.key, request.space)}` shows them anew"
            )
        written = self._write(self._decision(request, space, values, seen))
        return Saved(key=request.key, space=request.space, changed=True, updated_ms=hlc_ms(written.hlc))

    def _decision(
        self, request: ResolveConflict, space: SpaceId, values: Sequence[Value], seen: frozenset[Dot]
    ) -> Write:
        if (request.keep is None) == (request.form is None):
            raise UsageError("say which value to keep, or give one: one of the two")
        kept = values[0] if request.keep is None else _chosen(request, values)
        if request.form is None and kept.shape is not Shape.REGISTER:
            others = {part.change.dot for value in values if value is not kept for part in value.parts}
            return Write(space, Kind.DELETE, Content(request.key), frozenset(others))
        whole, before = kept.latest.content, kept.latest.about
        if before is None or (request.form is None and whole is None):
            raise CisError("that value cannot be read here (its body or its key is missing): keep it where it can be")
        ttl_ms = max(1, kept.expires_ms - self._local.clock_ms()) if kept.expires_ms else 0
        if request.form is None:
            assert whole is not None
            return Write(space, Kind.PUT, msgspec.structs.replace(whole, ttl_ms=ttl_ms), seen)
        value, form = pack(request.value, request.form)
        content = Content(request.key, value, form=form, category=before.category, tags=before.tags, ttl_ms=ttl_ms)
        return Write(space, Kind.PUT, content, seen)

    def _write(self, write: Write) -> Written:
        (outcome,) = self._local.store.write([write]).result()
        if isinstance(outcome, CisError):
            raise outcome
        return outcome

    def _marked(self, space: int | None, limit: int) -> list[Any]:
        with self._local.store.index() as index:
            rows: list[Any] = index.execute(_MARKED, (space, limit)).fetchall()
        return rows

    def _recall(self, reader: Reader, memory: bytes, space: int) -> Recalled | None:
        return reader.recall_by_id(MemoryId(memory), reader.space(space))


def conflict_of(recalled: Recalled, cluster: Cluster) -> Conflict:
    """Return a memory in conflict as it is listed."""
    values = values_of(recalled)
    siblings = tuple(_sibling_of(value, number, cluster) for number, value in enumerate(values, 1))
    space = cluster.space_name(recalled.space)
    return Conflict(key=recalled.key, space=space, id=recalled.memory.hex(), values=siblings)


def _sibling_of(value: Value, number: int, cluster: Cluster) -> Sibling:
    shown, form = value_of(value)
    change, content = value.latest.change, value.latest.about
    node = node_of(change.dot.replica)
    return Sibling(
        number=number,
        id=value.id,
        type=TYPES[value.shape],
        form=form,
        value=shown,
        category=content.category if content else "",
        tags=content.tags if content else (),
        author=cluster.name_of(node),
        author_did=did_of(node),
        device=short_id(node),
        updated_ms=hlc_ms(change.hlc),
        expires_ms=value.expires_ms or None,
        shown=number == 1,
        elsewhere=value.elsewhere,
    )


def _chosen(request: ResolveConflict, values: Sequence[Value]) -> Value:
    """Return the value meant by a number or an id."""
    named = (request.keep or "").lower()
    if named.isdecimal() and 0 < int(named) <= len(values) and len(named) < ID_CHARS_MIN:
        return values[int(named) - 1]
    found = [value for value in values if value.id.startswith(named) and len(named) >= ID_CHARS_MIN]
    if len(found) != 1:
        raise UsageError(
            f"{request.key!r} has no value {request.keep!r}: it has 1 to {len(values)}, or their ids: "
            f"`{listing(request.key, request.space)}` shows them"
        )
    return found[0]
