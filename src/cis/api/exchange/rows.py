"""The row an entry becomes in JSON Lines and in the front matter of an exported note, and back.

::

    key: text; value: by form and type; form: text | json | bytes; type: register | counter | set
    category: text; tags: [text …]; ttl_s: number; vector: {model: text, data: base64}
    hlc, updated_ms: integer; author: text; beside: true of each value of a conflict

Only ``key`` and ``value`` are required. Bytes are base64; a counter is ``{added, subtracted}``; a set is a
list of ``[form, value]``. A row of somebody else's making may hold any JSON as its value, and further
fields: those are kept, by making the value an object of all of them.
"""

from __future__ import annotations

import base64
import binascii
from typing import cast

from cis.api.exchange.entry import Count, Element, Entry, Form, MemoryType, Scalar, Vector, validate
from cis.api.exchange.json_text import JsonValue
from cis.errors import UsageError

Row = dict[str, JsonValue]

FIELDS = frozenset(
    {"key", "value", "form", "type", "category", "tags", "ttl_s", "vector", "hlc", "updated_ms", "author", "beside"}
)


def row_of_entry(entry: Entry) -> Row:
    """Return the row of a valid entry, fields at their default left out, ``value`` last."""
    row: Row = {"key": entry.key}
    if entry.type != "register":
        row["type"] = entry.type
    if entry.form != "text":
        row["form"] = entry.form
    row["category"] = entry.category
    if entry.tags:
        row["tags"] = list(entry.tags)
    if entry.vector is not None:
        row["vector"] = {"model": entry.vector.model, "data": base64_of(entry.vector.data)}
    for name in ("ttl_s", "hlc", "updated_ms", "author"):
        if (field := getattr(entry, name)) is not None:
            row[name] = field
    if entry.beside:
        row["beside"] = True
    row["value"] = _value_of(entry)
    return row


def entry_of_row(row: Row) -> Entry:
    """Return the valid entry a row holds; `UsageError` with the reason when it holds none."""
    row = {name: field for name, field in row.items() if field is not None or name not in FIELDS - {"value"}}
    form, memory_type, value = _value_in(row)
    entry = Entry(
        key=_text(row, "key"),
        value=value,
        form=form,
        type=memory_type,
        category=_text(row, "category", "note"),
        tags=_tags(row.get("tags", [])),
        ttl_s=_number(row, "ttl_s"),
        vector=_vector(row.get("vector")),
        hlc=_integer(row, "hlc"),
        updated_ms=_integer(row, "updated_ms"),
        author=_text(row, "author") if "author" in row else None,
        beside=_flag(row, "beside"),
    )
    validate(entry)
    return entry


def base64_of(data: bytes) -> str:
    """Return the standard base64 text."""
    return base64.b64encode(data).decode("ascii")


def bytes_of(text: JsonValue) -> bytes:
    """Return what a standard base64 text holds; `UsageError` when it is none."""
    if not isinstance(text, str):
        raise UsageError("bytes are written as base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"not base64: {error}") from error


def _value_of(entry: Entry) -> JsonValue:
    if isinstance(entry.value, Count):
        return {"added": entry.value.added, "subtracted": entry.value.subtracted}
    if isinstance(entry.value, tuple):
        return [[element.form, _scalar_of(element.value)] for element in entry.value]
    return _scalar_of(entry.value)


def _scalar_of(value: Scalar) -> JsonValue:
    return base64_of(value) if isinstance(value, bytes) else value


def _value_in(row: Row) -> tuple[Form, MemoryType, Scalar | Count | tuple[Element, ...]]:
    memory_type = row.get("type", "register")
    extra = {name: field for name, field in row.items() if name not in FIELDS}
    if memory_type == "register":
        form, value = _register_in(row, extra)
        return form, "register", value
    if extra:
        raise UsageError(f"a {memory_type} has no field {min(extra)!r}: remove it")
    if memory_type == "counter":
        return _form(row.get("form", "text")), "counter", _count(row.get("value"))
    if memory_type == "set":
        return _form(row.get("form", "text")), "set", _elements(row.get("value"))
    raise UsageError(f"type {memory_type!r} is none of register, counter, set")


def _register_in(row: Row, extra: Row) -> tuple[Form, Scalar]:
    if "value" not in row and not extra:
        raise UsageError("no value: give one")
    if extra:
        if row.get("form", "json") != "json":
            raise UsageError(f"a value of form {row['form']!r} has no place for the field {min(extra)!r}")
        return "json", {**({"value": row["value"]} if "value" in row else {}), **extra}
    value = row["value"]
    form = _form(row.get("form", "text" if isinstance(value, str) else "json"))
    return form, _scalar(form, value)


def _scalar(form: Form, value: JsonValue) -> Scalar:
    if form == "bytes":
        return bytes_of(value)
    if form == "text" and not isinstance(value, str):
        raise UsageError("a value of form 'text' is a string: write it in quotes, or give form json")
    return value


def _form(form: JsonValue) -> Form:
    if form not in {"text", "json", "bytes"} if isinstance(form, str) else True:
        raise UsageError(f"form {form!r} is none of text, json, bytes")
    return cast("Form", form)


def _count(value: JsonValue) -> Count:
    if not isinstance(value, dict) or not value.keys() <= {"added", "subtracted"}:
        raise UsageError('a counter is written {"added": N, "subtracted": N}')
    return Count(_integer(value, "added") or 0, _integer(value, "subtracted") or 0)


def _elements(value: JsonValue) -> tuple[Element, ...]:
    if not isinstance(value, list):
        raise UsageError("a set is written as a list of [form, value]")
    elements = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise UsageError("an element of a set is written [form, value]")
        form = _form(pair[0])
        elements.append(Element(_scalar(form, pair[1]), form))
    return tuple(elements)


def _tags(value: JsonValue) -> tuple[str, ...]:
    tags = [tag for tag in value if isinstance(tag, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(tags) != len(value):
        raise UsageError("tags are a list of texts")
    return tuple(tags)


def _vector(value: JsonValue) -> Vector | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"model", "data"}:
        raise UsageError('a vector is written {"model": NAME, "data": BASE64}')
    return Vector(_text(value, "model"), bytes_of(value["data"]))


def _text(row: Row, name: str, default: str | None = None) -> str:
    field = row.get(name, default)
    if field is None:
        raise UsageError(f"no {name}: give one")
    if not isinstance(field, str):
        raise UsageError(f"{name} is no text: write it in quotes")
    return field


def _number(row: Row, name: str) -> float | None:
    field = row.get(name)
    if field is None:
        return None
    if isinstance(field, bool) or not isinstance(field, int | float):
        raise UsageError(f"{name} is no number")
    try:
        return float(field)
    except OverflowError as error:
        raise UsageError(f"{name} is too large") from error


def _flag(row: Row, name: str) -> bool:
    field = row.get(name, False)
    if not isinstance(field, bool):
        raise UsageError(f"{name} is true or false")
    return field


def _integer(row: Row, name: str) -> int | None:
    field = row.get(name)
    if field is None:
        return None
    if isinstance(field, bool) or not isinstance(field, int):
        raise UsageError(f"{name} is no whole number")
    return field
