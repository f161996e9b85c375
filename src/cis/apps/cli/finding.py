"""``cis memory search``, ``model`` and ``reindex``: memories found by words and meaning, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cis.api.memories.memory_schema import Found, Hit, SearchMemories
from cis.apps.cli.printing import complain, say, show_json, show_table, spinner, tell
from cis.apps.cli.shared import Json, Spaces, node_of
from cis.errors import CisError, UsageError

_MODES = ("hybrid", "words", "meaning")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (("search", search), ("model", model), ("reindex", reindex)):
        app.command(name)(command)


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for, in your words.", show_default=False)] = "",
    mode: Annotated[
        str, typer.Option(help="hybrid: by words and meaning; words; meaning: what says the same in others.")
    ] = "hybrid",
    prefix: Annotated[str, typer.Option("--prefix", "-p", help="Only keys that begin so.")] = "",
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Only with this tag.")] = None,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only this category.")] = None,
    space: Spaces = None,
    since: Annotated[
        str | None, typer.Option(help="Only what changed since: 2026-05-01, 2026-05-01T12:30, or 7d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only what changed before.")] = None,
    vector: Annotated[
        Path | None, typer.Option(help="Compare with this embedding: float32, raw or .npy.", show_default=False)
    ] = None,
    vector_model: Annotated[str, typer.Option(help="What made the vector.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many, up to 1000.")] = 20,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each was found.")] = False,
    json: Json = False,
) -> None:
    """Find memories by words and by meaning, best first.

    Example: cis memory search "which theme does Ana like" --category preference --explain
    """
    from cis.api.memories.vectors import read_vector
    from cis.api.moments import moment_ms

    if mode not in _MODES:
        raise UsageError(f"--mode {mode}: there are {', '.join(_MODES)}")
    request = SearchMemories(
        query=query,
        mode=mode,  # type: ignore[arg-type] # one of the three
        prefix=prefix,
        tag=tag,
        category=category,
        spaces=tuple(space) if space else None,
        since_ms=moment_ms(since) if since else None,
        until_ms=moment_ms(until) if until else None,
        vector=read_vector(vector) if vector else None,
        vector_model=vector_model,
        limit=limit,
    )
    with node_of(context) as node:
        found = node.call(request)
    if json:
        show_json(found)
        return
    _show(found, explain=explain)


def model(context: typer.Context, json: Json = False) -> None:
    """Say which model finds memories by meaning, how many have its vectors, and how to get one.

    Example: cis memory model
    """
    from cis.api.memories.embedding_schema import GetEmbedding

    with node_of(context) as node:
        found = node.call(GetEmbedding())
    if json:
        show_json(found)
        return
    if found.model is None:
        say(found.advice)
    else:
        numbers = f", {found.dimensions} numbers" if found.dimensions else ""
        say(f"{found.model}{numbers}, {'in this process' if found.local else 'on a server'}")
        say(f"{found.waiting} memories wait for their vector" if found.waiting else "every memory has its vector")
    for one in found.vectors:
        say(f"  {one.model}: vectors of {one.memories} memories, {one.dimensions} numbers each")
    if found.problem:
        complain(f"the model fails, and is tried again: {found.problem}")


def reindex(
    context: typer.Context,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Wait until all memories have their vectors again, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Make the index anew from what is stored: words, categories, and vectors made on this device.

    Example: cis memory reindex
    """
    from cis.api.memories.embedding_schema import Reindex

    with node_of(context) as node, spinner("making the index anew"):
        told = list(node.stream(Reindex(vectors=vectors)))
    if not told:
        raise CisError("the node ended before the index was made: it goes on when it is started")
    last = told[-1]
    if json:
        show_json(last)
        return
    say(f"{last.memories} memories in the index")
    if last.waiting:
        tell(f"{last.waiting} wait for their vector, and get it in the background: cis memory model shows how many")


def _show(found: Found, *, explain: bool) -> None:
    if found.hits:
        header = ("key", "category", "where", "why") if explain else ("key", "category", "where")
        show_table(header, [_row(one, explain=explain) for one in found.hits])
    else:
        tell("nothing found")
    if found.note:
        tell(found.note)


def _row(hit: Hit, *, explain: bool) -> Sequence[str]:
    cells = (hit.memory.key, hit.memory.category, hit.snippet)
    return (*cells, hit.why) if explain else cells
