"""Between what people and programs write and show, and what a memory's body holds."""

from __future__ import annotations

import base64
import json
from typing import Any

from cis.api.exchange.json_text import check_json, parse_json
from cis.api.exchange.rows import bytes_of
from cis.api.memories.memory_schema import Form, Memory, Type, VectorInfo, Version
from cis.api.memories.recalling import SHAPES, Value, values_of, version_of
from cis.crdt import Shape
from cis.errors import UsageError
from cis.model import did_of, hlc_ms, node_of, short_id
from cis.node.membership.cluster import Cluster
from cis.store.read import Part, Recalled
from cis.store.texts import vector_of
from cis.wire import content as wire
from cis.wire.content import Content

TYPES: dict[Shape, Type] = {Shape.REGISTER: "register", Shape.COUNTER: "counter", Shape.SET: "set"}
_FORMS: dict[int, Form] = {wire.Form.TEXT: "text", wire.Form.JSON: "json", wire.Form.BYTES: "bytes"}


def pack(value: Any, form: str, *, canonical: bool = False) -> tuple[bytes, wire.Form]:  # noqa: ANN401 - JSON
    """Return the bytes of a value as it came by JSON; ``canonical`` makes equal JSON equal bytes (for sets)."""
    if form == "json":
        text = json.dumps(check_json(value), ensure_ascii=False, separators=(",", ":"), sort_keys=canonical)
        return text.encode(), wire.Form.JSON
    if not isinstance(value, str):
        raise UsageError(f"a value of form {form} comes as a string, not as {type(value).__name__}")
    if form == "bytes":
        return bytes_of(value), wire.Form.BYTES
    try:
        return value.encode(), wire.Form.TEXT
    except UnicodeEncodeError:
        raise UsageError("the value holds half a character (a lone surrogate): write valid Unicode") from None


def unpack(content: Content) -> tuple[Any, Form]:
    """Return the value of one body as it goes into JSON, and its form."""
    form = _FORMS[content.form]
    if form == "bytes":
        return {"base64": base64.b64encode(content.value).decode()}, form
    try:
        text = content.value.decode()
        return (check_json(parse_json(text)) if form == "json" else text), form
    except (UnicodeDecodeError, UsageError):  # another program's; shown as what it is
        return {"base64": base64.b64encode(content.value).decode()}, "bytes"


def value_of(recalled: Recalled | Value) -> tuple[Any, Form]:
    """Return a memory's value, or one of several, as it goes into JSON, and its form."""
    contents = [part.content for part in recalled.parts if part.content is not None]
    if not contents:
        return None, "elsewhere" if any(part.elsewhere for part in recalled.parts) else "unreadable"
    if recalled.shape is Shape.COUNTER:
        return sum(one.added - one.subtracted for one in contents), "json"
    if recalled.shape is Shape.SET:
        distinct = {(one.form, one.value): one for one in sorted(contents, key=lambda one: (one.value, one.form))}
        return [unpack(one)[0] for one in distinct.values()], "json"
    return unpack(contents[0])


def memory_of(recalled: Recalled, cluster: Cluster) -> Memory:
    """Return a memory as shown."""
    value, form = value_of(recalled)
    latest = recalled.latest
    content = latest.about
    node = node_of(latest.change.dot.replica)
    told = vector_of(recalled)
    return Memory(
        key=recalled.key,
        space=cluster.space_name(recalled.space),
        type=TYPES[recalled.shape],
        form=form,
        value=value,
        category=content.category if content else "",
        tags=content.tags if content else (),
        author=cluster.name_of(node),
        author_did=did_of(node),
        updated_ms=hlc_ms(latest.change.hlc),
        hlc=latest.change.hlc,
        expires_ms=recalled.expires_ms or None,
        conflicts=len(values_of(recalled)) - 1 if recalled.siblings else 0,
        vector=VectorInfo(told.vector_model, len(told.vector) // 4) if told is not None else None,
        id=recalled.memory.hex(),
        version=version_of(recalled),
        elsewhere=recalled.elsewhere,
    )


def past_of(part: Part, cluster: Cluster, *, shown: bool, alive: bool, resolves: int) -> Version:
    """Return one change as it is listed."""
    value, form = _single(part)
    node = node_of(part.change.dot.replica)
    lone = Value(SHAPES.get(part.change.kind, Shape.ABSENT), (part,))
    return Version(
        kind=part.change.kind.name.lower(),  # type: ignore[arg-type] # the names are the literals
        id=lone.id,
        form=form,
        value=value,
        category=part.about.category if part.about else "",
        author=cluster.name_of(node),
        author_did=did_of(node),
        device=short_id(node),
        updated_ms=hlc_ms(part.change.hlc),
        expires_ms=lone.expires_ms or None,
        shown=shown,
        alive=alive,
        resolves=resolves,
        elsewhere=part.elsewhere,
    )


def _single(part: Part) -> tuple[Any, Form]:
    if part.content is None:
        return None, "elsewhere" if part.elsewhere else "unreadable"
    if part.change.kind.name == "COUNT":
        return part.content.added - part.content.subtracted, "json"
    return unpack(part.content)
