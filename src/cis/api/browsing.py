"""Operations over many memories: list, search, conflicts, stats; they ask index.db, then open what they show."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cis.api.memory_schema import (
    PAGE_MAX,
    Conflict,
    Hit,
    ListConflicts,
    ListMemories,
    Memory,
    MemoryStats,
    Page,
    ReplicaStats,
    SearchMemories,
    SpaceStats,
    Stats,
)
from cis.api.reading import Readers
from cis.api.snippets import snippet
from cis.api.values import memory_of, version_of
from cis.crdt import Policy
from cis.errors import UsageError
from cis.model import MemoryId, did_of, node_of
from cis.node.local import LocalNode
from cis.store.read import Reader, Recalled

WORDS_MAX = 32
_CURSOR = "\x1f"
"""Parts key and space in a page's ``next``; no key holds it."""
_LIVE = "(d.expires_ms = 0 OR d.expires_ms > :now)"
_FILTERS = """
    AND (:space IS NULL OR d.space = :space) AND (:category IS NULL OR d.category = :category)
    AND (:tag IS NULL OR instr(char(10) || d.tags || char(10), char(10) || :tag || char(10)))"""
_LIST = f"""
    SELECT d.memory, d.space, d.key FROM doc d WHERE d.key >= :prefix AND substr(d.key, 1, length(:prefix)) = :prefix
    AND (d.key, d.space) > (:after, :after_space) AND {_LIVE} {_FILTERS} ORDER BY d.key, d.space LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_SEARCH = f"""
    SELECT d.memory, d.space, -bm25(text, 4.0, 1.0, 2.0) AS score FROM text JOIN doc d ON d.no = text.rowid
    WHERE text MATCH :words AND {_LIVE} {_FILTERS} ORDER BY score DESC, d.key LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_CONFLICTS = f"""
    SELECT d.memory, d.space FROM doc d WHERE d.siblings > 0 AND {_LIVE} AND (:space IS NULL OR d.space = :space)
    ORDER BY d.key LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_COUNTS = f"""
    SELECT d.category, count(*), total(d.bytes), total(d.siblings > 0) FROM doc d
    WHERE d.space = :space AND {_LIVE} GROUP BY d.category ORDER BY d.category"""  # noqa: S608 - of constants; values are bound


class BrowsingOperations:
    """Lists, searches and counts."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers

    def page(self, request: ListMemories) -> Page:
        """List memories in order of key."""
        limit = _limit(request.limit)
        after, _, after_space = (request.after or "").partition(_CURSOR)
        rows = self._rows(
            _LIST,
            space=self._number(request.space),
            category=request.category,
            tag=request.tag,
            prefix=request.prefix,
            after=after,
            after_space=int(after_space) if after_space.isdecimal() else 1 << 40,
            limit=limit,
        )
        with self._readers.snapshot() as reader:
            memories = tuple(self._open(reader, rows))
        end = f"{rows[-1][2]}{_CURSOR}{rows[-1][1]}" if len(rows) == limit else None
        return Page(memories, end)

    def search(self, request: SearchMemories) -> tuple[Hit, ...]:
        """Find memories by words: those that hold all of them, or where there are none, any of them."""
        words = words_of(request.query)
        if not words:
            raise UsageError(f"{request.query[:40]!r} holds no word to search for: give letters or digits")
        filters = {"space": self._number(request.space), "category": request.category, "tag": None}
        limit = _limit(request.limit)
        rows: list[Any] = []
        for joint in (" AND ", " OR "):
            rows = self._rows(_SEARCH, words=joint.join(_terms(words)), limit=limit, **filters)
            if rows:
                break
        hits = []
        with self._readers.snapshot() as reader:
            for memory, space, score in rows:
                hits += [Hit(one, score, snippet(one, words)) for one in self._open(reader, [(memory, space)])]
        return tuple(hits)

    def conflicts(self, request: ListConflicts) -> tuple[Conflict, ...]:
        """List the memories with concurrent values; none are listed under lww, which hides them."""
        rows = self._rows(_CONFLICTS, space=self._number(request.space), limit=_limit(request.limit))
        cluster = self._local.cluster
        found = []
        with self._readers.snapshot() as reader:
            for recalled in self._recall(reader, rows):
                if recalled.siblings:
                    shown = tuple(version_of(part, cluster, shown=True, alive=True) for part in recalled.parts)
                    others = tuple(version_of(part, cluster, shown=False, alive=True) for part in recalled.siblings)
                    found.append(Conflict(recalled.key, cluster.space_name(recalled.space), shown, others))
        return tuple(found)

    def stats(self, _: MemoryStats) -> Stats:
        """Count what is stored."""
        folder = self._local.home.folder
        files = {path.name: path.stat().st_size for path in sorted(folder.glob("*.db*")) if path.is_file()}
        return Stats(tuple(self._stats_of(name) for name in self._local.cluster.spaces()), files)

    def _stats_of(self, name: str) -> SpaceStats:
        space = self._local.cluster.space(name)
        rows = self._rows(_COUNTS, space=self._number(name))
        categories: Counter[str] = Counter({category: count for category, count, _, _ in rows})
        with self._readers.snapshot() as reader:
            state = reader.state_hash(space).hex()
            vector = reader.vector(space)
        replicas = []
        for replica in sorted({*vector.seqs, *vector.beyond}):
            node = node_of(replica)
            beyond = sum(last - first + 1 for first, last in vector.beyond.get(replica, ()))
            author = self._local.cluster.name_of(node)
            replicas.append(ReplicaStats(author, did_of(node), replica[32:].hex(), vector.contiguous(replica), beyond))
        return SpaceStats(
            name=name,
            memories=categories.total(),
            bytes=int(sum(size for _, _, size, _ in rows)),
            conflicts=int(sum(conflicts for _, _, _, conflicts in rows)),
            categories=dict(categories),
            state_hash=state,
            replicas=tuple(replicas),
        )

    def _rows(self, statement: str, **values: object) -> list[Any]:
        with self._local.store.index() as connection:
            rows: list[Any] = connection.execute(statement, {"now": self._local.clock_ms(), **values}).fetchall()
        return rows

    def _number(self, name: str | None) -> int | None:
        """Return a space's number in the tables, None for any space."""
        if name is None:
            return None
        space = self._local.cluster.space(name)
        with self._readers.snapshot() as reader:
            return reader.space_number(space)

    def _recall(self, reader: Reader, rows: Iterable[Sequence[Any]]) -> Iterable[Recalled]:
        now_ms = self._local.clock_ms()
        for memory, number, *_ in rows:
            space = reader.space(number)
            recalled = reader.recall_by_id(MemoryId(memory), space, self._policy)
            if recalled is not None and not recalled.expired(now_ms):
                yield recalled

    def _open(self, reader: Reader, rows: Iterable[Sequence[Any]]) -> Iterable[Memory]:
        return (memory_of(recalled, self._local.cluster) for recalled in self._recall(reader, rows))


def words_of(query: str) -> list[str]:
    """Return the words of a query that the index can hold; punctuation alone is none."""
    words = "".join(" " if unicodedata.category(one).startswith("C") else one for one in query).split()
    return [word for word in words if any(one.isalnum() for one in word)][:WORDS_MAX]


def _terms(words: Sequence[str]) -> list[str]:
    """Quote each word, so that nothing in it is FTS5 syntax; the last may be the beginning of a longer one."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return [*quoted[:-1], quoted[-1] + "*"]


def _limit(wanted: int) -> int:
    if not 0 < wanted <= PAGE_MAX:
        raise UsageError(f"a limit of {wanted}: it is 1 to {PAGE_MAX}")
    return wanted
