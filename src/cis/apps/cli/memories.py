"""Commands over many memories: list, search, conflicts, watch, stats, import, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cis.api.memory_schema import (
    ListConflicts,
    ListMemories,
    Memory,
    MemoryStats,
    SearchMemories,
    Version,
    WatchMemories,
)
from cis.apps.cli.printing import brief, complain, moment, say, show_json, show_line, show_table, size, tell
from cis.apps.cli.progress import progress
from cis.apps.cli.shared import AnySpace, Json, Space, node_of, running_node
from cis.errors import UsageError

Prefix = Annotated[str, typer.Option("--prefix", "-p", help="Only keys that begin so.")]
Category = Annotated[str | None, typer.Option("--category", "-c", help="Only this category.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        ("list", list_memories),
        ("search", search),
        ("conflicts", conflicts),
        ("watch", watch),
        ("stats", stats),
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
        tell(f"there are more: cis memory list --after {shlex.quote(page.memories[-1].key)}")


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Words; the last may be the beginning of one.")],
    category: Category = None,
    space: AnySpace = None,
    limit: Annotated[int, typer.Option(help="At most so many, up to 1000.")] = 20,
    json: Json = False,
) -> None:
    """Find memories by words in key, value and tags, best first.

    Example: cis memory search "dark theme"
    """
    with node_of(context) as node:
        hits = node.call(SearchMemories(query=query, category=category, space=space, limit=limit))
    if json:
        show_json(hits)
        return
    if not hits:
        tell("nothing found")
        return
    show_table(("key", "category", "where"), [(one.memory.key, one.memory.category, one.snippet) for one in hits])


def conflicts(context: typer.Context, space: AnySpace = None, json: Json = False) -> None:
    """List memories that were changed in two places at once: what is shown, and what is kept beside it.

    Example: cis memory conflicts
    """
    with node_of(context) as node:
        found = node.call(ListConflicts(space=space))
    if json:
        show_json(found)
        return
    if not found:
        tell("no conflicts")
        return
    rows = [
        *((one.key, "shown", *_version(version)) for one in found for version in one.shown),
        *((one.key, "kept", *_version(version)) for one in found for version in one.others),
    ]
    show_table(("key", "", "by", "when", "value"), sorted(rows, key=lambda row: (row[0], row[1] == "kept")))


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
            elif event.memory is None:
                say(f"deleted  {event.key or '(a memory)'}")
            else:
                say(f"set      {event.key}  {brief(event.memory.value)[:200]}  ({event.memory.author})")
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
        say(f"{space.name}: {space.memories} memories, {size(space.bytes)}, {space.conflicts} conflicts")
        say(f"  state {space.state_hash}")
        for category, count in space.categories.items():
            say(f"  {category}: {count}")
        for one in space.replicas:
            gap = f" and {one.beyond} beyond a gap" if one.beyond else ""
            say(f"  {one.author} [{one.incarnation}]: {one.held} changes{gap}")
    say("files: " + ", ".join(f"{name} {size(count)}" for name, count in found.files.items()))


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


def _row(memory: Memory) -> tuple[str, ...]:
    marks = [memory.space] if memory.space != "public" else []
    marks += ["conflict"] if memory.conflicts else []
    changed = moment(memory.updated_ms)
    return memory.key, memory.category, brief(memory.value), changed, memory.author, " ".join(marks)


def _version(version: Version) -> tuple[str, str, str]:
    return version.author, moment(version.updated_ms), brief(version.value)
