"""JSON Schemas of what tools take and give, made from the types themselves."""

from __future__ import annotations

from typing import Any

import msgspec

from cis.apps.mcp.scope import Scope


def input_schema(kind: type[msgspec.Struct], scope: Scope) -> dict[str, Any]:
    """Return the schema of a tool's arguments; the spaces it lists are those that are served."""
    schema = output_schema(kind)
    space = schema["properties"].get("space")
    if space is not None:
        space["enum"] = list(scope.spaces)
        del space["default"]
    return schema


def output_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of a type, an object at its root; types within it are under ``$defs``."""
    _, found = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = found.pop(kind.__name__)
    for one in (schema, *found.values()):
        one.pop("title", None)
        one.pop("description", None)
    return {**schema, "$defs": found} if found else schema
