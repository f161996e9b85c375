"""One memory as the text of a Markdown file, and back.

A **plain note** is anybody's: its value is the file's text unchanged, front matter included, so whatever
else the front matter says comes out again. Read from it are ``key`` (else the path gives it), ``category``,
``tags`` (a list, or one line with commas) and ``ttl`` (seconds, or ``90s``, ``15m``, ``12h``, ``7d``,
``2w``); a ``title`` stays part of the text. A byte order mark is dropped.

An **exported note** is used where a plain note would not read back as the same memory: its front matter
begins with ``cis: memory/1`` and holds the fields of `cis.api.exchange.rows`, and what follows is the
value: text as it is, JSON, base64 and sets in a fenced block.
"""

from __future__ import annotations

import re

from cis.api.exchange.entry import VALUE_BYTES_MAX, Entry, validate
from cis.api.exchange.front_matter import FrontMatter, FrontMatterFault, YamlText, read_front_matter
from cis.api.exchange.json_text import JsonValue, dump_json, parse_json
from cis.api.exchange.rows import FIELDS, Row, entry_of_row, row_of_entry
from cis.api.exchange.source import BYTE_ORDER_MARK, LINE_BYTES_MAX, decoded
from cis.errors import UsageError

MARK = "cis"
VERSION = "memory/1"
PLAIN_BYTES_MAX = VALUE_BYTES_MAX
EXPORTED_BYTES_MAX = LINE_BYTES_MAX

_FENCED = re.compile(r"\s*```(?:json|base64)[ \t]*\r?\n(.*)\n```\s*", re.DOTALL)
_TTL = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def is_exported(front: FrontMatter | None) -> bool:
    """Tell an exported note from a plain one."""
    return front is not None and MARK in front.fields


def entry_of_note(data: bytes, key: str) -> Entry:
    """Return the memory a file's bytes hold; ``key`` is what its path says.

    `UsageError` with the reason when it holds none, as `FrontMatterFault` where a line can be named.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    front = read_front_matter(data)
    if front is None or not is_exported(front):
        entry = _plain(decoded(data), {} if front is None else front.fields, key)
        validate(entry)
        return entry
    if front.fields[MARK] != VERSION:
        raise FrontMatterFault(2, f"not {MARK}: {VERSION}: written by a newer cis, or edited")
    return _exported(front, decoded(data[front.end :]), key)


def note_of_entry(entry: Entry, key: str) -> bytes:
    """Return the bytes of the file for a valid entry; ``key`` is what its path will say."""
    if entry.type == "register" and isinstance(entry.value, str) and entry.form == "text":
        data = entry.value.encode()
        if _reads_back(data, entry, key):
            return data
    row = row_of_entry(entry)
    value = row.pop("value")
    lines = ["---", f"{MARK}: {VERSION}"]
    if entry.type == "counter":
        row["value"] = value
    lines += [f"{name}: {dump_json(field)}" for name, field in row.items()]
    return "\n".join([*lines, "---", _body(entry, value)]).encode()


def _reads_back(data: bytes, entry: Entry, key: str) -> bool:
    try:
        return entry_of_note(data, key) == entry
    except UsageError:
        return False


def _body(entry: Entry, value: JsonValue) -> str:
    if entry.type == "counter":
        return ""
    if isinstance(value, list) and entry.type == "set":
        elements = ",\n".join(dump_json(element) for element in value)
        return f"```json\n[\n{elements}\n]\n```\n"
    if entry.form == "json":
        return f"```json\n{dump_json(value)}\n```\n"
    assert isinstance(value, str)
    return value if entry.form == "text" else f"```base64\n{value}\n```\n"


def _plain(text: str, fields: dict[str, YamlText], key: str) -> Entry:
    return Entry(
        key=_line(fields, "key") or key,
        value=text,
        category=_line(fields, "category") or "note",
        tags=_tags(fields.get("tags", "")),
        ttl_s=_ttl(_line(fields, "ttl")),
    )


def _line(fields: dict[str, YamlText], name: str) -> str:
    field = fields.get(name, "")
    if isinstance(field, list) and len(field) == 1:
        field = field[0]
    if not isinstance(field, str):
        raise UsageError(f"the front matter's {name} is not one text")
    return field


def _tags(field: YamlText) -> tuple[str, ...]:
    tags = field.split(",") if isinstance(field, str) else field
    if not isinstance(tags, list):
        raise UsageError("the front matter's tags are not a list of texts")
    texts = [tag for tag in tags if isinstance(tag, str)]
    if len(texts) != len(tags):
        raise UsageError("the front matter's tags are not a list of texts")
    return tuple(tag for text in texts if (tag := text.strip()))


def _ttl(text: str) -> float | None:
    if not text:
        return None
    match = _TTL.fullmatch(text)
    if match is None:
        raise UsageError(f"the front matter's ttl {text[:32]!r} is no duration: write seconds, or 15m, 12h, 7d")
    return float(match[1]) * _SECONDS[match[2]]


def _exported(front: FrontMatter, body: str, key: str) -> Entry:
    row: Row = {"key": key}
    for name, field in front.fields.items():
        if name not in FIELDS | {MARK}:
            raise UsageError(f"the front matter of an exported note has no field {name[:32]!r}: remove it")
        row[name] = _field(name, field)
    del row[MARK]
    if row.get("type") != "counter":
        row["value"] = _value(row, body)
    return entry_of_row(row)


def _field(name: str, field: YamlText) -> JsonValue:
    """Return a field of the front matter, whose scalars YAML gave as texts, as the row has it."""
    if name == "value" and isinstance(field, dict):
        return {inner: _number(number) for inner, number in field.items()}
    if name in {"ttl_s", "hlc", "updated_ms"}:
        return _number(field)
    if name == "beside" and isinstance(field, str):
        return parse_json(field)
    return field  # type: ignore[return-value]  # texts, and lists and objects of them, are JSON


def _number(field: YamlText) -> JsonValue:
    number = parse_json(field) if isinstance(field, str) else field
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UsageError(f"{field!r:.40} in the front matter is no number")
    return number


def _value(row: Row, body: str) -> JsonValue:
    if row.get("type") != "set" and row.get("form", "text") == "text":
        return body
    fenced = _FENCED.fullmatch(body)
    text = fenced[1] if fenced else body
    return "".join(text.split()) if row.get("form") == "bytes" else parse_json(text)
