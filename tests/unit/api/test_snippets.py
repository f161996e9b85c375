"""Snippets: where a memory matched, and which of the words asked for it holds."""

from __future__ import annotations

from typing import Any

import pytest

from cis.api.memories.memory_schema import Memory
from cis.api.memories.snippets import LENGTH_MAX, Words


def memory(value: Any, key: str = "k", tags: tuple[str, ...] = ()) -> Memory:
    return Memory(
        key=key, space="public", type="register", form="text", value=value, category="note", tags=tags, author="solo",
        author_did="did:key:z", updated_ms=0, hlc=0, expires_ms=None, conflicts=0, vector=None, id="00", version="00",
    )  # fmt: skip


def lit(value: Any, *words: str) -> list[str]:
    """The highlighted pieces of a snippet."""
    shown = Words(words).snippet(memory(value))
    return [shown.text[start:end] for start, end in shown.highlights]


@pytest.mark.parametrize(
    ("value", "words", "pieces"),
    [
        ("Dark mode, always dark", ("dark",), ["Dark", "dark"]),
        ("a party of arts", ("art", "of"), ["of"]),
        ("a party of arts", ("of", "art"), ["of", "arts"]),
        ("a party of arts", ("of", "ar"), ["of"]),
        ("Zoë ate Crème brûlée", ("creme", "zoe", "brulee"), ["Zoë", "Crème", "brûlée"]),
        ("use sqlite-vec here", ("sqlite-vec", "x"), ["sqlite", "vec"]),
        ("nothing of it", ("absent",), []),
        (["ruff", "mypy"], ("ruff", "x"), ["ruff"]),
        ({"theme": "dark"}, ("dark", "x"), ["dark"]),
        ({"base64": "ZGFyaw=="}, ("ZGFyaw",), []),
        (None, ("x",), []),
        (5, ("5",), ["5"]),
    ],
)
def test_what_was_asked_for_is_highlighted_as_whole_words(
    value: Any, words: tuple[str, ...], pieces: list[str]
) -> None:
    assert lit(value, *words) == pieces


def test_a_snippet_is_one_line_around_most_of_the_words() -> None:
    value = "alone a\n\n" + "filler " * 100 + "alone and together" + " filler" * 100
    shown = Words(["alone", "together"]).snippet(memory(value))
    assert "together" in shown.text
    assert "\n" not in shown.text
    assert len(shown.text) <= LENGTH_MAX + 2
    assert shown.text[0] == shown.text[-1] == "…"


def test_the_ranges_fit_the_snippet_also_behind_the_mark_of_what_is_left_out() -> None:
    for value in ("x " * 100 + "dark" + " y" * 100, "  a \t dark \n corner", "ﬁx İstanbul dark"):
        assert set(lit(value, "dark", "zzz")) == {"dark"}


def test_the_words_a_memory_holds_are_named_as_they_were_asked_for() -> None:
    one = memory("prefers a dark theme", key="editor/vim", tags=("Préférence",))
    assert Words(["Theme", "vim", "preference", "absent"]).in_memory(one) == ["Theme", "vim", "preference"]
    assert Words(["dark", "the"]).in_memory(one) == ["dark", "the"]
    assert Words(["the", "dark"]).in_memory(one) == ["dark"]
    assert Words([]).in_memory(one) == []
