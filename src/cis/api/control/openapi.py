"""The OpenAPI document of the control API, made from the table of operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cis import __version__
from cis.api.control.protocol import Failure, Request, reply_type

_REFERENCE = "#/components/schemas/{name}"


def describe(requests: Sequence[type[Request[Any]]]) -> dict[str, Any]:
    """Return the document for these operations."""
    types = [Failure, *requests, *(reply_type(request) for request in requests)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    replies = schemas[1 + len(requests) :]
    paths = {
        f"/v1/{request.path}": {"post": _operation(request, schemas[1 + place], replies[place], schemas[0])}
        for place, request in enumerate(requests)
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "cis control API", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(request: type[Request[Any]], body: Any, reply: Any, failure: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    media = "application/jsonl" if request.stream else "application/json"
    return {
        "operationId": request.path.replace("/", "-"),
        "summary": (request.__doc__ or "").partition("\n")[0],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "done", "content": {media: {"schema": reply}}},
            "default": {"description": "failed", "content": {"application/json": {"schema": failure}}},
        },
    }
