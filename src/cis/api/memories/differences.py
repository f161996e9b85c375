"""How two values of one memory differ, in lines for people: what was written, then category, tags and time to live."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cis.api.memories.memory_schema import ELSEWHERE

if TYPE_CHECKING:
    from cis.api.memories.memory_schema import Memory, Sibling

LINES_MAX = 2000
"""Lines compared, beyond what both begin and end with: comparing takes time in the square of them."""
LINE_CHARS_MAX = 1000
CONTEXT_LINES = 3


def differences(shown: Sibling, other: Sibling) -> list[str]:
    """Return the lines that tell the other value from the one shown."""
    return [*_of_values(shown, other), *_of_words(shown, other)]


def lines_of(value: Sibling | Memory) -> list[str]:
    """Return a value as lines: text as it is, JSON with a field a line, a set with an element a line."""
    if value.form == "unreadable":
        return ["(cannot be read here)"]
    if value.form == "elsewhere":
        return [ELSEWHERE]
    if value.type == "set":
        return [_line(element) for element in value.value]
    if value.form == "bytes":
        return [_line(value.value)]
    if value.form == "text":
        return str(value.value).split("\n")
    return json.dumps(value.value, ensure_ascii=False, indent=2, sort_keys=True).split("\n")


def kind_of(value: Sibling | Memory) -> str:
    """Return what sort of thing a value is: text, JSON, bytes, a counter, a set."""
    if value.form in {"unreadable", "elsewhere"}:
        return value.form
    if value.type == "register":
        return {"text": "text", "json": "JSON"}.get(value.form, value.form)
    return f"a {value.type}"


def listing(key: str, space: str, command: str = "conflicts") -> str:
    """Return the command that shows a conflict, or another on the same memory."""
    return f"cis memory {command} {shlex.quote(key)}" + (f" --space {shlex.quote(space)}" if space != "public" else "")


def _of_values(shown: Sibling, other: Sibling) -> list[str]:
    if (shown.type, shown.form, shown.value) == (other.type, other.form, other.value):
        return ["the same value"]
    named = [] if kind_of(shown) == kind_of(other) else [f"{shown.number} is {kind_of(shown)}, {_what(other)}"]
    return named + _unified(shown, other)


def _what(other: Sibling) -> str:
    return f"{other.number} is {kind_of(other)}"


def _unified(shown: Sibling, other: Sibling) -> list[str]:
    before, after = lines_of(shown), lines_of(other)
    start = _common(before, after)
    end = min(_common(before[::-1], after[::-1]), len(before) - start, len(after) - start)
    differing = len(before) + len(after) - 2 * start - 2 * end
    if differing > LINES_MAX:
        return [f"they differ in {differing} lines, from line {start + 1} on: too many to show"]
    first = max(0, start - CONTEXT_LINES)
    left = before[first : len(before) - end + CONTEXT_LINES]
    right = after[first : len(after) - end + CONTEXT_LINES]
    compared = difflib.unified_diff(left, right, _title(shown), _title(other), n=CONTEXT_LINES, lineterm="")
    return [_cut(_moved(line, first)) for line in compared]


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many lines both begin with."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((number for number, (left, right) in pairs if left != right), min(len(before), len(after)))


def _moved(line: str, by: int) -> str:
    """Return a line of a diff; in one that says where it stands, numbers count from the value's beginning."""
    if not by or not line.startswith("@@ "):
        return line
    places = line.split()[1:3]
    moved = []
    for place in places:
        at, comma, count = place[1:].partition(",")
        moved.append(f"{place[0]}{int(at) + by}{comma}{count}")
    return f"@@ {' '.join(moved)} @@"


def _title(value: Sibling) -> str:
    return f"{value.number} by {value.author}"


def _of_words(shown: Sibling, other: Sibling) -> list[str]:
    lines = []
    if shown.category != other.category:
        lines.append(f"category: {shown.category} in {shown.number}, {other.category} in {other.number}")
    if shown.tags != other.tags:
        tags = [", ".join(value.tags) or "none" for value in (shown, other)]
        lines.append(f"tags: {tags[0]} in {shown.number}, {tags[1]} in {other.number}")
    if bool(shown.expires_ms) != bool(other.expires_ms):
        lines.append(f"only {shown.number if shown.expires_ms else other.number} expires")
    return lines


def _line(value: Any) -> str:  # noqa: ANN401 - a value
    return value if isinstance(value, str) and "\n" not in value else json.dumps(value, ensure_ascii=False)


def _cut(line: str) -> str:
    rest = len(line) - LINE_CHARS_MAX
    return line if rest <= 0 else f"{line[:LINE_CHARS_MAX]}… ({rest} more characters)"
