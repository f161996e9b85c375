"""``cis memory``: single memories; `cis.apps.cli.memories` has the commands over many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cis.api.memories.memory_schema import (
    ELSEWHERE,
    AddToMemory,
    DeleteMemory,
    GetMemory,
    IncrementMemory,
    MemoryHistory,
    RemoveFromMemory,
    Saved,
    SetMemory,
    Version,
)
from cis.apps.cli import conflicts, finding, memories
from cis.apps.cli.printing import brief, moment, say, show_json, show_table, show_value
from cis.apps.cli.shared import Json, Key, Space, group, node_of, seconds_of
from cis.apps.cli.values import read_value
from cis.errors import CisError, UsageError

app = group("Remember, recall, search, watch.")

AsJson = Annotated[bool, typer.Option("--as-json", help="The value is JSON.")]
Category = Annotated[
    str | None,
    typer.Option("--category", "-c", help="context, preference, task, result, error, skill, note, or your own."),
]
IfVersion = Annotated[
    str | None,
    typer.Option("--if-version", help="Only where it is still what `get --json` told as version.", show_default=False),
]
Elements = Annotated[list[str], typer.Argument(help="One or more elements.", show_default=False)]


@app.command("set")
def set_memory(
    context: typer.Context,
    key: Key,
    value: Annotated[str | None, typer.Argument(help="The text; - or nothing reads stdin.", show_default=False)] = None,
    as_json: AsJson = False,
    file: Annotated[Path | None, typer.Option(help="Take the value from a file, as bytes if it is no text.")] = None,
    category: Category = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag; may be repeated.")] = None,
    ttl: Annotated[str | None, typer.Option(help="Forget it after this time: 90s, 10m, 2h, 7d.")] = None,
    vector: Annotated[Path | None, typer.Option(help="Its embedding: float32, raw or .npy.")] = None,
    vector_model: Annotated[str, typer.Option(help="What made the vector.")] = "unknown",
    new: Annotated[bool, typer.Option("--new", help="Only where there is no such memory.")] = False,
    if_version: IfVersion = None,
    space: Space = "public",
    json: Json = False,
) -> None:
    """Set a memory.

    Example: cis memory set editor "dark mode" --category preference
    """
    if new and if_version is not None:
        raise UsageError("--new and --if-version exclude each other: a new memory has no version")
    from cis.api.memories.vectors import read_vector

    taken, form = read_value(value, file, as_json=as_json)
    request = SetMemory(
        key=key,
        value=taken,
        form=form,  # type: ignore[arg-type] # one of the three
        space=space,
        category=category or "note",
        tags=tuple(tag or ()),
        ttl_s=seconds_of(ttl) if ttl else None,
        vector=read_vector(vector) if vector else None,
        vector_model=vector_model,
        version="" if new else if_version,
    )
    with node_of(context) as node:
        _done(node.call(request), json, "set")


@app.command("get")
def get_memory(
    context: typer.Context,
    key: Key,
    space: Space = "public",
    raw: Annotated[bool, typer.Option("--raw", help="Write the value as it is, also to a terminal.")] = False,
    json: Json = False,
) -> None:
    """Print a memory's value.

    Example: cis memory get editor
    """
    with node_of(context) as node:
        found = node.call(GetMemory(key=key, space=space))
    if found is None:
        raise CisError(f"there is no memory {key!r} in {space}: `cis memory list` shows what there is")
    if json:
        show_json(found)
    else:
        show_value(found.value, found.form, raw=raw)


@app.command("delete")
def delete_memory(
    context: typer.Context, key: Key, if_version: IfVersion = None, space: Space = "public", json: Json = False
) -> None:
    """Delete a memory, here and on all nodes.

    Example: cis memory delete editor
    """
    with node_of(context) as node:
        saved = node.call(DeleteMemory(key=key, space=space, version=if_version))
    if not saved.changed:
        raise CisError(f"there is no memory {key!r} in {space}: `cis memory list` shows what there is")
    _done(saved, json, "deleted")


@app.command("incr", context_settings={"ignore_unknown_options": True})
def increment(
    context: typer.Context,
    key: Key,
    by: Annotated[int, typer.Argument(help="How much; may be negative.")] = 1,
    category: Category = None,
    space: Space = "public",
    json: Json = False,
) -> None:
    """Add to a counter and print what it comes to.

    Example: cis memory incr builds 1
    """
    with node_of(context) as node:
        saved = node.call(IncrementMemory(key=key, by=by, category=category, space=space))
    if json:
        show_json(saved)
    else:
        say(str(saved.value))


@app.command("add")
def add(
    context: typer.Context,
    key: Key,
    elements: Elements,
    as_json: AsJson = False,
    category: Category = None,
    space: Space = "public",
    json: Json = False,
) -> None:
    """Add elements to a set.

    Example: cis memory add tools ruff mypy
    """
    values, form = _elements(elements, as_json=as_json)
    with node_of(context) as node:
        request = AddToMemory(key=key, values=values, form=form, category=category, space=space)  # type: ignore[arg-type] # text or json
        _done(node.call(request), json, "added")


@app.command("remove")
def remove(
    context: typer.Context,
    key: Key,
    elements: Elements,
    as_json: AsJson = False,
    space: Space = "public",
    json: Json = False,
) -> None:
    """Remove elements from a set.

    Example: cis memory remove tools mypy
    """
    values, form = _elements(elements, as_json=as_json)
    with node_of(context) as node:
        saved = node.call(RemoveFromMemory(key=key, values=values, form=form, space=space))  # type: ignore[arg-type] # text or json
    if not saved.changed:
        raise CisError(f"{key!r} in {space} holds none of these: `cis memory members {key}` shows what it holds")
    _done(saved, json, "removed")


@app.command("members")
def members(context: typer.Context, key: Key, space: Space = "public", json: Json = False) -> None:
    """Print the elements of a set, one a line; bytes among them as JSON, in base64.

    Example: cis memory members tools
    """
    with node_of(context) as node:
        found = node.call(GetMemory(key=key, space=space))
    if found is None:
        raise CisError(f"there is no memory {key!r} in {space}: `cis memory add {key} …` begins a set")
    if found.type != "set":
        raise UsageError(f"{key!r} is a {found.type}, not a set: `cis memory get {key}` prints it")
    if json:
        show_json(found.value)
        return
    for element in found.value:
        show_value(element, "json")


@app.command("history")
def history(
    context: typer.Context,
    key: Key,
    space: Space = "public",
    limit: Annotated[int, typer.Option(help="At most so many, up to 1000.")] = 100,
    json: Json = False,
) -> None:
    """List the changes of a memory that are still known, newest first: deletions too, and who ended conflicts.

    The value of what was replaced is known for a while only, and not at all where its own author replaced it.

    Example: cis memory history editor
    """
    with node_of(context) as node:
        versions = node.call(MemoryHistory(key=key, space=space, limit=limit))
    if json:
        show_json(versions)
        return
    if not versions:
        raise CisError(f"nothing is known of {key!r} in {space}: `cis memory list` shows what there is")
    header = ("when", "who", "what", "value", "")
    show_table(
        header,
        [
            (
                moment(one.updated_ms),
                one.author,
                one.kind,
                _value(one),
                _standing(one),
            )
            for one in versions
        ],
    )


memories.register(app)
finding.register(app)
conflicts.register(app)


def _value(version: Version) -> str:
    return ELSEWHERE if version.elsewhere else brief(version.value) if version.form != "unreadable" else ""


def _standing(version: Version) -> str:
    alive = version.alive and version.kind not in {"delete", "remove"}
    standing = "shown" if version.shown else "kept" if alive else "" if version.alive else "replaced"
    resolved = f"resolved {version.resolves} values" if version.resolves else ""
    return ", ".join(filter(None, (standing, resolved)))


def _elements(given: list[str], *, as_json: bool) -> tuple[tuple[Any, ...], str]:
    if not as_json:
        return tuple(given), "text"
    from cis.api.exchange.json_text import parse_json

    return tuple(parse_json(one) for one in given), "json"


def _done(saved: Saved, json: bool, verb: str) -> None:
    if json:
        show_json(saved)
    elif sys.stdout.isatty():
        say(f"{verb} {saved.key}" if saved.space == "public" else f"{verb} {saved.key} ({saved.space})")
