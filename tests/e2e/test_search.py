"""Search across devices: what one client stores on one node, another finds by its meaning on the next."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from cis.api.control.client import connect
from cis.api.memories.embedding_schema import GetEmbedding
from cis.api.memories.memory_schema import DeleteMemory, Found, GetMemory, SearchMemories, SetMemory
from cis.embedding.choosing import EmbeddingOptions, embedder_of, why_none
from tests.e2e.conftest import CONDITION_S, Home, pair

FOUND_S = 1.0
needs_model = pytest.mark.skipif(
    embedder_of(EmbeddingOptions()) is None, reason=f"no model: {why_none(EmbeddingOptions())}"
)


def wait(holds: Callable[[], object]) -> float:
    """Return how long it took until that held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < CONDITION_S, "never came"
    return time.monotonic() - began


@needs_model
def test_what_one_device_stores_another_finds_by_meaning_within_a_second(new_home: Callable[[str], Home]) -> None:
    first, second = new_home("first"), new_home("second")
    pair(first, second)
    with connect(first.path) as one, connect(second.path) as two:

        def found(query: str) -> Found:
            return two.call(SearchMemories(query=query, mode="meaning", limit=3))

        one.call(SetMemory(key="lunch", value="Ana is allergic to peanuts"))
        wait(lambda: [hit.memory.key for hit in found("food that makes somebody ill").hits] == ["lunch"])
        one.call(SetMemory(key="editor", value="prefers dark mode with large fonts"))
        wait(lambda: two.call(GetMemory(key="editor")))
        took_s = wait(lambda: [hit.memory.key for hit in found("which colour theme is liked").hits][:1] == ["editor"])
        assert took_s < FOUND_S
        hit = found("which colour theme is liked").hits[0]
        assert hit.why.startswith("meaning 0.")
        assert hit.memory.author == "one"
        wait(lambda: two.call(GetMemory(key="editor")).vector)  # computed once, on the node of the author
        assert two.call(GetEmbedding()).waiting == 0

        one.call(DeleteMemory(key="editor"))
        wait(lambda: two.call(GetMemory(key="editor")) is None)
        assert "editor" not in [hit.memory.key for hit in found("which colour theme is liked").hits]
    explained = second.cis("memory", "search", "peanut allergies", "--explain")
    assert "lunch" in explained
    assert "meaning 0." in explained


@needs_model
def test_commands_without_a_daemon_find_by_meaning_too(home: Home) -> None:
    home.cis("memory", "set", "editor", "prefers dark mode", "--category", "preference")
    home.cis("memory", "set", "lunch", "Ana is allergic to peanuts", "--tag", "food")
    found = home.json("memory", "search", "which colour theme is liked", "--mode", "meaning", "--limit", "1")
    assert [hit["memory"]["key"] for hit in found["hits"]] == ["editor"]
    assert found["model"] == "all-MiniLM-L6-v2"
    assert [hit["memory"]["key"] for hit in home.json("memory", "search", "illness", "--tag", "food")["hits"]] == [
        "lunch"
    ]
    assert home.json("memory", "model")["waiting"] == 0
    assert home.json("memory", "reindex", "--vectors") == {"memories": 2, "waiting": 0, "done": True}
    assert "2 memories in the index" in home.cis("memory", "reindex")


def test_without_a_model_search_is_by_words_and_says_so(home: Home) -> None:
    home.cis("config", "set", "memory.embedding.provider", "off")
    home.cis("memory", "set", "editor", "prefers dark mode")
    outcome = home.run("memory", "search", "dark")
    assert "editor" in outcome.out
    assert "by their words alone" in outcome.err
    assert home.run("memory", "search", "dark", "--mode", "meaning").code == 3
    assert "memory.embedding.provider is off" in home.cis("memory", "model")
    for words in (
        ("search",),
        ("search", "?!"),
        ("search", "x", "--mode", "magic"),
        ("search", "x", "--since", "soon"),
    ):
        assert home.run("memory", *words).code == 2, words
    assert home.json("memory", "search", "dark", "--since", "1d", "--until", "2199-01-01")["hits"]
    assert not home.json("memory", "search", "dark", "--until", "1d")["hits"]
