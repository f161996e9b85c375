"""What index.db says of each memory: its row, its words, its vectors; brought up to date for many memories at once.

A memory has one vector of each model, the best there is: of origin 0 its author gave it, of origin 1 a node embedded
its text and told the others, of origin 2 this node embedded it for itself alone. One that describes another text than
the one shown is not kept.
"""

from __future__ import annotations

import itertools
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from cis.arrays import np
from cis.crdt import Policy, Shape
from cis.model import Kind, MemoryId, NodeId, SpaceId, hlc_ms, node_of
from cis.model.change import VALUELESS
from cis.store.database import fetch
from cis.store.texts import counting, digest_of, embeddable, own_vector
from cis.store.vectors import normalised
from cis.wire.content import Form

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cis.store.read import Part, Reader, Recalled
    from cis.store.rows import Stored
    from cis.trust.sealing import SpaceKeys

GIVEN, TOLD, LOCAL = range(3)
"""Origins of a vector, best first."""
DOC_BITS = 40
_TEXT_BYTES_MAX = 64 * 1024
_KNOWN = """
    SELECT d.no, d.memory, d.space, d.key, d.category, d.tags, d.shape, d.hlc, d.author, d.expires_ms, d.siblings,
        d.bytes, d.digest FROM carray(?) n CROSS JOIN doc d ON d.memory = n.value"""
_DOC = f"INSERT INTO doc VALUES({','.join('?' * 13)})"
_VEC = "INSERT OR REPLACE INTO vec VALUES(?,?,?,?,?,?)"
_STALE = "DELETE FROM vec WHERE no IN (SELECT v.no FROM carray(?1) n CROSS JOIN vec v ON v.doc = n.value {})"
_PRESENT = "SELECT v.doc, v.model FROM carray(?) n CROSS JOIN vec v ON v.doc = n.value"
_LACKING = f"""
    INSERT OR IGNORE INTO wanted SELECT ?1, d.hlc, d.no, d.space, d.expires_ms FROM {{}}
    WHERE d.digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM vec v WHERE v.no = ?1 << {DOC_BITS} | d.no)"""


class _Row(NamedTuple):
    """A row of ``doc``."""

    no: int
    memory: MemoryId
    space: int
    key: str
    category: str
    tags: str
    shape: str
    hlc: int
    author: bytes
    expires_ms: int
    siblings: int
    size: int
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class LocalVector:
    """A text embedded by this node for itself: float32, little-endian."""

    memory: MemoryId
    digest: bytes
    model: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector to keep of a doc; `indexing` says what the origins are."""

    doc: int
    model: str
    origin: int
    vector: bytes


class Indexing:
    """Brings rows up to date over the connection that writes index.db, inside the caller's transaction."""

    def __init__(
        self, connection: apsw.Connection, reader: Reader, keys: Mapping[SpaceId, SpaceKeys], node: NodeId
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._keys = keys
        self._node = node

    def replace(self, memories: Sequence[MemoryId], space: int) -> list[int]:
        """Say of those memories of a space what is so now; return which docs have other vectors, or went."""
        connection, ids = self._connection, apsw.carray(tuple(memories))
        shared = self._reader.space(space)
        if shared not in self._keys:
            lines = [(memory, space) for memory in memories]
            connection.executemany("INSERT OR IGNORE INTO unread VALUES(?,?)", lines)
            return []
        known = {row.memory: row for row in map(_Row._make, fetch(connection, _KNOWN, (ids,)))}
        for table in ("unread", "dangling"):
            connection.execute(f"DELETE FROM {table} WHERE memory IN (SELECT value FROM carray(?))", (ids,))
        fresh = itertools.count(1 + (connection.execute("SELECT max(no) FROM doc").get or 0))
        rows, texts, vectors = dict[MemoryId, _Row](), dict[int, tuple[str, str, str]](), list[Vector]()
        for memory, alive in self._reader.alive_of_many(memories).items():
            recalled = self._reader.recalled(memory, shared, alive, Policy.CRDT)
            if recalled is None:
                self._note_dangling(memory, space, alive)
            elif (about := recalled.latest.about) is None:
                connection.execute("INSERT INTO unread VALUES(?,?)", (memory, space))
            else:
                before = known.get(memory)
                row = rows[memory] = _row(recalled, space, before.no if before is not None else next(fresh))
                texts[row.no] = recalled.key, _text(recalled), " ".join(about.tags)
                vectors += _vectors(recalled, row)
        self._save_rows(known, rows, texts)
        return self._save_vectors(known, rows, vectors)

    def _save_rows(
        self, known: Mapping[MemoryId, _Row], rows: Mapping[MemoryId, _Row], texts: Mapping[int, tuple[str, str, str]]
    ) -> None:
        """Write rows and words, but for registers of which nothing is new: what came is a vector."""
        same = {row.no for row in rows.values() if known.get(row.memory) == row and row.shape == Shape.REGISTER}
        gone = [(row.no,) for row in known.values() if row.no not in same]
        for table, column in (("text", "rowid"), ("doc", "no")):
            self._connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)
        if gone:
            self._connection.execute("UPDATE progress SET forgotten = forgotten + ?", (len(gone),))
        new = [row for row in rows.values() if row.no not in same]
        self._connection.executemany(_DOC, new)
        words = ((row.no, *texts[row.no]) for row in new)
        self._connection.executemany("INSERT INTO text(rowid, key, value, tags) VALUES(?,?,?,?)", words)

    def _save_vectors(
        self, known: Mapping[MemoryId, _Row], rows: Mapping[MemoryId, _Row], vectors: Sequence[Vector]
    ) -> list[int]:
        connection = self._connection
        docs = _numbers(row.no for row in known.values()) if known else None
        told = set[int]()
        if docs is not None and fetch(connection, _PRESENT + " LIMIT 1", (docs,)):
            told = {doc for doc, _ in fetch(connection, _PRESENT, (docs,))}
            connection.execute(_STALE.format("WHERE v.origin < 2"), (docs,))
            other = [row.no for row in known.values() if not _same_text(row, rows.get(row.memory))]
            if other:
                connection.execute(_STALE.format(""), (_numbers(other),))
        save_vectors(connection, vectors)
        self._note_lacking(known, rows)
        return sorted(told | {one.doc for one in vectors})

    def _note_lacking(self, known: Mapping[MemoryId, _Row], rows: Mapping[MemoryId, _Row]) -> None:
        """Keep what lacks a vector of the models that are wanted."""
        connection = self._connection
        for (model,) in fetch(connection, "SELECT no FROM model WHERE wanted"):
            gone = [(model, row.hlc, row.no) for row in known.values()]
            connection.executemany("DELETE FROM wanted WHERE (model, hlc, doc) = (?,?,?)", gone)
            texts = [row.no for row in rows.values() if row.digest is not None]
            if texts:
                connection.execute(
                    _LACKING.format("carray(?2) n CROSS JOIN doc d ON d.no = n.value"), (model, _numbers(texts))
                )

    def _note_dangling(self, memory: MemoryId, space: int, alive: Sequence[Stored]) -> None:
        """Remember a memory that is gone but for vectors, where this node wrote one of these or deleted the memory."""
        assert all(one.change.kind in VALUELESS for one in alive)
        vectors = [one for one in alive if one.change.kind is Kind.VECTOR]
        if not vectors or all(node_of(one.change.dot.replica) != self._node for one in alive):
            return
        contents = (self._reader.part(one).content for one in vectors)
        key = next((content.key for content in contents if content is not None), None)
        if key is not None:
            self._connection.execute("INSERT INTO dangling VALUES(?,?,?)", (memory, space, key))


def save_vectors(connection: apsw.Connection, vectors: Sequence[Vector]) -> None:
    """Write vectors, each scaled to length 1; those that have no direction are left out. Adds models that are new."""
    by_length: dict[int, list[Vector]] = {}
    for one in vectors:
        by_length.setdefault(len(one.vector), []).append(one)
    for length, group in sorted(by_length.items()):
        matrix = np.frombuffer(b"".join(one.vector for one in group), "<f4").reshape(len(group), length // 4)
        scaled, sound = normalised(matrix)
        data = scaled.astype("<f4").tobytes()
        rows = []
        for at in np.flatnonzero(sound).tolist():
            one, vector = group[at], data[length * at : length * (at + 1)]
            model = number_of(connection, one.model)
            rows.append((model << DOC_BITS | one.doc, one.doc, model, one.origin, length, vector))
        connection.executemany(_VEC, rows)


def number_of(connection: apsw.Connection, model: str) -> int:
    """Return the number of a model, given to it now where it has none."""
    number: int | None = connection.execute("SELECT no FROM model WHERE name = ?", (model,)).get
    if number is None:
        connection.execute("INSERT INTO model(name) VALUES(?)", (model,))
        number = connection.last_insert_rowid()
    return number


def want(connection: apsw.Connection, model: str) -> list[int]:
    """Keep from now on what lacks a vector of that model, and of no other; no vector changes."""
    number = number_of(connection, model)
    if not connection.execute("SELECT wanted FROM model WHERE no = ?", (number,)).get:
        connection.execute("UPDATE model SET wanted = no = ?", (number,))
        connection.execute("DELETE FROM wanted")
        connection.execute(_LACKING.format("doc d"), (number,))
    return []


def keep_local(connection: apsw.Connection, vectors: Sequence[LocalVector]) -> list[int]:
    """Keep what this node embedded for itself, where the text is still that one; return which docs that changes."""
    kept = []
    query = "SELECT no, hlc FROM doc WHERE memory = ? AND digest = ?"
    for one in vectors:
        for number, stamp in fetch(connection, query, (one.memory, one.digest)):
            model = number_of(connection, one.model)
            row = (model << DOC_BITS | number,)
            if connection.execute("SELECT 1 FROM vec WHERE no = ? AND origin < 2", row).get is None:
                kept.append(Vector(number, one.model, LOCAL, one.vector))
            connection.execute("DELETE FROM wanted WHERE (model, hlc, doc) = (?,?,?)", (model, stamp, number))
    save_vectors(connection, kept)
    return [one.doc for one in kept]


def _numbers(numbers: Iterable[int]) -> Any:  # noqa: ANN401 - apsw names no type
    return apsw.carray(array("q", numbers))


def _row(recalled: Recalled, space: int, number: int) -> _Row:
    latest, text = recalled.latest, embeddable(recalled)
    about = latest.about
    assert about is not None
    return _Row(
        no=number,
        memory=recalled.memory,
        space=space,
        key=recalled.key,
        category=about.category,
        tags="\n".join(about.tags),
        shape=recalled.shape.value,
        hlc=latest.change.hlc,
        author=latest.change.dot.replica,
        expires_ms=_expires_ms(recalled),
        siblings=len(recalled.siblings),
        size=sum(map(_size, recalled.parts)),
        digest=digest_of(text) if text is not None else None,
    )


def _expires_ms(recalled: Recalled) -> int:
    """Return when the last of the values beside each other expires, 0 where one never does."""
    times = [recalled.expires_ms, *map(_part_expires_ms, recalled.siblings)]
    return max(times) if all(times) else 0


def _size(part: Part) -> int:
    return part.name.size if part.name is not None else len(part.content.value) if part.content is not None else 0


def _part_expires_ms(part: Part) -> int:
    ttl_ms = part.about.ttl_ms if part.about is not None else 0
    return hlc_ms(part.change.hlc) + ttl_ms if ttl_ms else 0


def _text(recalled: Recalled) -> str:
    if recalled.shape is Shape.COUNTER:
        return ""
    values = [part.content.value for part in recalled.parts if part.content and part.content.form != Form.BYTES]
    return b"\n".join(values)[:_TEXT_BYTES_MAX].decode(errors="replace")


def _vectors(recalled: Recalled, row: _Row) -> list[Vector]:
    """Return the vectors the memory was given or told, the best of each model last."""
    found = []
    if recalled.vectors and row.digest is not None:
        for model, part in counting(recalled, row.digest).items():
            assert part.content is not None
            found.append(Vector(row.no, model, TOLD, part.content.vector))
    given = own_vector(recalled)
    if given is not None:
        found.append(Vector(row.no, given.vector_model, GIVEN, given.vector))
    return found


def _same_text(before: _Row, now: _Row | None) -> bool:
    return now is not None and before.digest is not None and before.digest == now.digest
