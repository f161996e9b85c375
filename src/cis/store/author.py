"""Local writes become changesets: named, sealed, hashed, chained and signed, then merged like any other's."""

from __future__ import annotations

import itertools
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import apsw

from cis.crdt import refs_for_add, refs_for_count, refs_for_put, refs_for_remove
from cis.errors import Changed, CisError, UsageError
from cis.model import Change, Dot, Hlc, Kind, MemoryId, Ref, ReplicaId, SpaceId, VersionVector
from cis.model.change import BODILESS, CHANGES_PER_CHANGESET_MAX, VALUELESS
from cis.store.annotating import annotate
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.trust.sealing import TAG_LENGTH, Sealer
from cis.trust.signing import CHANGESET_LABEL, Verified, hash_body, hash_leaf, link_after
from cis.wire.content import Content, check_content, encode_content
from cis.wire.segment import CHANGESET_VERSION, HEADER, RECORD, REFERENCE, Segment, layout_of, pack_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cis.crdt import HybridClock
    from cis.store.read import Reader
    from cis.store.replicas import LogEnd, Replicas
    from cis.store.rows import Stored
    from cis.trust.sealing import Entropy, SpaceKeys

CHANGESET_BYTES_AIM = 384 * 1024
"""An author closes a changeset once it is larger: even with the largest memory it then fits a frame."""

_EXPECTED = {
    Kind.COUNT: (VALUELESS | {Kind.COUNT}, "counter"),
    Kind.ADD: (VALUELESS | {Kind.ADD}, "set"),
    Kind.REMOVE: (VALUELESS | {Kind.ADD}, "set"),
}


_Element = tuple[int, bytes]
"""Form and value."""


@dataclass(frozen=True, slots=True)
class Write:
    """A wish to write.

    Of COUNT the content's totals are the amounts to add and subtract; of ADD and REMOVE its value is the
    element; of DELETE and REMOVE nothing but key and value is looked at. With ``saw`` it is written as if no other
    values were alive: those stay beside it. Without, everything alive was seen. With ``expected`` it is refused, as
    `cis.errors.Changed`, where the values alive are not just those. Of VECTOR the value is the digest of
    the text (`cis.store.texts`), of form BYTES; without a vector it takes back those of a memory that is gone.
    """

    space: SpaceId
    kind: Kind
    content: Content
    saw: frozenset[Dot] | None = None
    expected: frozenset[Dot] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The change a write became; ``dot`` is None where there was nothing to do, as in deleting nothing."""

    dot: Dot | None
    hlc: Hlc


@dataclass(frozen=True, slots=True)
class _Line:
    memory: MemoryId
    kind: Kind
    hlc: Hlc
    refs: tuple[Ref, ...]
    plaintext: bytes | None


@dataclass(slots=True)
class Draft:
    """One changeset being written: its lines, and where its author's log stands."""

    keys: SpaceKeys
    replica: ReplicaId
    first: int
    previous: bytes
    authority: bytes
    lines: list[_Line] = field(default_factory=list)
    size: int = 0

    def close(self, sign: Callable[[bytes], bytes], entropy: Entropy) -> Verified:
        """Seal, hash, chain and sign the draft."""
        sealer = Sealer(self.keys, [line.plaintext or b"" for line in self.lines], entropy)
        places = {self.replica: 0}
        for line in self.lines:
            for ref in line.refs:
                places.setdefault(ref.replica, len(places))
        refs = b"".join(list(places)[1:])
        records, extras, bodies, hashes, leaves = [], [], [], [], []
        for place, line in enumerate(self.lines):
            record, further = _header(line, places)
            body = b"" if line.plaintext is None else sealer.seal(place, line.plaintext, record + further)
            body_hash = hash_body(body)
            records.append(record)
            extras.append(further)
            bodies.append(body)
            hashes.append(body_hash)
            leaves.append(hash_leaf(record, further, body_hash))
        count = len(self.lines)
        header = HEADER.pack(
            self.first, sealer.epoch, count, len(places) - 1, CHANGESET_VERSION, sealer.salt, self.authority
        )
        link = link_after(self.previous, self.keys.space + self.replica, header, refs, b"".join(leaves))
        segment = Segment(
            space=self.keys.space, replica=self.replica, first=self.first, previous=self.previous,
            headers=header, refs=refs, records=b"".join(records), extras=b"".join(extras),
            missing=b"", missing_hashes=b"", bodies=b"".join(bodies), signature=sign(CHANGESET_LABEL + link),
        )  # fmt: skip
        return Verified(segment, layout_of(segment), b"".join(hashes), (link,))


@dataclass(frozen=True, slots=True)
class _State:
    """What an author knows of the memories it writes."""

    seen: dict[MemoryId, list[Stored]]
    space: int
    own: ReplicaId
    contiguous: VersionVector
    held: dict[MemoryId, list[Dot]]
    elements: dict[MemoryId, dict[_Element, list[Change]]] = field(default_factory=dict)
    """by element, what added it to a set; of the sets that were asked for"""

    def known(self, memory: MemoryId) -> VersionVector:
        """Return the vector up to which every change of the memory was seen: a held one was not."""
        if memory not in self.held:
            return self.contiguous
        seqs = dict(self.contiguous.seqs)
        for dot in self.held[memory]:
            seqs[dot.replica] = min(seqs.get(dot.replica, 0), dot.seq - 1)
        return VersionVector(seqs)


class Author:
    """Turns writes into drafts against the current state, on the writer's connection."""

    def __init__(self, reader: Reader, replicas: Replicas, clock: HybridClock) -> None:
        self._reader = reader
        self._replicas = replicas
        self._clock = clock

    def compose(
        self, draft: Draft, writes: Sequence[Write], start: int, end: LogEnd, now_ms: int, *, holding: bool
    ) -> list[Written | CisError]:
        """Add ``writes[start:]`` until the draft is full, or one concerns another space or what is written in it.

        Returns one outcome per write taken up; the caller merges the draft and goes on with the rest.
        """
        outcomes: list[Written | CisError] = []
        taken = _independent(draft.keys, writes[start : start + CHANGES_PER_CHANGESET_MAX])
        memories = list(dict.fromkeys(memory for _, memory in taken))
        state = self._state(memories, end, writes[start].kind, holding=holding)
        for write, memory in taken:
            if draft.size > CHANGESET_BYTES_AIM:
                break
            try:
                check_content(write.content)
                line = self._line(write, memory, state, now_ms)
            except CisError as error:
                outcomes.append(error)
                continue
            if line is None:
                outcomes.append(Written(None, self._clock.last))
                continue
            outcomes.append(Written(Dot(draft.replica, draft.first + len(draft.lines)), line.hlc))
            draft.lines.append(line)
            draft.size += RECORD.size + len(line.plaintext or b"") + REFERENCE.size * len(line.refs)
        return outcomes

    def _state(self, memories: Sequence[MemoryId], end: LogEnd, first: Kind, *, holding: bool) -> _State:
        """Read in bulk what is alive of those memories, with bodies if the first write needs them."""
        rows = self._reader.rows
        live = rows.live_of_many(memories)
        bodies = first not in {Kind.PUT, Kind.DELETE}
        stored = {one.rid: one for one in rows.stored(itertools.chain(*live.values()), bodies=bodies)}
        seen = {memory: [stored[rid] for rid in rids] for memory, rids in live.items()}
        held = rows.held_of_many(memories) if holding else {}
        return _State(seen, end.space, end.replica, self._replicas.contiguous(end.space), held)

    def _line(self, write: Write, memory: MemoryId, state: _State, now_ms: int) -> _Line | None:
        alive = state.seen.get(memory, [])
        _check_expected(write, alive)
        seen = alive if write.saw is None else [stored for stored in alive if _was_seen(stored.change, write.saw)]
        _check_type(write, seen)
        content, kind = write.content, write.kind
        if write.kind in {Kind.PUT, Kind.DELETE}:
            if write.kind is Kind.DELETE and all(stored.change.kind in VALUELESS for stored in seen):
                return None
            changes = [stored.change for stored in seen]
            # a prefix would name what stays beside it, too
            whole = len(seen) == len(alive)
            refs = refs_for_put(changes, state.known(memory)) if whole else refs_for_remove(changes)
        elif write.kind is Kind.COUNT:
            refs = refs_for_count((stored.change for stored in seen), state.known(memory), state.own)
            content = self._totals(content, seen, state.own)
        elif write.kind is Kind.VECTOR:
            whole_bodies = [self._with_body(stored) for stored in seen]
            found = annotate(self._reader, write.space, memory, content, whole_bodies, state.own)
            if found is None:
                return None
            kind, refs = found
        else:
            same = self._same_element(write, memory, state)
            if write.kind is Kind.REMOVE and not same:
                return None
            refs = refs_for_add(same) if write.kind is Kind.ADD else refs_for_remove(same)
        plaintext = None if kind in BODILESS else encode_content(content)
        return _Line(memory, kind, self._clock.tick(now_ms), self._uncollected(refs, state.space), plaintext)

    def _uncollected(self, refs: tuple[Ref, ...], space: int) -> tuple[Ref, ...]:
        """Leave out single changes that were collected here: everybody has had them, and what replaced them."""
        stable: dict[Ref, int] = {}
        for ref in refs:
            log = None if ref.prefix else self._replicas.end(space, ref.replica)
            if log is not None and ref.seq <= log.floor:
                stable[ref] = rid_of(log.number, ref.seq)
        if not stable:
            return refs
        query = "SELECT h.rid FROM carray(?1) n CROSS JOIN head h ON h.rid = n.value"
        kept = {rid for (rid,) in fetch(self._reader.connection, query, (apsw.carray(array("q", stable.values())),))}
        return tuple(ref for ref in refs if ref not in stable or stable[ref] in kept)

    def _totals(self, content: Content, seen: list[Stored], own: ReplicaId) -> Content:
        for stored in seen:
            if stored.change.kind is Kind.COUNT and stored.change.dot.replica == own:
                before = self._reader.open(self._with_body(stored))
                added, subtracted = before.added + content.added, before.subtracted + content.subtracted
                content = _with_totals(content, added, subtracted)
        check_content(content)
        return content

    def _same_element(self, write: Write, memory: MemoryId, state: _State) -> list[Change]:
        """Return what added the element, of what the write saw; the set is opened once for all writes to it."""
        if memory not in state.elements:
            by_element = state.elements[memory] = {}
            for stored in state.seen.get(memory, []):
                if stored.change.kind is Kind.ADD:
                    element = self._reader.part(self._with_body(stored)).content
                    if element is not None:
                        by_element.setdefault((element.form, element.value), []).append(stored.change)
        same = state.elements[memory].get(_element(write), [])
        return [change for change in same if write.saw is None or change.dot in write.saw]

    def _with_body(self, stored: Stored) -> Stored:
        return stored if stored.change.body is not None else self._reader.rows.stored([stored.rid])[0]


def _independent(keys: SpaceKeys, writes: Sequence[Write]) -> list[tuple[Write, MemoryId]]:
    """Return the first of the writes, up to one in another space or one to what another of them writes.

    That is one to the same memory, but for another element of a set: neither bears on what becomes of the other.
    """
    taken: list[tuple[Write, MemoryId]] = []
    written: dict[MemoryId, set[_Element | None]] = {}
    for write in writes:
        memory = keys.memory_id(write.content.key)
        element = _element(write) if write.kind in {Kind.ADD, Kind.REMOVE} else None
        before = written.setdefault(memory, set())
        if write.space != keys.space or (before and (None in before or element is None or element in before)):
            break
        before.add(element)
        taken.append((write, memory))
    return taken


def _element(write: Write) -> _Element:
    return write.content.form, write.content.value


def _was_seen(change: Change, saw: frozenset[Dot]) -> bool:
    """Tell whether a write that saw those values replaces the change: vectors go with any of them."""
    return change.dot in saw or change.kind is Kind.VECTOR


def changed(key: str) -> Changed:
    """Return the error for a memory that is no longer what a write was made for."""
    return Changed(f"{key!r} has changed since it was read: nothing was written; read it again")


def _check_expected(write: Write, alive: list[Stored]) -> None:
    values = (stored.change for stored in alive if stored.change.kind not in VALUELESS)
    if write.expected is not None and write.expected != {change.dot for change in values}:
        raise changed(write.content.key)


def _check_type(write: Write, seen: list[Stored]) -> None:
    expected = _EXPECTED.get(write.kind)
    if expected is not None and any(stored.change.kind not in expected[0] for stored in seen):
        raise UsageError(f"{write.content.key!r} is not a {expected[1]}: delete it first, or choose another key")


def _with_totals(content: Content, added: int, subtracted: int) -> Content:
    return Content(
        content.key, category=content.category, tags=content.tags, ttl_ms=content.ttl_ms,
        added=added, subtracted=subtracted,
    )  # fmt: skip


def _header(line: _Line, places: dict[ReplicaId, int]) -> tuple[bytes, bytes]:
    packed = [pack_reference(places[ref.replica], ref.seq, prefix=ref.prefix) for ref in line.refs]
    first, further = (packed[0], packed[1:]) if packed else (0, [])
    length = 0 if line.plaintext is None else len(line.plaintext) + TAG_LENGTH
    record = RECORD.pack(line.hlc, line.memory, first, line.kind, 0, len(further), length)
    return record, b"".join(map(REFERENCE.pack, further))
