"""The file of the reference MCP "memory" server: a graph of entities and relations, one JSON object a line.

::

    {"type":"entity","name":N,"entityType":T,"observations":[O …]}    key entity/N,        category entity
    {"type":"relation","from":A,"to":B,"relationType":R}              key relation/A/R/B,  category relation

The value is the whole object but for ``type``, as JSON, fields we do not know included, so that it comes
out as it went in; the type of the entity or relation is also the memory's tag. In keys ``/``, ``%``, ``~``
and control characters of names are percent-encoded; where a name is empty or the key too long, ``~`` and a
hash stand for all names. One value, not a set of observations, because their order and repetition are part
of the file.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from cis.api.exchange.entry import KEY_BYTES_MAX, TAG_BYTES_MAX, Entry, validate
from cis.api.exchange.json_text import JsonValue, dump_json
from cis.api.exchange.jsonl import rows_of
from cis.api.exchange.output import new_file
from cis.api.exchange.source import Problem, shown
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cis.api.exchange.rows import Row

_FIELDS = {"entity": ("name", "entityType"), "relation": ("from", "relationType", "to")}
"""The text fields of each kind of row, in the order of its key; an entity's key has the first alone."""

_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f/%~]")


class Written(NamedTuple):
    """How many memories were written, and how many the format cannot hold and were left out."""

    written: int
    left_out: int


def read_mcp_memory(path: Path) -> Iterator[Entry | Problem]:
    """Yield the memory of each line, holding one at a time; `UsageError` when the file cannot be read."""
    for number, row in rows_of(path):
        try:
            yield Problem(shown(path), number, row) if isinstance(row, str) else _entry_of(row)
        except UsageError as error:
            yield Problem(shown(path), number, str(error))


def write_mcp_memory(entries: Iterable[Entry], path: Path, *, overwrite: bool = False) -> Written:
    """Write the entities and relations among the entries to a file the server reads.

    What the format cannot hold (any other memory, values in conflict; vectors, own tags, time to live) is
    left out. `UsageError` as for `write_jsonl`.
    """
    written = left_out = 0
    with new_file(path, overwrite=overwrite) as file:
        for entry in entries:
            row = _row_of(entry)
            if row is None:
                left_out += 1
            else:
                file.write(f"{dump_json(row)}\n".encode())
                written += 1
    return Written(written, left_out)


def _entry_of(row: Row) -> Entry:
    kind = row.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise UsageError(f"type {kind!r:.40} is neither entity nor relation")
    value = {name: field for name, field in row.items() if name != "type"}
    fields = _fields(kind, value)
    if fields is None:
        names = ", ".join((*_FIELDS[kind], *(["observations"] if kind == "entity" else [])))
        raise UsageError(f"a {kind} has {names}: texts, observations a list of texts")
    tag = fields[1]
    entry = Entry(
        key=_key(kind, fields[:1] if kind == "entity" else fields),
        value=dict(value),
        form="json",
        category=kind,
        tags=(tag,) if _fits_as_tag(tag) else (),
    )
    validate(entry)
    return entry


def _row_of(entry: Entry) -> Row | None:
    kind = entry.key.partition("/")[0]
    value = entry.value
    if (
        entry.beside
        or kind not in _FIELDS
        or entry.type != "register"
        or entry.form != "json"
        or not isinstance(value, dict)
    ):
        return None
    if "type" in value or _fields(kind, value) is None:
        return None
    validate(entry)
    return {"type": kind, **value}


def _fields(kind: str, value: dict[str, JsonValue]) -> list[str] | None:
    """Return the text fields of a row of this kind, or None where they or the observations are amiss."""
    fields = [field for name in _FIELDS[kind] if isinstance(field := value.get(name), str)]
    observations = value.get("observations")
    if kind == "entity" and not (isinstance(observations, list) and all(isinstance(o, str) for o in observations)):
        return None
    return fields if len(fields) == len(_FIELDS[kind]) else None


def _key(kind: str, names: list[str]) -> str:
    key = "/".join([kind, *(_ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", name) for name in names)])
    if all(names) and len(key.encode("utf-8", "surrogatepass")) <= KEY_BYTES_MAX:
        return key
    digest = hashlib.blake2b(dump_json([*names]).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{kind}/~{digest.hexdigest()}"


def _fits_as_tag(text: str) -> bool:
    return 1 <= len(text.encode("utf-8", "surrogatepass")) <= TAG_BYTES_MAX and text.isprintable()
