"""Memories by words: BM25 over index.db's full text, and the filters that bound any search.

What costs is ranking: some 2 µs for each memory that matches. So words that most memories hold rank nothing: those
with all words come first, then those with any of the telling ones, and where only common words are held, what was
indexed last. Rows come out of FTS5 in order of rank, so of `doc` only as many are looked up as pass the filters.
"""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apsw

from cis.model import hlc

WORDS_MAX = 32
COMMON_MIN = 4096
"""A word in more memories than this tells too little to be ranked by."""
RANKED_MAX = 8192
"""Memories that are ranked for one search, about."""
PREFIX_CHARS_MIN = 3
"""The last word may be the beginning of a longer one, if it has so many characters."""
_HLC_MAX = (1 << 63) - 1
PASSES = """(d.expires_ms = 0 OR d.expires_ms > :now) AND d.hlc >= :since AND d.hlc < :until
    AND (:spaces IS NULL OR instr(:spaces, ' ' || d.space || ' '))
    AND (:category IS NULL OR d.category = :category)
    AND (:tag IS NULL OR instr(char(10) || d.tags || char(10), char(10) || :tag || char(10)))
    AND substr(d.key, 1, length(:prefix)) = :prefix"""
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM text WHERE text MATCH ? LIMIT ?)"
_RANKED = f"""
    SELECT d.no, d.memory, d.space FROM text CROSS JOIN doc d ON d.no = text.rowid
    WHERE text MATCH :words AND rank MATCH 'bm25(4.0, 1.0, 2.0)' AND {PASSES} ORDER BY text.rank LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_NEWEST = f"""
    SELECT d.no, d.memory, d.space FROM text CROSS JOIN doc d ON d.no = text.rowid
    WHERE text MATCH :words AND {PASSES} ORDER BY text.rowid DESC LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_NAMED = f"""
    SELECT d.no, d.memory, d.space FROM carray(:numbers) n CROSS JOIN doc d ON d.no = n.value WHERE {PASSES}"""  # noqa: S608 - of constants; values are bound
_ALLOWED = f"SELECT d.no FROM doc d WHERE {PASSES}"  # noqa: S608 - of constants; values are bound


class Row(NamedTuple):
    """A memory in the index: its number there, its id, and its space's number.

    ``share`` is how much of a query's words it holds, the rare ones counting for more (by inverse document frequency).
    """

    number: int
    memory: bytes
    space: int
    share: float = 1.0


@dataclass(frozen=True)
class Filters:
    """What a memory must be to be found; ``spaces`` are numbers, None is any."""

    now_ms: int
    spaces: tuple[int, ...] | None = None
    category: str | None = None
    tag: str | None = None
    prefix: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def bindings(self, **others: object) -> dict[str, object]:
        """Return the values of `PASSES`, and others."""
        return {
            "now": self.now_ms,
            "spaces": None if self.spaces is None else f" {' '.join(map(str, self.spaces))} ",
            "category": self.category,
            "tag": self.tag,
            "prefix": self.prefix,
            "since": 0 if self.since_ms is None else hlc(self.since_ms),
            "until": _HLC_MAX if self.until_ms is None else hlc(self.until_ms),
            **others,
        }


def words_of(query: str) -> list[str]:
    """Return the words of a query that the index can hold; punctuation alone is none."""
    words = "".join(" " if unicodedata.category(one).startswith("C") else one for one in query).split()
    return [word for word in words if any(one.isalnum() for one in word)][:WORDS_MAX]


def find_by_words(connection: apsw.Connection, words: Sequence[str], filters: Filters, depth: int) -> list[Row]:
    """Return at most ``depth`` memories, best first."""
    terms = _terms(words)
    counts = {term: _count(connection, term, COMMON_MIN + 1) for term in terms}
    telling = _telling(counts)
    together = " AND ".join(counts)
    found: dict[int, Row] = {}
    if telling and _count(connection, together, 1):
        found = {row.number: row for row in _rows(connection, _RANKED, together, filters, depth)}
    if telling and len(found) < depth and len(counts) > 1:
        some = _rows(connection, _RANKED, " OR ".join(telling), filters, depth)
        shares = _shares(connection, counts, telling, [row.number for row in some])
        for row in some:
            found.setdefault(row.number, row._replace(share=shares[row.number]))
    common = [term for term in counts if counts[term] and term not in telling]
    if found or not common:
        return list(found.values())[:depth]
    return _rows(connection, _NEWEST, " AND ".join(common), filters, depth) or (
        _rows(connection, _NEWEST, " OR ".join(common), filters, depth) if len(common) > 1 else []
    )


def rows_passing(connection: apsw.Connection, numbers: Sequence[int], filters: Filters) -> dict[int, Row]:
    """Return those of the numbered memories that pass, by number."""
    if not numbers:
        return {}
    rows = connection.execute(_NAMED, filters.bindings(numbers=apsw.carray(array("q", numbers))))
    return {row[0]: Row(*row) for row in rows}


def numbers_passing(connection: apsw.Connection, filters: Filters) -> list[int]:
    """Return the numbers of all memories that pass."""
    return [number for (number,) in connection.execute(_ALLOWED, filters.bindings())]


def _terms(words: Sequence[str]) -> list[str]:
    """Quote each word, so that nothing in it is FTS5 syntax; the last may be the beginning of a longer one."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    if len(words[-1]) >= PREFIX_CHARS_MIN:
        quoted[-1] += "*"
    return list(dict.fromkeys(quoted))


def _telling(counts: Mapping[str, int]) -> list[str]:
    """Return the words to rank by, rarest first: none that is common, and no more than `RANKED_MAX` matches in all."""
    telling: list[str] = []
    matches = 0
    for term in sorted((term for term in counts if counts[term]), key=lambda term: counts[term]):
        matches += counts[term]
        if counts[term] > COMMON_MIN or (matches > RANKED_MAX and telling):
            break
        telling.append(term)
    return telling


def _shares(
    connection: apsw.Connection, counts: Mapping[str, int], telling: Sequence[str], numbers: Sequence[int]
) -> dict[int, float]:
    """Return for each memory how much of the query it holds; a word that is nowhere counts for the most."""
    memories = connection.execute("SELECT ifnull(max(no), 0) FROM doc").get
    weights = {term: math.log(1 + max(memories, count) / (count + 0.5)) for term, count in counts.items()}
    held = dict.fromkeys(numbers, 0.0)
    for term in telling:
        for (number,) in connection.execute("SELECT rowid FROM text WHERE text MATCH ?", (term,)):
            if number in held:
                held[number] += weights[term]
    whole = sum(weights.values())
    return {number: weight / whole for number, weight in held.items()}


def _count(connection: apsw.Connection, match: str, at_most: int) -> int:
    return int(connection.execute(_COUNT, (match, at_most)).get)


def _rows(connection: apsw.Connection, statement: str, match: str, filters: Filters, limit: int) -> list[Row]:
    return [Row(*row) for row in connection.execute(statement, filters.bindings(words=match, limit=limit))]
