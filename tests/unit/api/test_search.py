"""Search as commands and agents meet it: by words and by meaning, with reasons, never what is gone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.memories import searching
from cis.api.memories.embedding_schema import GetEmbedding, Reindex
from cis.api.memories.memory_schema import DeleteMemory, Found, IncrementMemory, SearchMemories, SetMemory
from cis.api.memories.search_options import SearchOptions
from cis.embedding.choosing import EmbeddingOptions
from cis.embedding.embedder import Embedder
from cis.errors import Unavailable, UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from tests.unit.api.clocks import Clock
from tests.unit.api.embedders import DIMENSIONS, Senses

Make = Callable[..., EmbeddedNode]


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    opened: list[EmbeddedNode] = []
    home = Home(tmp_path / "home")
    LocalNode.create(home, "solo").close()

    def make(embedder: Embedder | None, **options: Any) -> EmbeddedNode:
        chosen = SearchOptions(embedding=EmbeddingOptions(**options))
        node = EmbeddedNode(LocalNode.open(home, clock_ms=clock), search=chosen, embedder=lambda _: embedder)
        opened.append(node)
        return node

    yield make
    for node in opened:
        node.close()


@pytest.fixture
def model() -> Senses:
    return Senses()


@pytest.fixture
def node(make: Make, model: Senses) -> EmbeddedNode:
    return make(model)


def search(node: EmbeddedNode, query: str, **fields: Any) -> Found:
    return node.call(SearchMemories(query=query, **fields))


def keys(node: EmbeddedNode, query: str, **fields: Any) -> list[str]:
    return [hit.memory.key for hit in search(node, query, **fields).hits]


def test_what_says_the_same_in_other_words_is_found_by_meaning(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="editor", value="prefers dark"))
    node.call(SetMemory(key="lunch", value="noodles"))
    assert keys(node, "theme", mode="words") == []
    found = search(node, "theme")
    assert [hit.memory.key for hit in found.hits] == ["editor"]
    assert (found.by, found.model, found.waiting, found.note) == (("words", "meaning"), "senses", 0, "")
    (hit,) = found.hits
    assert (hit.words, hit.meaning, hit.highlights) == (None, 1, ())
    assert hit.similarity is not None
    assert hit.why == f"meaning {hit.similarity:.2f} (senses)"


def test_what_both_halves_find_is_first_and_says_why(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="words", value="theme park tickets from an agency of the city in the south"))
    node.call(SetMemory(key="meaning", value="dark colours"))
    node.call(SetMemory(key="both", value="theme dark", tags=("colours",)))
    hits = search(node, "theme colours").hits
    assert hits[0].memory.key == "both"
    assert hits[0].why.startswith("words: theme, colours; meaning ")
    assert [hits[0].snippet[start:end] for start, end in hits[0].highlights] == ["theme"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_either_half_can_be_asked_for_alone(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="words", value="release"))
    node.call(SetMemory(key="meaning", value="deploy"))
    assert keys(node, "release", mode="words") == ["words"]
    assert search(node, "release", mode="words").by == ("words",)
    assert set(keys(node, "release", mode="meaning")) == {"words", "meaning"}
    assert search(node, "release", mode="meaning").by == ("meaning",)


def test_what_is_deleted_or_expired_is_found_by_neither_half(node: EmbeddedNode, clock: Clock) -> None:
    node.call(SetMemory(key="gone", value="dark theme"))
    node.call(SetMemory(key="brief", value="dark theme", ttl_s=10))
    node.call(SetMemory(key="changed", value="dark theme"))
    assert set(keys(node, "dark theme")) == {"gone", "brief", "changed"}
    node.call(DeleteMemory(key="gone"))
    node.call(SetMemory(key="changed", value="noodles"))
    clock.ms += 10_001
    for mode in ("hybrid", "words", "meaning"):
        assert keys(node, "dark theme", mode=mode) == [], mode


def test_an_edit_is_found_by_its_new_meaning_at_once(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="k", value="noodles"))
    assert keys(node, "theme") == []
    node.call(SetMemory(key="k", value="dark"))
    assert keys(node, "theme") == ["k"]


@pytest.mark.parametrize("mode", ["words", "meaning", "hybrid"])
def test_filters_bound_both_halves(node: EmbeddedNode, clock: Clock, mode: str) -> None:
    began_ms = clock.ms
    for name, fields in {
        "a/plain": {},
        "a/task": {"category": "task"},
        "b/tagged": {"tags": ("x", "y")},
        "a/hidden": {"space": "private"},
    }.items():
        node.call(SetMemory(key=name, value="dark theme", **fields))
        clock.ms += 1000

    def found(**fields: Any) -> set[str]:
        return set(keys(node, "dark theme", mode=mode, **fields))

    assert found() == {"a/plain", "a/task", "b/tagged", "a/hidden"}
    assert found(category="task") == {"a/task"}
    assert found(tag="y") == {"b/tagged"}
    assert found(prefix="a/") == {"a/plain", "a/task", "a/hidden"}
    assert found(space="private") == {"a/hidden"}
    assert found(spaces=("public",)) == {"a/plain", "a/task", "b/tagged"}
    assert found(spaces=("public", "private"), space="public", prefix="b") == {"b/tagged"}
    assert found(since_ms=began_ms + 2000) == {"b/tagged", "a/hidden"}
    assert found(until_ms=began_ms + 1000) == {"a/plain"}
    assert found(spaces=()) == set()
    with pytest.raises(UsageError, match="none of those to search"):
        found(spaces=("public",), space="private")
    with pytest.raises(UsageError):
        found(space="unheard-of")


def test_a_vector_of_ones_own_is_compared_with_that_models_alone(node: EmbeddedNode) -> None:
    east, north = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])

    def packed(numbers: list[float]) -> str:
        return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()

    node.call(SetMemory(key="east", value="dark", vector=packed(east), vector_model="mine"))
    node.call(SetMemory(key="other", value="dark", vector=packed(east), vector_model="other"))
    hits = search(node, "", vector=packed([0.9, 0.1, 0.0]), vector_model="mine").hits
    assert [(hit.memory.key, hit.meaning) for hit in hits] == [("east", 1)]
    assert hits[0].why == "meaning 0.99 (mine)"
    assert keys(node, "", vector=packed(north), vector_model="mine") == []
    assert keys(node, "", vector=packed([1.0] * 5), vector_model="mine") == []
    assert search(node, "dark", vector=packed(north), vector_model="mine").by == ("words", "meaning")
    for fields in (
        {"vector": packed(east)},
        {"vector": packed([0.0, 0.0]), "vector_model": "mine"},
        {"vector": packed([float("nan")]), "vector_model": "mine"},
        {"vector": "AAAA", "vector_model": "mine"},
        {"vector": packed(east), "vector_model": "mine", "mode": "words"},
    ):
        with pytest.raises(UsageError):
            search(node, "dark", **fields)


def test_without_a_model_it_is_found_by_words_and_said_how_to_get_one(make: Make) -> None:
    node = make(None, provider="off")
    node.call(SetMemory(key="k", value="dark"))
    found = search(node, "dark")
    assert [hit.memory.key for hit in found.hits] == ["k"]
    assert (found.by, found.model) == (("words",), None)
    assert "memory.embedding.provider is off" in found.note
    with pytest.raises(Unavailable, match="provider is off"):
        search(node, "dark", mode="meaning")
    assert node.call(GetEmbedding()).advice == found.note


def test_a_failing_model_leaves_search_by_words_and_is_told(node: EmbeddedNode, model: Senses) -> None:
    model.broken = True
    node.call(SetMemory(key="k", value="dark"))
    found = search(node, "dark")
    assert [hit.memory.key for hit in found.hits] == ["k"]
    assert (found.by, found.note) == (("words",), "the model is out of order")
    with pytest.raises(Unavailable, match="out of order"):
        search(node, "dark", mode="meaning")
    assert node.call(GetEmbedding()).problem == "the model is out of order"


@pytest.mark.parametrize("private", [False, True])
def test_what_is_looked_for_in_private_is_told_to_a_server_only_where_a_setting_says_so(
    make: Make, private: bool
) -> None:
    server = Senses(local=False)
    node = make(server, private=private)
    node.call(SetMemory(key="k", value="my dark secret", space="private"))
    node.call(SetMemory(key="known", value="dark"))
    for fields in ({"space": "private"}, {"spaces": ("private",)}):
        found = search(node, "secret theme", **fields)
        assert [hit.memory.key for hit in found.hits] == ["k"]
        assert found.by == (("words", "meaning") if private else ("words",))
        assert ("private" in found.note) is not private
    assert any("secret" in text for text in server.texts) is private
    assert "meaning" in search(node, "theme").by
    if not private:
        with pytest.raises(Unavailable, match="private"):
            search(node, "secret theme", space="private", mode="meaning")


@pytest.mark.parametrize(("memories", "wait_s"), [(5, 0.05), (100, 30.0)])
def test_few_are_waited_for_a_moment_many_not_at_all_and_what_waits_is_told(
    node: EmbeddedNode, model: Senses, monkeypatch: pytest.MonkeyPatch, memories: int, wait_s: float
) -> None:
    monkeypatch.setattr(searching, "WAIT_S", wait_s)
    model.gate.clear()
    for number in range(memories):
        node.call(SetMemory(key=f"k/{number}", value=f"dark {number}"))
    began = time.monotonic()
    found = search(node, "dark", limit=200)
    assert time.monotonic() - began < 10
    model.gate.set()
    assert len(found.hits) == found.waiting == memories
    assert f"{memories} memories have no vector yet" in found.note


def test_counters_have_no_meaning_and_are_found_by_their_key(node: EmbeddedNode) -> None:
    node.call(IncrementMemory(key="theme", by=3))
    found = search(node, "theme")
    assert [(hit.memory.key, hit.meaning, hit.snippet) for hit in found.hits] == [("theme", None, "3")]
    assert found.waiting == 0


def test_the_index_made_anew_finds_the_same(node: EmbeddedNode, model: Senses) -> None:
    for number in range(20):
        node.call(SetMemory(key=f"k/{number}", value=f"dark {number}"))
    before = search(node, "theme 7", limit=50)
    assert before.waiting == 0
    last = list(node.stream(Reindex(vectors=True)))[-1]
    assert (last.memories, last.waiting, last.done) == (20, 0, True)
    assert search(node, "theme 7", limit=50) == before


def test_a_limit_is_kept(node: EmbeddedNode) -> None:
    for number in range(5):
        node.call(SetMemory(key=f"k/{number}", value="dark"))
    assert len(keys(node, "dark", limit=3)) == 3
    for limit in (0, 1001):
        with pytest.raises(UsageError):
            keys(node, "dark", limit=limit)


def test_dimensions_are_the_models(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="k", value="dark"))
    search(node, "dark")
    (vectors,) = node.call(GetEmbedding()).vectors
    assert (vectors.model, vectors.dimensions, vectors.memories) == ("senses", DIMENSIONS, 1)
