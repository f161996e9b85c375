"""Reading memories as users see them: live changes opened, checked against their headers, then viewed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from cis.crdt import Policy, Shape, View, alive, view
from cis.model import Change, Dot, Hlc, Kind, MemoryId, ReplicaId, SpaceId, VersionVector, hlc_ms
from cis.model.change import BODILESS, SEQ_BITS, VALUELESS
from cis.model.ids import MEMORY_ID_LENGTH
from cis.store.database import fetch, fetch_one
from cis.store.names import Name, decode_name
from cis.store.replicas import rid_of
from cis.store.rows import Rows, Stored
from cis.trust.sealing import Opener, SpaceKeys, Unreadable
from cis.wire.content import Content, decode_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import apsw

_ALIVE_BUT = """
    SELECT l.memory, l.rid FROM (SELECT * FROM live UNION ALL SELECT * FROM live0) l
    JOIN head h ON h.rid = l.rid
    WHERE substr(h.record, 33, 1) NOT IN ({kinds})
    AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = l.rid)"""


@dataclass(frozen=True, slots=True)
class Part:
    """One change of a memory with its plaintext; ``content`` is None where it cannot be read.

    ``name`` is what is kept of a value that is elsewhere by choice.
    """

    change: Change
    content: Content | None
    name: Name | None = None

    @property
    def about(self) -> Content | Name | None:
        """What tells key, category, tags and time to live, whether the value is here or elsewhere."""
        return self.content if self.content is not None else self.name

    @property
    def elsewhere(self) -> bool:
        """Whether the value is on other devices by choice."""
        return self.content is None and self.name is not None


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory as shown: its parts (see `cis.crdt.View`) and the siblings kept beside them."""

    space: SpaceId
    memory: MemoryId
    shape: Shape
    parts: tuple[Part, ...]
    siblings: tuple[Part, ...]
    vectors: tuple[Part, ...] = ()
    """What models made of a text of it; see `cis.store.texts` for which of them count."""

    @property
    def latest(self) -> Part:
        """The part that speaks for category, tags, time and author."""
        return max(self.parts, key=lambda part: (part.change.hlc, part.change.dot))

    @property
    def key(self) -> str:
        """The memory's key, or "" where no part can be read."""
        return next((part.about.key for part in (*self.parts, *self.siblings) if part.about), "")

    @property
    def elsewhere(self) -> bool:
        """Whether what is shown is on other devices by choice."""
        return any(part.elsewhere for part in self.parts)

    def expired(self, now_ms: int) -> bool:
        """Tell whether the latest part's time to live has passed."""
        return 0 < self.expires_ms <= now_ms

    @property
    def expires_ms(self) -> int:
        """Unix milliseconds from which the memory is hidden, 0 for never."""
        latest = self.latest
        ttl_ms = latest.about.ttl_ms if latest.about else 0
        return hlc_ms(latest.change.hlc) + ttl_ms if ttl_ms else 0


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much is held of a space: memories that are shown, changes with their headers, bytes of sealed bodies."""

    memories: int
    changes: int
    bytes: int


class Reader:
    """Recalls memories over one connection; ``keys`` may gain spaces and epochs while it lives."""

    def __init__(self, connection: apsw.Connection, keys: Mapping[SpaceId, SpaceKeys]) -> None:
        self.rows = Rows(connection)
        self.connection = connection
        self._keys = keys
        self._spaces: dict[int, SpaceId] = {}
        self._last_opener: tuple[tuple[SpaceId, int, bytes], Opener] | None = None

    def recall(self, space: SpaceId, key: str, policy: Policy = Policy.CRDT) -> Recalled | None:
        """Return the memory of that key, or None where there is none (never was, deleted)."""
        return self.recall_by_id(self._keys[space].memory_id(key), space, policy)

    def recall_by_id(self, memory: MemoryId, space: SpaceId, policy: Policy = Policy.CRDT) -> Recalled | None:
        """Return the memory of that id as shown under the policy, or None."""
        return self.recalled(memory, space, self.rows.live(memory), policy)

    def recall_many(self, memories: Sequence[MemoryId], space: SpaceId) -> dict[MemoryId, Recalled]:
        """Return those of the memories there are; for many at once, quicker by far."""
        alive = self.alive_of_many(memories)
        found = ((memory, self.recalled(memory, space, stored, Policy.CRDT)) for memory, stored in alive.items())
        return {memory: recalled for memory, recalled in found if recalled is not None}

    def alive_of_many(self, memories: Sequence[MemoryId]) -> dict[MemoryId, list[Stored]]:
        """Return what is alive of those memories of which anything is, with bodies."""
        live = self.rows.live_of_many(memories)
        stored = {one.rid: one for one in self.rows.stored(itertools.chain(*live.values()))}
        return {memory: [stored[rid] for rid in rids if rid in stored] for memory, rids in live.items()}  # as `live`

    def recalled(self, memory: MemoryId, space: SpaceId, live: Sequence[Stored], policy: Policy) -> Recalled | None:
        """Return a memory as its live changes show it, None where they show none."""
        stored = {item.change.dot: item for item in live}
        shown: View = view([item.change for item in live], policy)
        if shown.shape is Shape.ABSENT:
            return None
        parts = tuple(self.part(stored[change.dot]) for change in shown.parts)
        siblings = tuple(self.part(stored[change.dot]) for change in shown.siblings)
        vectors = tuple(self.part(item) for item in live if item.change.kind is Kind.VECTOR)
        return Recalled(space, memory, shown.shape, parts, siblings, vectors)

    def part(self, stored: Stored) -> Part:
        """Open a change's body; unreadable bodies yield a part without content, those elsewhere one with a name."""
        try:
            return Part(stored.change, self.open(stored))
        except Unreadable:
            keys = self._keys.get(self.space(stored.space)) if stored.name else None
            name = decode_name(stored.name, stored.change.memory, keys.memory_id) if keys is not None else None
            return Part(stored.change, None, name)

    def open(self, stored: Stored) -> Content:
        """Return the plaintext of a change, or raise `Unreadable`."""
        if stored.change.body is None:
            raise Unreadable("its body is not kept here")
        keys = self._keys.get(self.space(stored.space))
        if keys is None:
            raise Unreadable("it belongs to a space whose keys this node does not hold")
        plaintext = self._opener(keys, stored).open(stored.place, stored.change.body, stored.header)
        try:
            content = decode_content(plaintext)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unreadable(f"its content is malformed: {error}") from None
        if keys.memory_id(content.key) != stored.change.memory:
            raise Unreadable("the key inside does not match the memory id outside")
        return content

    def _opener(self, keys: SpaceKeys, stored: Stored) -> Opener:
        """Return what opens a change's body; neighbours are often of one changeset."""
        sealed_under = (keys.space, stored.epoch, stored.salt)
        if self._last_opener is None or self._last_opener[0] != sealed_under:
            self._last_opener = sealed_under, Opener(keys, stored.epoch, stored.salt)
        return self._last_opener[1]

    def space(self, number: int) -> SpaceId:
        """Return the id of a numbered space."""
        if number not in self._spaces:
            rows = fetch(self.connection, "SELECT no, id FROM space")
            self._spaces = {number: SpaceId(space) for number, space in rows}
        return self._spaces[number]

    def space_number(self, space: SpaceId) -> int | None:
        """Return the number of a space, None where the store has none of it."""
        number: int | None = fetch_one(self.connection, "SELECT no FROM space WHERE id=?", (space,))
        return number

    def memories(self, space: SpaceId) -> list[MemoryId]:
        """Return the ids of all memories of the space that have live changes, deleted ones among them."""
        query = (
            "SELECT DISTINCT l.memory FROM (SELECT * FROM live UNION ALL SELECT * FROM live0) l "
            "JOIN replica r ON r.no = l.rid >> ?2 WHERE r.space = ?1"
        )
        rows = fetch(self.connection, query, (self.space_number(space), SEQ_BITS))
        return [MemoryId(memory) for (memory,) in rows]

    def vector(self, space: SpaceId) -> VersionVector:
        """Return the version vector of a space, dots beyond gaps included."""
        rows = fetch(
            self.connection,
            "SELECT r.no, r.id, r.seq, r.link, (SELECT max(rid) FROM changeset WHERE rid < (r.no + 1) << ?2) "
            "FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?1",
            (space, SEQ_BITS),
        )
        ranges = [
            (ReplicaId(replica), first, first + count - 1)
            for number, replica, seq, _, last in rows
            if last is not None and last > rid_of(number, seq)
            for first, count in _beyond(self.connection, number, seq)
        ]
        vector = VersionVector.gathered({ReplicaId(replica): seq for _, replica, seq, _, _ in rows}, ranges)
        return replace(vector, heads={ReplicaId(replica): link[:8] for _, replica, seq, link, _ in rows if seq})

    def floor(self, space: SpaceId) -> VersionVector:
        """Return up to where each log is stable: changes below may have been collected."""
        query = "SELECT r.id, r.floor FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ? AND r.floor > 0"
        return VersionVector({ReplicaId(replica): floor for replica, floor in fetch(self.connection, query, (space,))})

    def owes(self, space: SpaceId) -> bool:
        """Tell whether a floor was taken over from a peer, and whole states were not compared since all below came."""
        return fetch_one(self.connection, "SELECT 1 FROM meta WHERE name = ?", (owing(space),)) is not None

    def link_at(self, space: SpaceId, replica: ReplicaId, seq: int) -> bytes | None:
        """Return the link a log has after that number; None where no changeset held ends there."""
        query = (
            "SELECT c.link FROM replica r JOIN space s ON s.no = r.space JOIN changeset c ON c.rid = (SELECT max(rid) "
            "FROM changeset WHERE rid <= (r.no << ?4) + ?3) WHERE s.id = ?1 AND r.id = ?2 "
            "AND c.rid + length(c.hashes) / 32 - 1 = (r.no << ?4) + ?3"
        )
        link: bytes | None = fetch_one(self.connection, query, (space, replica, seq, SEQ_BITS))
        return link

    def state_hash(self, space: SpaceId) -> bytes:
        """Return a hash of what is alive in the space: equal on all nodes that hold the same vector.

        Tombstones are left out, so that collecting them changes nothing; held changes count as applied, so
        that nodes whose clocks differ agree.
        """
        lines, held = self.in_effect(space), self.held_back(space)
        digest = blake2b(digest_size=32, person=b"cis/1 state")
        for line in sorted(set(_with_held(self.rows, lines, held) if held else lines)):
            digest.update(line)
        return digest.digest()

    def in_effect(self, space: SpaceId) -> list[bytes]:
        """Return memory (16), replica (40) and number (8) of each change with a body that is alive, unsorted."""
        number = self.space_number(space)
        return [
            memory + _line(self.rows.dot(rid))
            for memory, rid in fetch(self.connection, _ALIVE_BUT.format(kinds=_listed(BODILESS)))
            if self.rows.replica(rid >> SEQ_BITS)[0] == number
        ]

    def held_back(self, space: SpaceId) -> list[tuple[Change, bool]]:
        """Return the space's changes held back because they are dated in the future, and whether each is replaced."""
        number = self.space_number(space)
        return [(stored.change, dead) for stored, dead in self.rows.held() if stored.space == number]

    def latest_hlc(self, clock: str) -> Hlc:
        """Return the greatest stamp of a clock, to restart it from."""
        stored = fetch_one(self.connection, "SELECT value FROM meta WHERE name = ?", (clock,))
        return Hlc(int.from_bytes(stored, "big") if stored else 0)


def _listed(kinds: Iterable[Kind]) -> str:
    return ", ".join(f"x'{kind:02x}'" for kind in sorted(kinds))


def _with_held(rows: Rows, lines: list[bytes], held: Sequence[tuple[Change, bool]]) -> list[bytes]:
    by_memory: dict[MemoryId, list[Change]] = {}
    for change, _ in held:
        by_memory.setdefault(change.memory, []).append(change)
    replaced = {change.dot for change, dead in held if dead}
    kept = [line for line in lines if line[:MEMORY_ID_LENGTH] not in by_memory]
    for memory, changes in by_memory.items():
        state = alive([*changes, *(stored.change for stored in rows.live(memory))])
        shown = [change for change in state if change.kind not in BODILESS and change.dot not in replaced]
        kept += [memory + _line(change.dot) for change in shown]
    return kept


def _line(dot: Dot) -> bytes:
    return dot.replica + dot.seq.to_bytes(8, "big")


def stable(reader: Reader, space: SpaceId) -> VersionVector:
    """Return the part of the floor that all members reported to have: no removal cuts below it."""
    query = "SELECT r.id, r.stable FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ? AND r.stable > 0"
    return VersionVector({ReplicaId(replica): seq for replica, seq in fetch(reader.connection, query, (space,))})


def owing(space: SpaceId) -> str:
    """Return the name under which it is kept that a space is to be compared once more."""
    return f"owes {space.hex()}"


def _beyond(connection: apsw.Connection, number: int, seq: int) -> list[tuple[int, int]]:
    """Return the changesets held beyond the gap; none where there is no gap but a fork: the log is frozen."""
    query = "SELECT rid - ?1, length(hashes) / 32 FROM changeset WHERE rid > ?2 AND rid < ?3 ORDER BY rid"
    bounds = (rid_of(number, 0), rid_of(number, seq), rid_of(number + 1, 0))
    rows = [(first, count) for first, count in fetch(connection, query, bounds)]
    return rows if rows and rows[0][0] > seq + 1 else []


def holdings(reader: Reader, space: SpaceId) -> Holdings:
    """Count what is held of a space, without a look into it; takes time in proportion."""
    query = "SELECT {} t JOIN replica r ON r.no = t.rid >> ?2 WHERE r.space = ?1"
    bounds = (reader.space_number(space), SEQ_BITS)
    changes = fetch(reader.connection, query.format("count(*) FROM head"), bounds)[0][0]
    size = fetch(reader.connection, query.format("coalesce(sum(length(sealed)), 0) FROM body"), bounds)[0][0]
    alive = fetch(reader.connection, _ALIVE_BUT.format(kinds=_listed(VALUELESS)))  # a vector alone is no memory
    memories = {memory for memory, rid in alive if reader.rows.replica(rid >> SEQ_BITS)[0] == bounds[0]}
    return Holdings(len(memories), changes, size)
