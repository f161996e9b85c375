"""The two halves of a search over an index: by words, and by meaning; both find exactly what passes the filters."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt
import pytest

from cis.api.memories import word_search
from cis.api.memories.meaning_search import Alike, MeaningScan
from cis.api.memories.search_options import Weights
from cis.api.memories.searching import fuse
from cis.api.memories.word_search import Filters, Row, find_by_words, words_of
from cis.model import hlc
from cis.store.schema import INDEX_MIGRATIONS

NOW_MS = 1_000_000
ALL = Filters(NOW_MS)


class Index:
    """index.db's tables, filled by hand."""

    def __init__(self) -> None:
        self.connection = apsw.Connection("")
        for script in INDEX_MIGRATIONS:
            self.connection.execute(script)
        self.count = 0

    def add(self, value: str, key: str = "", tags: str = "", **columns: Any) -> int:
        """Add a memory; returns its number."""
        self.count += 1
        number, key = self.count, key or f"k/{self.count}"
        row = {
            "no": number, "memory": number.to_bytes(16, "big"), "space": 1, "key": key, "category": "note",
            "tags": tags, "shape": "register", "hlc": hlc(number), "author": b"", "expires_ms": 0, "siblings": 0,
            "bytes": 0, **columns,
        }  # fmt: skip
        names = ", ".join(row)
        self.connection.execute(f"INSERT INTO doc({names}) VALUES({','.join('?' * len(row))})", tuple(row.values()))
        words = (number, key, value, tags.replace("\n", " "))
        self.connection.execute("INSERT INTO text(rowid, key, value, tags) VALUES(?,?,?,?)", words)
        return number

    def words(self, query: str, filters: Filters = ALL, depth: int = 10) -> list[int]:
        return [row.number for row in find_by_words(self.connection, words_of(query), filters, depth)]


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def few_are_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_search, "COMMON_MIN", 5)
    monkeypatch.setattr(word_search, "RANKED_MAX", 8)


# --- words ------------------------------------------------------------------------------------------------------------


def test_those_with_all_words_come_before_those_with_any(index: Index) -> None:
    often = index.add("dark dark dark dark")
    both = index.add("in the dark, the longest of all texts about a theme, and whatever else one may add to it")
    index.add("neither")
    assert index.words("dark theme") == [both, often]


def test_key_and_tags_are_searched_too_and_a_key_counts_more(index: Index) -> None:
    value, key, tag = index.add("editor"), index.add("x", key="tools/editor"), index.add("x", tags="editor\nother")
    found = index.words("editor")
    assert found[0] == key
    assert set(found) == {value, key, tag}


def test_the_last_word_may_be_the_beginning_of_one_if_it_is_long_enough(index: Index) -> None:
    preference, plural = index.add("preference"), index.add("preferences apart")
    assert set(index.words("preference")) == {preference, plural}
    assert index.words("preferences") == [plural]
    assert index.words("prefer nothing") == []
    index.add("isolated")
    assert index.words("is") == []


@pytest.mark.usefixtures("few_are_common")
def test_common_words_do_not_hide_what_the_telling_ones_find(index: Index) -> None:
    common = [index.add("the thing") for _ in range(20)]
    rare = index.add("zebra alone")
    both = index.add("the zebra of all the zebras, and longer than the other by far")
    assert index.words("the zebra") == [both, rare]
    assert set(index.words("the zebra thing")) == {both, rare}
    assert index.words("the") == [both, *reversed(common)][:10]
    assert index.words("thing the") == common[::-1][:10]
    assert index.words("unknown the thing") == common[::-1][:10]


@pytest.mark.usefixtures("few_are_common")
def test_a_common_word_is_found_where_few_memories_pass_the_filters(index: Index) -> None:
    wanted = index.add("the thing", category="task")
    for _ in range(20):
        index.add("the thing")
    assert index.words("the thing", Filters(NOW_MS, category="task")) == [wanted]


def test_filters_bound_what_words_find(index: Index) -> None:
    filters = {
        "spaces": (Filters(NOW_MS, spaces=(2, 12)), {"space": 12}, {"space": 1}),
        "no space": (Filters(NOW_MS, spaces=(2,)), {"space": 2}, {"space": 22}),
        "category": (Filters(NOW_MS, category="task"), {"category": "task"}, {"category": "tasks"}),
        "tag": (Filters(NOW_MS, tag="a"), {"tags": "b\na"}, {"tags": "b\nab"}),
        "prefix": (Filters(NOW_MS, prefix="a%/"), {"key": "a%/1"}, {"key": "ab/1"}),
        "since": (Filters(NOW_MS, since_ms=500), {"hlc": hlc(500)}, {"hlc": hlc(499, 65_535)}),
        "until": (Filters(NOW_MS, until_ms=500), {"hlc": hlc(499, 65_535)}, {"hlc": hlc(500)}),
        "life": (ALL, {"expires_ms": NOW_MS + 1}, {"expires_ms": NOW_MS}),
    }
    for name, (given, passing, other) in filters.items():
        unique = name.replace(" ", "")
        wanted = index.add(unique, **passing)
        index.add(unique, **other)
        assert index.words(unique, given) == [wanted], name


def test_no_more_than_asked_for_are_found_the_best_first(index: Index) -> None:
    for _ in range(30):
        index.add("a word among several others that make it less of one")
    best = index.add("word")
    assert index.words("word", depth=5)[0] == best
    assert len(index.words("word", depth=5)) == 5
    assert len(index.words("word several", depth=40)) == 31


def test_rows_come_in_order_of_rank_without_being_sorted_again(index: Index) -> None:
    for statement in (word_search._RANKED, word_search._NEWEST):
        plan = index.connection.execute(f"EXPLAIN QUERY PLAN {statement}", ALL.bindings(words="w", limit=1))
        steps = [step for *_, step in plan]
        assert [step.split()[0] for step in steps] == ["SCAN", "SEARCH"], steps


# --- meaning ----------------------------------------------------------------------------------------------------------


class Scan:
    """Cosines given by hand, as `VectorIndex` answers."""

    def __init__(self, similarities: dict[int, float]) -> None:
        self.similarities = similarities
        self.asked: list[int | None] = []

    def nearest(
        self, query: npt.NDArray[np.float32], limit: int, allowed: Collection[int] | None
    ) -> list[tuple[int, float]]:
        self.asked.append(None if allowed is None else len(allowed))
        found = sorted(self.similarities.items(), key=lambda one: -one[1])
        return [one for one in found if allowed is None or one[0] in allowed][:limit]


QUERY = np.ones(2, np.float32)


def find_by_meaning(index: Index, scan: Scan, filters: Filters = ALL) -> list[Alike]:
    with ThreadPoolExecutor(1) as beside:
        return MeaningScan(scan, QUERY, 5, beside).passing(index.connection, filters)


def test_a_filter_that_few_pass_is_exact_though_many_others_are_nearer(index: Index) -> None:
    near = {index.add("x"): 0.9 - number / 1000 for number in range(100)}
    far = {index.add("x", category="task"): 0.5 - number / 10 for number in range(3)}
    scan = Scan(near | far)
    found = find_by_meaning(index, scan, Filters(NOW_MS, category="task"))
    assert [(one.row.number, one.similarity) for one in found] == list(far.items())
    assert scan.asked == [None, 3]


def test_without_a_filter_one_scan_is_enough(index: Index) -> None:
    scan = Scan({index.add("x"): 0.9 - number / 1000 for number in range(100)})
    assert [one.row.number for one in find_by_meaning(index, scan)] == [1, 2, 3, 4, 5]
    assert scan.asked == [None]


def test_what_has_nothing_to_do_with_the_query_or_is_no_more_is_not_found_by_meaning(index: Index) -> None:
    index.add("x", expires_ms=NOW_MS)
    index.add("y")
    index.add("z")
    found = find_by_meaning(index, Scan({1: 0.9, 2: 0.8, 3: 0.01, 77: 0.95}))
    assert [one.row.number for one in found] == [2]


# --- both -------------------------------------------------------------------------------------------------------------


def rows(*numbers: int) -> Iterator[Row]:
    return (Row(number, b"", 1) for number in numbers)


def alike(*numbers: int) -> Any:
    from cis.api.memories.meaning_search import Alike

    return [Alike(row, 0.9 - place / 10) for place, row in enumerate(rows(*numbers))]


def test_what_both_halves_find_comes_before_what_either_does() -> None:
    ranked = fuse(list(rows(1, 2, 3)), alike(4, 3, 5), Weights())
    assert [one.row.number for one in ranked] == [3, 4, 1, 2, 5]
    assert (ranked[0].words, ranked[0].meaning, ranked[0].similarity) == (3, 2, 0.8)
    assert ranked[0].score == pytest.approx(1 / 63 + 1 / 62)
    assert (ranked[2].meaning, ranked[2].similarity) == (None, None)


def test_weights_say_how_much_either_half_counts() -> None:
    by_words, by_meaning = list(rows(1, 2)), alike(3, 4)
    assert [one.row.number for one in fuse(by_words, by_meaning, Weights(words=2.0))] == [1, 2, 3, 4]
    assert [one.row.number for one in fuse(by_words, by_meaning, Weights(meaning=2.0))] == [3, 4, 1, 2]
