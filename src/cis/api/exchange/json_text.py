"""JSON as cis exchanges it: strict on the way in, safe to show and to put into YAML on the way out.

In: no NaN or infinity, no field twice, integers of 64 bits, nesting of at most `DEPTH_MAX`, no lone
surrogates: whatever the next reader could silently change. Out: control, bidirectional and separator
characters are escaped, so a line of JSON is one line to every tool, harms no terminal, and is a YAML flow
value as it stands.
"""

from __future__ import annotations

import json
import math
import re
from typing import TypeAlias, cast

from cis.errors import UsageError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

DEPTH_MAX = 64
INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 64) - 1
"""Integers beyond this range become floats in other readers, MessagePack among them."""

_UNSAFE = re.compile("[\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def parse_json(text: str) -> JsonValue:
    """Return the value of a JSON text; `UsageError` with a reason fit for a report."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise UsageError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise UsageError(f"JSON nested deeper than {DEPTH_MAX}: flatten it") from error
    except ValueError as error:
        raise UsageError(f"not JSON cis can hold: {error}") from error
    return cast("JsonValue", value)


def dump_json(value: JsonValue) -> str:
    """Return a value that `check_json` accepts as one line."""
    return escape_unsafe(json.dumps(value, ensure_ascii=False, allow_nan=False))


def escape_unsafe(text: str) -> str:
    """Return a JSON text with what could disturb a terminal, a line or YAML as four-digit ``u`` escapes.

    Such characters stand only inside strings, so the value is unchanged.
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def json_size(value: JsonValue) -> int:
    """Return the length in bytes of the compact UTF-8 text; `UsageError` when a string is no Unicode."""
    return utf8_size(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def utf8_size(text: str, what: str = "a value") -> int:
    """Return the length in bytes; `UsageError` when the text holds lone surrogates."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        fault = f"{what} holds half a character (a lone surrogate, position {error.start})"
        raise UsageError(f"{fault}: write valid Unicode") from error


def check_json(value: object) -> JsonValue:
    """Return the value; `UsageError` unless JSON holds it exactly, within the limits of this module."""
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > DEPTH_MAX:
            raise UsageError(f"JSON nested deeper than {DEPTH_MAX}: flatten it")
        if isinstance(item, dict):
            for name in item:
                if not isinstance(name, str):
                    raise UsageError("the names in a JSON object are strings")
                _check_scalar(name)
            pending.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            pending.extend((inner, depth + 1) for inner in item)
        else:
            _check_scalar(item)
    return cast("JsonValue", value)


def _check_scalar(item: object) -> None:
    if item is None or isinstance(item, bool):
        return
    if isinstance(item, str):
        if not item.isascii():
            utf8_size(item, "a JSON string")
    elif isinstance(item, int):
        if not INTEGER_MIN <= item <= INTEGER_MAX:
            raise UsageError("a JSON integer beyond 64 bits: write it as a string")
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise UsageError("JSON holds neither NaN nor infinity")
    else:
        raise UsageError(f"JSON holds no {type(item).__name__}")


def _refuse_constant(name: str) -> JsonValue:
    raise UsageError(f"JSON holds no {name}")


def _distinct(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the JSON field {twice[:64]!r} occurs twice")
    return value
