"""Commands over many memories: list, search, watch, stats, compact, import, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cis.api.memories.memory_schema import (
    ELSEWHERE,
    CompactStore,
    ListMemories,
    Memory,
    MemoryStats,
    SpaceStats,
    WatchEvent,
    WatchMemories,
)
from cis.apps.cli.printing import brief, complain, moment, say, show_json, show_line, show_table, size, spinner, tell
from cis.apps.cli.progress import progress
from cis.apps.cli.shared import AnySpace, Json, Space, node_of, running_node
from cis.errors import UsageError

Prefix = Annotated[str, typer.Option("--prefix", "-p", help="Only keys that begin so.")]
FREE_WORTH = 0.2
"""The part of the files that must be free before compacting is worth a word."""
Category = Annotated[str | None, typer.Option("--category", "-c", help="Only this category.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        ("list", list_memories),
        ("watch", watch),
        ("stats", stats),
        ("compact", compact),
        ("import", import_memories),
        ("export", export_memories),
    ):
        app.command(name)(command)


def list_memories(
    context: typer.Context,
    prefix: Prefix = "",
    category: Category = None,
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Only with this tag.")] = None,
    space: AnySpace = None,
    limit: Annotated[int, typer.Option(help="At most so many, up to 1000.")] = 100,
    after: Annotated[str | None, typer.Option(help="Begin after this key, or where `next` said.")] = None,
    json: Json = False,
) -> None:
    """List memories in order of key.

    Example: cis memory list --prefix project/ --category task
    """
    request = ListMemories(prefix=prefix, category=category, tag=tag, space=space, limit=limit, after=after)
    with node_of(context) as node:
        page = node.call(request)
    if json:
        show_json(page)
        return
    show_table(("key", "category", "value", "changed", "by", ""), [_row(one) for one in page.memories])
    if page.next is not None:
        tell(f"there are more: add --after {shlex.quote(page.memories[-1].key)}")


def watch(
    context: typer.Context,
    prefix: Prefix = "",
    space: AnySpace = None,
    limit: Annotated[int, typer.Option(help="End after so many changes; 0 for never.")] = 0,
    json: Json = False,
) -> None:
    """Print changes as they come, whoever made them. Ctrl-C ends it.

    Example: cis memory watch --prefix task/
    """
    with running_node(context) as node:
        tell("watching")
        for number, event in enumerate(node.stream(WatchMemories(prefix=prefix, space=space)), 1):
            if json:
                show_line(event)
            else:
                say(_happening(event))
            if number == limit:
                return


def stats(context: typer.Context, json: Json = False) -> None:
    """Count what is stored: by space and category, the state's hash, whose changes are held.

    Example: cis memory stats
    """
    with node_of(context) as node:
        found = node.call(MemoryStats())
    if json:
        show_json(found)
        return
    for space in found.spaces:
        _show_space(space)
    say("files: " + ", ".join(f"{name} {size(count)}" for name, count in found.files.items()))
    free = sum(found.free.values())
    if free > FREE_WORTH * sum(found.files.values()):
        say(f"{size(free)} of that is free: cis memory compact gives it back")


def compact(context: typer.Context, json: Json = False) -> None:
    """Remove what has expired and give the disk back what was deleted or replaced; the larger the store, the longer.

    Others wait with their writes until it is done, and as much free space is needed as the larger file takes.

    Example: cis memory compact
    """
    with node_of(context) as node, spinner("compacting"):
        done = node.call(CompactStore())
    if json:
        show_json(done)
        return
    before, after = sum(done.before.values()), sum(done.after.values())
    say(f"{size(before)} before, {size(after)} now: {size(max(0, before - after))} freed")
    if done.expired:
        say(f"{done.expired} expired memories deleted")


def import_memories(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder of Markdown notes, or a file.", show_default=False)],
    form: Annotated[
        str | None, typer.Option("--format", help="markdown, jsonl, mcp-memory or csv; else told from the file.")
    ] = None,
    on_error: Annotated[str, typer.Option(help="skip: leave bad rows out; stop: end at the first.")] = "skip",
    space: Space = "public",
    json: Json = False,
) -> None:
    """Take in memories from files; bad rows are named with file and line.

    Example: cis memory import notes/
    """
    from cis.api.files import import_file

    if on_error not in {"skip", "stop"}:
        raise UsageError(f"--on-error {on_error}: there are skip and stop")
    with node_of(context) as node, progress("importing") as advance:
        result = import_file(node, path, form=form, space=space, stop_on_error=on_error == "stop", on_progress=advance)
    if json:
        show_json(result)
    else:
        for problem in result.problems:
            complain(problem)
        say(f"{result.written} written, {result.unchanged} unchanged, {result.left_out} left out")
    if result.stopped or (result.left_out and not result.written + result.unchanged):
        raise typer.Exit(1)


def export_memories(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file or folder to make.", show_default=False)],
    form: Annotated[
        str | None, typer.Option("--format", help="jsonl, markdown or mcp-memory; else told from the name.")
    ] = None,
    prefix: Prefix = "",
    category: Category = None,
    space: Space = "public",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Write memories to a JSON Lines file or a folder of Markdown notes; both can be imported again.

    Example: cis memory export backup.jsonl
    """
    from cis.api.files import export_file

    with node_of(context) as node, progress("exporting") as advance:
        result = export_file(
            node, path, form=form, space=space, prefix=prefix, category=category, overwrite=overwrite,
            on_progress=advance,
        )  # fmt: skip
    if json:
        show_json(result)
        return
    rest = f", {result.left_out} left out that the format cannot hold" if result.left_out else ""
    say(f"{result.written} written to {path}{rest}")


def _happening(event: WatchEvent) -> str:
    key = event.key or "(a memory)"
    if event.event == "expire":
        return f"{moment(event.at_ms)}  expired  {key}  ({event.author})"
    value = "" if event.memory is None else f"  {_value(event.memory)[:200]}"
    return f"{moment(event.at_ms)}  {event.kind or '':7}  {key}{value}  ({event.author})"


def _show_space(space: SpaceStats) -> None:
    say(f"{space.name}: {space.memories} memories, {size(space.bytes)}, {space.conflicts} conflicts")
    say(f"  state {space.state_hash}")
    for what, counts in (("category", space.categories), ("type", space.types)):
        for name, count in counts.items():
            say(f"  {what} {name}: {count}")
    for author, tally in space.authors.items():
        say(f"  by {author}: {tally.memories}, {size(tally.bytes)}")
    for one in space.replicas:
        gap = f" and {one.beyond} beyond a gap" if one.beyond else ""
        say(f"  log of {one.author} [{one.incarnation}]: {one.held} changes{gap}")


def _row(memory: Memory) -> tuple[str, ...]:
    marks = [memory.space] if memory.space != "public" else []
    marks += ["conflict"] if memory.conflicts else []
    changed = moment(memory.updated_ms)
    return memory.key, memory.category, _value(memory), changed, memory.author, " ".join(marks)


def _value(memory: Memory) -> str:
    return ELSEWHERE if memory.elsewhere else brief(memory.value)
