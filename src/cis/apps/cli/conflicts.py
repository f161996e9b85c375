"""``cis memory conflicts`` and ``resolve``: what was changed in two places at once, and which of it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cis.api.memories.memory_schema import ELSEWHERE, Conflict, ListConflicts, ResolveConflict, Sibling
from cis.apps.cli import numbering
from cis.apps.cli.printing import brief, moment, say, show_json, show_table, show_value, tell
from cis.apps.cli.shared import AnySpace, Json, Key, Space, home_in, node_of
from cis.apps.cli.values import read_value
from cis.errors import CisError, Elsewhere, UsageError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("conflicts")(conflicts)
    app.command("resolve")(resolve)


def conflicts(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="Only this memory, with how its values differ.")] = None,
    number: Annotated[
        str | None, typer.Option("--print", help="Print one value of it as it is, named by number or id.")
    ] = None,
    space: AnySpace = None,
    limit: Annotated[int, typer.Option(help="At most so many memories, up to 1000.")] = 100,
    json: Json = False,
) -> None:
    """List memories that were changed in two places at once; of one memory, how its values differ.

    The first value is the one shown by other commands; the others are kept beside it until `cis memory resolve`.

    Example: cis memory conflicts notes/plan
    """
    with node_of(context) as node:
        found = node.call(ListConflicts(key=key, space=space, limit=limit))
    if number is not None:
        chosen = _one_value(found, number)
        if chosen.elsewhere:
            raise Elsewhere(
                f"that value of {key!r} is on other devices: connect one that has it, `cis p2p connect NODE`"
            )
        show_value(chosen.value, chosen.form)
        return
    numbering.remember(home_in(context), found)
    if json:
        show_json(found)
    elif not found:
        tell("no conflicts" if key is None else f"{key!r} is in no conflict")
    elif key is None:
        header = ("key", "", "id", "by", "when", "value")
        show_table(header, [row for one in found for row in _rows(one)])
        tell("how they differ: cis memory conflicts KEY")
        if len(found) == limit:
            tell(f"there may be more than these {limit}: add --limit")
    else:
        for one in found:
            _show(one)


def resolve(
    context: typer.Context,
    key: Key,
    keep: Annotated[str | None, typer.Option(help="Keep this value: its number, or its id.")] = None,
    merge: Annotated[Path | None, typer.Option(help="Keep what this file says instead; - reads stdin.")] = None,
    value: Annotated[str | None, typer.Option(help="Keep this text instead.")] = None,
    as_json: Annotated[bool, typer.Option("--as-json", help="What is given is JSON.")] = False,
    space: Space = "public",
    json: Json = False,
) -> None:
    """End a conflict on all nodes: keep one of the values, or one made of them.

    Numbers are those that `cis memory conflicts` showed last. Where other values came since then nothing is changed.

    Example: cis memory resolve notes/plan --keep 2
    """
    if sum(one is not None for one in (keep, merge, value)) != 1:
        raise UsageError("give one of --keep, --merge and --value")
    home = home_in(context)
    with node_of(context) as node:
        found = node.call(ListConflicts(key=key, space=space))
        if not found:
            raise CisError(f"{key!r} in {space} is in no conflict: nothing was changed")
        (conflict,) = found
        noted = numbering.shown(home, conflict)
        ids = tuple(noted or (one.id for one in conflict.values))
        chosen = None if keep is None else _id_of(keep, ids)
        given, form = (None, None) if keep is not None else _given(value, merge, conflict, as_json=as_json)
        request = ResolveConflict(key=key, space=space, keep=chosen, value=given, form=form, seen=ids)  # type: ignore[arg-type] # one of the three
        saved = node.call(request)
    numbering.forget(home, conflict)
    if json:
        show_json(saved)
    else:
        say(f"resolved {key}: {len(conflict.values)} values are one")


def _given(value: str | None, merge: Path | None, conflict: Conflict, *, as_json: bool) -> tuple[Any, str]:
    """Read what is to stay; where what is shown is JSON, it is JSON too."""
    as_json = as_json or (conflict.values[0].type, conflict.values[0].form) == ("register", "json")
    from_stdin = merge is not None and str(merge) == "-"
    return read_value("-" if from_stdin else value, None if from_stdin else merge, as_json=as_json)


def _id_of(named: str, ids: tuple[str, ...]) -> str:
    """Return the id that a number stood for when it was shown; an id is left to the node."""
    place = int(named) if named.isdecimal() and len(named) < 4 else 0
    return ids[place - 1] if 0 < place <= len(ids) else named


def _one_value(found: tuple[Conflict, ...], named: str) -> Sibling:
    if len(found) != 1:
        raise UsageError("--print needs one memory in conflict: name its key, and its --space where there are two")
    values = found[0].values
    chosen = _id_of(named, tuple(value.id for value in values))
    match = [value for value in values if value.id == chosen or (len(chosen) >= 4 and value.id.startswith(chosen))]
    if len(match) != 1:
        raise UsageError(f"there is no value {named!r}: they are 1 to {len(values)}")
    return match[0]


def _rows(conflict: Conflict) -> list[tuple[Any, ...]]:
    name = conflict.key if conflict.space == "public" else f"{conflict.key} ({conflict.space})"
    return [
        (name, f"{one.number}{' shown' if one.shown else ''}", one.id, one.author, moment(one.updated_ms), _brief(one))
        for one in conflict.values
    ]


def _brief(value: Sibling) -> str:
    from cis.api.memories.differences import kind_of

    if value.elsewhere:
        return ELSEWHERE
    return brief(value.value) if value.type == "register" else f"{kind_of(value)}: {brief(value.value)}"


def _show(conflict: Conflict) -> None:
    from cis.api.memories.differences import differences, kind_of, listing

    where = "" if conflict.space == "public" else f" in {conflict.space}"
    say(f"{conflict.key}{where}: {len(conflict.values)} values, written apart")
    for one in conflict.values:
        marks = f"{kind_of(one)}, {one.category}" + (", shown" if one.shown else "")
        say(f"  {one.number} [{one.id}]  by {one.author} ({one.device}), {moment(one.updated_ms)}; {marks}")
    first, *others = conflict.values
    for other in others:
        say("")
        for line in differences(first, other):
            say(line)
    command = listing(conflict.key, conflict.space, "resolve")
    tell(f"to end it: {command} --keep NUMBER, --merge FILE or --value TEXT")
