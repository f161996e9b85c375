"""Inputs made of others: by their structure where they are MessagePack, else by their bytes.

Random bytes seldom pass the first check of a decoder. So what is MessagePack, and what is MessagePack within its binary
parts, is taken apart, changed in one place and put together again (as in Grammarinator and the structure-aware mutators
of libFuzzer); what is not, and a part of what is, is changed blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

Havoc = Callable[[bytes], bytes]

_NUMBERS = (0, 1, 2, 7, 16, 32, 40, 127, 128, 255, 256, 4095, 65535, 1 << 31, 1 << 40, (1 << 47) - 1, 1 << 62)
_EDGES = (-1, -(1 << 63), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_LENGTHS = (0, 1, 8, 15, 16, 17, 31, 32, 33, 40, 64, 65, 300)
_BYTES = (b"\0", b"\x7f", b"\x80", b"\xff", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff", b"\x91" * 8)
_NO_TEXT, _DEEP = msgspec.Raw(b"\xa2\xff\xfe"), msgspec.Raw(b"\x91" * 1200 + b"\xc0")
"""What is no UTF-8, and lists deeper than Python likes to follow: each has a kind of exception of its own."""
_SCALARS: tuple[Any, ...] = (None, True, b"", "", "a", "\ufffd", 1.5, [], {}, *(_NO_TEXT, _DEEP) * 4)
_DEPTH_MAX = 12


class Mutator:
    """Makes inputs of inputs, the same for the same chance; ``havoc`` replaces the blind changes."""

    def __init__(self, chance: Random, bytes_max: int, havoc: Havoc | None = None) -> None:
        self._chance = chance
        self._bytes_max = bytes_max
        self._havoc = havoc or self._blindly
        self._changes: tuple[tuple[type, Callable[[Any, int], Any]], ...] = (
            (list, self._list),
            (dict, self._mapping),
            (bytes, self._binary),
            (str, lambda text, _: self._havoc(text.encode(errors="ignore")).decode(errors="ignore")),
            (bool, lambda flag, _: not flag),
            (int, lambda number, _: self._number(number)),
        )

    def mutated(self, data: bytes) -> bytes:
        """Return another input."""
        for _ in range(1 + self._chance.randrange(3)):
            value = _unpacked(data)
            if value is None or self._chance.random() < 0.25:
                data = self._havoc(data)
            else:
                data = _packed(self._changed(value, 0), data)
        return data[: self._bytes_max]

    def crossed(self, data: bytes, other: bytes) -> bytes:
        """Return one input's beginning with another's end, steps of scripts whole."""
        one, two = _unpacked(data), _unpacked(other)
        if isinstance(one, list) and isinstance(two, list):
            joined = one[: self._chance.randint(0, len(one))] + two[self._chance.randint(0, len(two)) :]
            return _packed(joined, data)[: self._bytes_max]
        cut = data[: self._chance.randint(0, len(data))] + other[self._chance.randint(0, len(other)) :]
        return cut[: self._bytes_max]

    def _changed(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - whatever MessagePack holds
        for kind, change in self._changes:
            if isinstance(value, kind):
                return change(value, depth) if depth < _DEPTH_MAX else self._scalar()
        return self._scalar()

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        changed = list(value)
        at = self._chance.randrange(len(changed) + 1)
        roll = self._chance.random()
        if not changed or roll < 0.08:
            changed.append(self._scalar())  # a field of a later version
        elif roll < 0.1:
            changed.insert(at, self._scalar())
        elif roll < 0.14:
            changed.insert(at, self._chance.choice(changed))
        elif roll < 0.18:
            del changed[at - 1]
        elif roll < 0.22:
            del changed[at:]
        elif roll < 0.28:
            self._chance.shuffle(changed)
        else:
            at = self._chance.randrange(len(changed))
            changed[at] = self._scalar() if roll < 0.31 else self._changed(changed[at], depth + 1)
        return changed

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        if not value:
            return {"a": self._scalar()}
        key = self._chance.choice(list(value))
        return value | {key: self._changed(value[key], depth + 1)}

    def _binary(self, value: bytes, depth: int) -> bytes:
        inner = _unpacked(value)
        if inner is not None and self._chance.random() < 0.8:
            return _packed(self._changed(inner, depth + 1), value)
        if self._chance.random() < 0.15:
            return value[: self._chance.choice(_LENGTHS)].ljust(self._chance.choice(_LENGTHS), b"\0")
        return self._havoc(value)

    def _number(self, value: int) -> int:
        roll = self._chance.random()
        if roll < 0.4:
            changed = value + self._chance.randint(-3, 3)
        elif roll < 0.6:
            changed = value ^ 1 << self._chance.randrange(63)
        else:
            changed = self._chance.choice(_NUMBERS if roll < 0.85 else _EDGES)
        return max(min(changed, (1 << 64) - 1), -(1 << 63))

    def _scalar(self) -> Any:  # noqa: ANN401 - of any type
        some = self._chance.randbytes(self._chance.choice(_LENGTHS))
        return self._chance.choice((some, *_SCALARS, *_NUMBERS[:4], *_EDGES))

    def _blindly(self, data: bytes) -> bytes:
        changed = bytearray(data)
        at = self._chance.randint(0, len(changed))
        match self._chance.randrange(6):
            case 0:
                changed[at:at] = self._chance.choice(_BYTES)
            case 1:
                changed[at:at] = self._chance.randbytes(self._chance.randint(1, 9))
            case 2:
                del changed[at : at + self._chance.randint(1, 16)]
            case 3:
                piece = changed[at : at + self._chance.randint(1, 32)]
                changed[self._chance.randint(0, len(changed)) : 0] = piece
            case 4 if at < len(changed):
                changed[at] ^= 1 << self._chance.randrange(8)
            case _ if at < len(changed):
                changed[at] = self._chance.randrange(256)
        return bytes(changed)


def several(seeds: Sequence[bytes], mutator: Mutator, chance: Random, count: int) -> list[bytes]:
    """Return so many inputs made of these, without guidance."""
    found = []
    for _ in range(count):
        data = chance.choice(seeds)
        if chance.random() < 0.2:
            data = mutator.crossed(data, chance.choice(seeds))
        found.append(mutator.mutated(data))
    return found


def _unpacked(data: bytes) -> Any:  # noqa: ANN401 - whatever MessagePack holds
    """Return what bytes hold if it has parts, else None."""
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError):
        return None
    return value if isinstance(value, list | dict) else None


def _packed(value: Any, before: bytes) -> bytes:  # noqa: ANN401 - whatever MessagePack holds
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):  # an extension, or too deep
        return before
