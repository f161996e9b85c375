"""Commands about this node: init, up, down, status, invite, join."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cis.apps.cli.printing import ago, draw_qr, moment, say, say_renamed, show_json, show_table, tell
from cis.apps.cli.shared import Json, Spaces, agree, confirm, home_in, node_of, running_node, seconds_of
from cis.errors import UsageError

if TYPE_CHECKING:
    from cis.api.network_schema import NodeStatus


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, up, down, status, invite, join):
        app.command()(command)


def init(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="What others call this node; else the host's name.", show_default=False)
    ] = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="Never open a socket.")] = False,
    public_stun: Annotated[
        bool | None,
        typer.Option(
            "--public-stun/--no-public-stun",
            help="Whether public STUN servers may be asked for this node's public address; else it is asked, or no.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a node: identity, encrypted store, a cluster of one; and show the cluster's recovery key, this once.

    Public STUN servers help devices on different networks to find a direct way to each other. They see this node's
    public address, and that it uses STUN. Without your consent none is asked.

    Example: cis init --name laptop
    """
    from cis.api.setup import create_node

    home = home_in(context)
    if public_stun is None and not (json or standalone):
        public_stun = _ask_public_stun(home)
    created = create_node(home, name, standalone=standalone, public_stun=public_stun)
    if json:
        show_json(
            {
                "name": created.name,
                "did": created.did,
                "home": str(created.home),
                "recovery_key": created.recovery_key,
            }
        )
        return
    say(f"{created.name} is made in {created.home}")
    say(f"  {created.did}")
    say("its cluster's recovery key, kept nowhere else: write it down, and keep it apart from all devices")
    say(f"  {created.recovery_key}")
    say("it removes any device, admins too: cis acl revoke NODE --recovery-key")
    say("next: cis up --detach" if not standalone else 'next: cis memory set editor "dark mode"')


def _ask_public_stun(home: Path) -> bool | None:
    """Ask whether public STUN servers may be used; None where nobody is there, or nothing is to be asked."""
    from cis.api.setup import public_stun_question

    question = public_stun_question(home)
    return confirm(question) if question is not None else None


def up(
    context: typer.Context,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 for any.", show_default=False)
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    passphrase_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key's passphrase; - is stdin.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Start the node: find the others, connect, stay in step. Ctrl-C ends it.

    Example: cis up --detach
    """
    from cis.api.passphrases import needs_passphrase, use_passphrase_file
    from cis.api.starting import flags_of, run_here, start_detached

    home, flags = home_in(context), flags_of(listen)
    if passphrase_file is not None:
        use_passphrase_file(passphrase_file)
        if not needs_passphrase(home):
            tell(f"the key of this node is under no passphrase: {passphrase_file} is not used (`cis key show`)")
    if not detach:
        run_here(home, flags, lambda node: tell(f"{node.name} is up{_where(node.listen)}"))
        return
    started = start_detached(home, flags)
    if json:
        show_json(started.status)
        return
    say(f"{started.status.name} is up{_where(started.status.listen)} (process {started.status.pid})")
    say(f"  its log: {started.log}")


def down(context: typer.Context) -> None:
    """Stop the running node.

    Example: cis down
    """
    from cis.api.starting import stop

    pid = stop(home_in(context))
    say(f"stopped (process {pid})")


def status(context: typer.Context, json: Json = False) -> None:
    """Show how this node is, and what does not work and why.

    Example: cis status
    """
    from cis.api.network_schema import GetStatus

    with node_of(context) as node:
        found = node.call(GetStatus())
    if json:
        show_json(found)
        return
    _say_status(found)


def _say_status(found: NodeStatus) -> None:
    from cis.api.reach_notes import notes_of

    running = f"up for {ago(found.uptime_s)}{_where(found.listen)}" if found.running else "not running: cis up"
    say(f"node      {found.name} ({found.role}), {running}")
    say(f"          {found.did}")
    say(f"home      {found.home}")
    say(f"cluster   {found.cluster[:16]}: {', '.join(found.members)}")
    if found.removed_by is not None:
        when = f", {moment(found.removed_ms)}" if found.removed_ms else ""
        say(f"removed   this node is no member any more: it was removed by {found.removed_by}{when}")
        say("          what it holds stays here; to come back: an admin's `cis invite`, then `cis join` here")
    if found.running:
        say(f"connected {', '.join(found.connected) or ('none' if found.networking else 'networking is off')}")
    if found.quarantined:
        say(f"          {', '.join(found.quarantined)} in quarantine: nothing is exchanged")
    say(f"memories  {found.memories} public")
    for note in notes_of(found.reach) if found.reach is not None else ():
        say(f"reach     {note.found} ({note.fix})")
    for where, why in found.problems.items():
        age_s = found.problem_ages_s.get(where)
        say(f"problem   {where}: {why}{f' ({ago(age_s)} ago)' if age_s is not None else ''}")
    for name, left_s in found.banned.items():
        say(f"banned    {name}: it broke the protocol; {ago(left_s)} left")
    if found.turned_away:
        counts = (f"{count} {what.replace('_', ' ')}" for what, count in found.turned_away.items())
        say(f"limits    {', '.join(counts)}")


def invite(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="What the new node will be called.", show_default=False)] = None,
    role: Annotated[str, typer.Option(help="admin, writer, reader, or blind: keeps what it cannot read.")] = "writer",
    space: Spaces = None,
    expires: Annotated[str, typer.Option(help="How long the ticket works: 90s, 10m, 2h, 7d.")] = "10m",
    qr: Annotated[
        bool | None, typer.Option("--qr/--no-qr", help="Draw it as a QR code too; else only on a terminal.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the tickets made here that are still good.")] = False,
    cancel: Annotated[
        str | None, typer.Option(metavar="ID", help="Make a ticket void, by its id in the list.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Make a ticket by which one other node can join, to the public space unless spaces are named; it works once.

    Example: cis invite --name workstation
    """
    from cis.api.network_schema import Invite

    if listed or cancel is not None:
        _see_to_tickets(context, cancel, json=json)
        return
    if role not in {"admin", "writer", "reader", "blind"}:
        raise UsageError(f"role {role}: there are admin, writer, reader and blind")
    request = Invite(name=name, expires_s=seconds_of(expires), role=role, spaces=tuple(space or ()))  # type: ignore[arg-type] # one of the four
    with running_node(context) as node:
        invited = node.call(request)
    if json:
        show_json(invited)
        return
    say(invited.ticket)
    if qr if qr is not None else sys.stdout.isatty():
        draw_qr(invited.ticket.upper())
    tell(f"on the other device: cis join {invited.ticket[:12]}…  (works once, until {moment(invited.expires_ms)})")


def _see_to_tickets(context: typer.Context, cancel: str | None, *, json: bool) -> None:
    from cis.api.trust_schema import CancelTicket, ListTickets

    with node_of(context) as node:
        found = (node.call(CancelTicket(id=cancel)),) if cancel is not None else node.call(ListTickets())
    if json:
        show_json(found)
    elif cancel is not None:
        say(f"ticket {found[0].id} is void: nobody joins by it any more")
    elif not found:
        say("no ticket is open")
    else:
        rows = [
            (
                one.id,
                one.name or "",
                one.role,
                ", ".join(one.spaces) or "all",
                one.bound_to or "",
                moment(one.expires_ms),
            )
            for one in found
        ]
        show_table(("id", "name", "role", "spaces", "only for", "until"), rows)


def join(
    context: typer.Context,
    ticket: Annotated[str, typer.Argument(help="What `cis invite` printed there; - reads it from stdin.")],
    name: Annotated[
        str | None, typer.Option(help="What others are to call this node, unless the invite says.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before public memories move.")] = False,
    json: Json = False,
) -> None:
    """Join the cluster a ticket is for; this node's public memories come along.

    Example: cis join cis1mf2w…
    """
    from cis.api.client import connect_daemon
    from cis.api.setup import Joiner, check_ticket

    home, text = home_in(context), sys.stdin.readline() if ticket == "-" else ticket
    check_ticket(text)
    if connect_daemon(home) is not None:
        raise UsageError("the node is running: stop it with `cis down`, join, then `cis up`")
    with Joiner(home, text, name) as joiner:
        plan = joiner.plan()
        if plan.public_memories and not yes:
            what = "public memory" if plan.public_memories == 1 else "public memories"
            agree(
                f"{plan.public_memories} {what} of this node will be shared with the cluster it joins; where it may "
                "only read there, they stay here, in private. Go on?"
            )
        joined = joiner.join()
    if json:
        show_json(joined)
        return
    say(f"{joined.name} is a member now, with {', '.join(one for one in joined.members if one != joined.name)}")
    say_renamed(joined.renamed)
    say("next: cis up --detach")


def _where(listen: str | None) -> str:
    return f", listening on {listen}" if listen else ", opening no socket"
