import math
import struct
from dataclasses import replace
from typing import Any

import pytest

from cis.api.exchange.entry import SET_ELEMENTS_MAX, Count, Element, Entry, Vector, parts, validate
from cis.errors import UsageError

ENTRY = Entry("editor", "vim")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": "k" * 512, "value": "v" * 262_144, "category": "c" * 64, "tags": ("t" * 64,) * 32},
        {"key": "a\x9bb"},
        {"value": b"\0\xff", "form": "bytes"},
        {"value": [None, True, -(2**63), 2**64 - 1, 1.5, {"a": []}], "form": "json"},
        {"value": Count(2**63 - 1, 0), "type": "counter"},
        {"value": (), "type": "set"},
        {"vector": Vector("m", struct.pack("<f", 1.0) * 4096)},
    ],
)
def test_what_keeps_the_limits_is_valid(fields: dict[str, Any]) -> None:
    validate(replace(ENTRY, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ""},
        {"key": "k" * 513},
        {"key": "é" * 257},
        {"key": "a\nb"},
        {"key": "a\ud800"},
        {"category": "c" * 65},
        {"category": ""},
        {"tags": ("",)},
        {"tags": ("t",) * 33},
        {"tags": ("t" * 65,)},
        {"ttl_s": 0.0},
        {"ttl_s": math.inf},
        {"ttl_s": math.nan},
        {"value": "v" * 262_145},
        {"value": "a\ud800"},
        {"value": "text", "form": "bytes"},
        {"value": b"bytes"},
        {"value": b"bytes", "form": "json"},
        {"value": math.nan, "form": "json"},
        {"value": [2**64], "form": "json"},
        {"value": {"\ud800": 1}, "form": "json"},
        {"value": ["\udfff"], "form": "json"},
        {"value": {1: 2}, "form": "json"},
        {"value": Count()},
        {"value": "5", "type": "counter"},
        {"value": Count(-1), "type": "counter"},
        {"value": Count(2**63), "type": "counter"},
        {"value": Count(), "type": "counter", "form": "json"},
        {"value": ["a"], "type": "set"},
        {"value": (Element(b"text"),), "type": "set"},
        {"value": (Element("a"),) * (SET_ELEMENTS_MAX + 1), "type": "set"},
        {"value": (Element("a" * 262_144),) * 5, "type": "set"},
        {"vector": Vector("m", b"")},
        {"vector": Vector("m", b"12345")},
        {"vector": Vector("", b"1234")},
        {"vector": Vector("m", bytes(4 * 4097))},
        {"vector": Vector("m", struct.pack("<f", math.nan))},
        {"hlc": -1},
        {"updated_ms": 2**63},
        {"author": "a\x1b[0m"},
    ],
)
def test_what_breaks_a_limit_is_refused_with_a_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"\w{2}"):
        validate(replace(ENTRY, **fields))


def test_json_may_be_nested_64_deep_and_no_deeper() -> None:
    value: list[object] = []
    for _ in range(63):
        value = [value]
    validate(Entry("k", value, "json"))
    with pytest.raises(UsageError, match="nested deeper"):
        validate(Entry("k", [value], "json"))


def test_a_set_too_large_for_one_entry_is_split_into_valid_ones_in_order() -> None:
    value = tuple(Element(str(number)) for number in range(2 * SET_ELEMENTS_MAX + 1))
    split = list(parts(Entry("k", value, type="set")))
    for part in split:
        validate(part)
    assert [len(part.value) for part in split] == [SET_ELEMENTS_MAX, SET_ELEMENTS_MAX, 1]
    assert tuple(element for part in split for element in part.value) == value
