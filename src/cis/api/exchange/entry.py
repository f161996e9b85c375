"""One memory as it enters or leaves cis, and the limits it keeps.

Every reader yields entries that `validate` accepts, every writer writes only such, and reading back what was
written gives an equal entry, whatever its type.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

from cis.api.exchange.json_text import JsonValue, check_json, json_size, utf8_size
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Form: TypeAlias = Literal["text", "json", "bytes"]
MemoryType: TypeAlias = Literal["register", "counter", "set"]
Scalar: TypeAlias = "str | bytes | JsonValue"
"""A value by its form: ``str`` for text, ``bytes`` for bytes, what `check_json` accepts for json."""

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 256 * 1024
CATEGORY_BYTES_MAX = 64
TAG_BYTES_MAX = 64
TAGS_MAX = 32
VECTOR_DIMENSIONS_MAX = 4096
MODEL_BYTES_MAX = 128
AUTHOR_BYTES_MAX = 128
SET_BYTES_MAX = 1024 * 1024
SET_ELEMENTS_MAX = 16 * 1024
"""What one entry holds of a set; writers put a larger set into several entries of the same key."""
COUNT_MAX = (1 << 63) - 1

_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding: ``data`` is float32, little-endian, one after the other; ``model`` names what made it."""

    model: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Count:
    """The totals of a counter; what it shows is ``added`` minus ``subtracted``. Both are at least 0."""

    added: int = 0
    subtracted: int = 0


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set."""

    value: Scalar
    form: Form = "text"


@dataclass(frozen=True, slots=True)
class Entry:
    """One memory.

    ``value`` is by ``type``: a `Scalar` by ``form`` for a register, a `Count` for a counter, a tuple of
    `Element` for a set (both of these with form ``text``). ``ttl_s`` is seconds left to live. ``hlc``,
    ``updated_ms`` (Unix milliseconds) and ``author`` tell where an exported memory came from: they survive a
    round trip and carry no authority on import. Of a memory in conflict each value is an entry ``beside`` the
    others, the one shown last: importing it replaces nothing.
    """

    key: str
    value: Scalar | Count | tuple[Element, ...]
    form: Form = "text"
    type: MemoryType = "register"
    category: str = "note"
    tags: tuple[str, ...] = ()
    ttl_s: float | None = None
    vector: Vector | None = None
    hlc: int | None = None
    updated_ms: int | None = None
    author: str | None = None
    beside: bool = False


def validate(entry: Entry) -> None:
    """Raise `UsageError`, naming the field, its bound and the remedy, unless the entry keeps every limit."""
    _check_name("key", entry.key, KEY_BYTES_MAX)
    _check_name("category", entry.category, CATEGORY_BYTES_MAX)
    if len(entry.tags) > TAGS_MAX:
        _refuse(f"{len(entry.tags)} tags, above {TAGS_MAX}: keep fewer")
    for tag in entry.tags:
        _check_name("tag", tag, TAG_BYTES_MAX)
    if entry.ttl_s is not None and not (math.isfinite(entry.ttl_s) and entry.ttl_s > 0):
        _refuse(f"a time to live of {entry.ttl_s} s: give seconds above 0, or leave it out")
    _check_provenance(entry)
    if entry.vector is not None:
        _check_vector(entry.vector)
    _check_by_type(entry)


def parts(entry: Entry) -> Iterator[Entry]:
    """Yield the entry, or several of the same key for a set too large for one; importing adds them up.

    What is yielded is valid; `UsageError` naming the memory where the entry is not.
    """
    try:
        for part in _split(entry):
            validate(part)
            yield part
    except UsageError as error:
        raise UsageError(f"the memory {entry.key[:80]!r} cannot be written: {error}") from error


def _split(entry: Entry) -> Iterator[Entry]:
    if not isinstance(entry.value, tuple) or entry.type != "set":
        yield entry
        return
    part: list[Element] = []
    size = 0
    for element in entry.value:
        element_size = _check_scalar(element.form, element.value)
        if part and (size + element_size > SET_BYTES_MAX or len(part) == SET_ELEMENTS_MAX):
            yield replace(entry, value=tuple(part))
            part, size = [], 0
        part.append(element)
        size += element_size
    yield replace(entry, value=tuple(part))


def _check_by_type(entry: Entry) -> None:
    if entry.type != "register" and entry.form != "text":
        _refuse(f"a {entry.type} has no form of its own: leave form {entry.form!r} out")
    if entry.type == "register":
        if isinstance(entry.value, Count | tuple):
            _refuse("a register holds one value: set the type to counter or set")
        _check_scalar(entry.form, entry.value)
    elif entry.type == "counter":
        _check_count(entry.value)
    else:
        _check_set(entry.value)


def _check_scalar(form: Form, value: object) -> int:
    """Return the value's size in bytes."""
    size = 0
    if form == "text" and isinstance(value, str):
        size = utf8_size(value)
    elif form == "bytes" and isinstance(value, bytes):
        size = len(value)
    elif form == "json":
        size = json_size(check_json(value))
    else:
        _refuse(f"a value of form {form!r} cannot be {type(value).__name__}: use text, json or bytes to match")
    if size > VALUE_BYTES_MAX:
        _refuse(f"a value of {size} bytes, above {VALUE_BYTES_MAX}: split it")
    return size


def _check_set(value: object) -> None:
    if not isinstance(value, tuple):
        _refuse("a set holds a tuple of elements")
    if len(value) > SET_ELEMENTS_MAX:
        _refuse(f"a set of {len(value)} elements, above {SET_ELEMENTS_MAX} in one entry: split it")
    size = sum(_check_scalar(element.form, element.value) for element in value)
    if size > SET_BYTES_MAX:
        _refuse(f"a set of {size} bytes, above {SET_BYTES_MAX} in one entry: split it")


def _check_count(value: object) -> None:
    if not isinstance(value, Count):
        _refuse("a counter holds what was added and subtracted")
    for total in (value.added, value.subtracted):
        _check_integer("a counter's total", total)


def _check_vector(vector: Vector) -> None:
    _check_name("vector model", vector.model, MODEL_BYTES_MAX)
    dimensions, rest = divmod(len(vector.data), 4)
    if rest or not 1 <= dimensions <= VECTOR_DIMENSIONS_MAX:
        _refuse(f"a vector of {len(vector.data)} bytes: it is 1 to {VECTOR_DIMENSIONS_MAX} float32 of 4 bytes")
    if not all(map(math.isfinite, struct.unpack(f"<{dimensions}f", vector.data))):
        _refuse("a vector with NaN or infinity cannot be searched: embed the memory again")


def _check_provenance(entry: Entry) -> None:
    if entry.hlc is not None:
        _check_integer("hlc", entry.hlc)
    if entry.updated_ms is not None:
        _check_integer("updated_ms", entry.updated_ms)
    if entry.author is not None:
        _check_name("author", entry.author, AUTHOR_BYTES_MAX)


def _check_integer(what: str, number: int) -> None:
    if isinstance(number, bool) or not 0 <= number <= COUNT_MAX:
        _refuse(f"{what} of {number}: it is a whole number from 0 to {COUNT_MAX}")


def _check_name(what: str, text: str, bytes_max: int) -> None:
    size = utf8_size(text, f"a {what}")
    if not 1 <= size <= bytes_max:
        _refuse(f"a {what} of {size} bytes: it has 1 to {bytes_max}")
    if _CONTROL.search(text):
        _refuse(f"a {what} with control characters: leave them out")


def _refuse(reason: str) -> NoReturn:
    raise UsageError(reason)
