"""``cis space``: parts of the memory with keys and members of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from cis.api.membership.trust_schema import CreateSpace, ListSpaces, ShareSpace, SpaceInfo
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
    header = ("space", "this node", "memories", "changes", "size", "", "members")
    show_table(header, [_row(one) for one in found])


def _row(one: SpaceInfo) -> tuple[str, ...]:
    state = "not readable here" if not one.readable else "" if one.usable else "waits for a new key"
    members = ", ".join(f"{member.name} ({member.role})" for member in one.members) or "this node alone"
    return one.name, one.role or "", str(one.memories), str(one.changes), size(one.bytes), state, members
