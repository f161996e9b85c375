"""How the values of a conflict differ, as people read it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cis.api.memories.differences import LINES_MAX, differences, kind_of, listing
from cis.api.memories.memory_schema import Sibling


def sibling(number: int, value: Any, form: str = "text", **more: Any) -> Sibling:
    given = {
        "id": "0" * 12, "type": "register", "category": "note", "tags": (), "author": f"node{number}",
        "author_did": "", "device": "", "updated_ms": 0, "expires_ms": None, "shown": number == 1, **more,
    }  # fmt: skip
    return Sibling(number=number, value=value, form=form, **given)


def test_texts_are_compared_line_by_line_with_their_authors() -> None:
    lines = differences(sibling(1, "a\nb\nc"), sibling(2, "a\nB\nc"))
    assert lines == ["--- 1 by node1", "+++ 2 by node2", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]


def test_lines_are_numbered_from_the_beginning_of_the_value() -> None:
    before = [f"line {number}" for number in range(100)]
    after = [*before[:50], "another", *before[51:]]
    lines = differences(sibling(1, "\n".join(before)), sibling(2, "\n".join(after)))
    assert lines[2] == "@@ -48,7 +48,7 @@"
    assert lines[3:7] == [" line 47", " line 48", " line 49", "-line 50"]


def test_json_is_compared_field_by_field_whatever_their_order() -> None:
    lines = differences(sibling(1, {"a": 1, "b": [1]}, "json"), sibling(2, {"b": [1, 2], "a": 1}, "json"))
    assert [line for line in lines if line[0] in "+-"][2:] == ["-    1", "+    1,", "+    2"]


def test_types_are_told_plainly_and_sets_by_their_elements() -> None:
    lines = differences(sibling(1, "a", type="register"), sibling(2, ["a", "b"], "json", type="set"))
    assert lines[0] == "1 is text, 2 is a set"
    assert lines[-2:] == [" a", "+b"]
    assert kind_of(sibling(1, 3, "json", type="counter")) == "a counter"


def test_what_differs_beside_the_value_is_told() -> None:
    lines = differences(sibling(1, "a", tags=("x",)), sibling(2, "a", category="task", expires_ms=5))
    assert lines == ["the same value", "category: note in 1, task in 2", "tags: x in 1, none in 2", "only 2 expires"]


@pytest.mark.parametrize("form", ["bytes", "unreadable"])
def test_bytes_and_what_cannot_be_read_are_compared_all_the_same(form: str) -> None:
    assert differences(sibling(1, {"base64": "AA=="}, form), sibling(2, "a"))[0].endswith("2 is text")


def test_values_that_differ_throughout_are_not_compared_for_minutes() -> None:
    began = time.monotonic()
    ours = "\n".join(str(number) for number in range(60_000))
    theirs = "\n".join(str(-number) for number in range(1, 60_000))
    lines = differences(sibling(1, ours), sibling(2, theirs))
    assert len(lines) == 1
    assert str(LINES_MAX) not in lines[0]
    assert "too many" in lines[0]
    assert time.monotonic() - began < 5


def test_the_command_that_shows_it_can_be_pasted() -> None:
    assert listing("a b", "public") == "cis memory conflicts 'a b'"
    assert listing("k", "team x", "resolve") == "cis memory resolve k --space 'team x'"
