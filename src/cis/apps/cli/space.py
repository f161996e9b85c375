"""``cis space``: parts of the memory with keys and members of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from cis.api.membership.trust_schema import (
    EVERYTHING,
    CreateSpace,
    KeepSpace,
    Kept,
    ListSpaces,
    ShareSpace,
    SpaceInfo,
)
from cis.apps.cli.printing import say, show_json, show_table, size
from cis.apps.cli.shared import Json, group, node_of
from cis.errors import UsageError

app = group("Spaces: parts of the memory with keys and members of their own.")

Name = Annotated[str, typer.Argument(help="The space's name.", show_default=False)]


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    members: Annotated[
        list[str] | None, typer.Option("--with", metavar="NODE", help="A member to write there; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a space with a key of its own; only an admin can. All admins have a part in it.

    Example: cis space create notes --with phone
    """
    with node_of(context) as node:
        made = node.call(CreateSpace(name=name, members=tuple(members or ())))
    if json:
        show_json(made)
        return
    say(f"{made.name} is made, for {', '.join(one.name for one in made.members)}")
    say(f"next: cis memory set KEY VALUE --space {made.name}")


@app.command("share")
def share(
    context: typer.Context,
    name: Name,
    member: Annotated[str, typer.Argument(metavar="NODE", help="A member's name or DID.", show_default=False)],
    role: Annotated[str, typer.Option(help="writer, reader, or blind: keeps and passes on what it cannot read.")] = (
        "writer"
    ),
    json: Json = False,
) -> None:
    """Give a member a part in a space, all that is in it so far included.

    Example: cis space share notes phone --role reader
    """
    if role not in {"writer", "reader", "blind"}:
        raise UsageError(f"role {role}: there are writer, reader and blind (`cis acl grant` makes admins)")
    with node_of(context) as node:
        granted = node.call(ShareSpace(space=name, node=member, role=role))  # type: ignore[arg-type] # one of the three
    if json:
        show_json(granted)
    else:
        say(f"{granted.name} {'is' if granted.changed else 'was already'} {role} in {name}")


@app.command("keep")
def keep(
    context: typer.Context,
    name: Name,
    everything: Annotated[bool, typer.Option("--all", help="Keep everything, and fetch what is lacking.")] = False,
    without_vectors: Annotated[
        bool,
        typer.Option("--without-vectors", help="Leave out what models made of texts: found by words alone."),
    ] = False,
    names: Annotated[
        bool, typer.Option("--names", help="Leave out values: they are listed, and fetched when they are read.")
    ] = False,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", "-p", help="Keep values only of keys that begin so; may be repeated."),
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", "-c", help="Keep values only of this category; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Say how much of a space this device keeps; without an option, show it.

    What is left out stays with other members, and only goes from here when one that keeps everything has told that it
    holds it. What was written on this device stays here in any case, and so do counters and sets. --prefix and
    --category may be given together: a value is kept that is of one of them.

    Example: cis space keep public --prefix work/ --without-vectors
    """
    keeps = Kept(
        vectors=not without_vectors, names=names, prefixes=tuple(prefix or ()), categories=tuple(category or ())
    )
    if everything and keeps != EVERYTHING:
        raise UsageError("--all leaves nothing out: give it alone")
    if names and (keeps.prefixes or keeps.categories):
        raise UsageError("--names keeps no value, --prefix and --category some: give one or the others")
    with node_of(context) as node:
        if everything or keeps != EVERYTHING:
            found = node.call(KeepSpace(space=name, keeps=keeps))
        else:
            spaces = node.call(ListSpaces())
            found = _find(spaces, name)
    if json:
        show_json(found)
        return
    say(f"{found.name}: this device keeps {described(found.keeps)}")
    if found.keeps != EVERYTHING or found.elsewhere:
        say(f"on other devices alone: {found.elsewhere} bodies")
        say(f"kept in full by: {', '.join(found.kept_by) or 'nobody that this device knows of, so nothing goes yet'}")


@app.command("list")
def list_spaces(context: typer.Context, json: Json = False) -> None:
    """List the spaces this node holds, with their members and how much is stored, readable here or not.

    Example: cis space list
    """
    with node_of(context) as node:
        found = node.call(ListSpaces())
    if json:
        show_json(found)
        return
    header = ("space", "this node", "memories", "changes", "size", "kept here", "", "members")
    show_table(header, [_row(one) for one in found])


def _row(one: SpaceInfo) -> tuple[str, ...]:
    state = "not readable here" if not one.readable else "" if one.usable else "waits for a new key"
    members = ", ".join(f"{member.name} ({member.role})" for member in one.members) or "this node alone"
    kept = described(one.keeps) + (f", {one.elsewhere} elsewhere" if one.elsewhere else "")
    return one.name, one.role or "", str(one.memories), str(one.changes), size(one.bytes), kept, state, members


def described(keeps: Kept) -> str:
    """Return in words what is kept of a space."""
    chosen = [f"under {prefix}" for prefix in keeps.prefixes] + [f"of {category}" for category in keeps.categories]
    if keeps.names:
        return "names alone" if keeps.vectors else "names alone, without vectors"
    if chosen:
        return f"values {', '.join(chosen)}" + ("" if keeps.vectors else ", without vectors") + ", and all names"
    return "everything" if keeps.vectors else "all but vectors"


def _find(spaces: Iterable[SpaceInfo], name: str) -> SpaceInfo:
    found = [one for one in spaces if one.name == name]
    if not found:
        raise UsageError(f"{name!r} is no space of this node: cis space list shows them")
    return found[0]
