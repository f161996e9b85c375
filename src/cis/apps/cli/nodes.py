"""Commands about this node: init, up, down, status, invite, join."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cis.apps.cli.printing import ago, draw_qr, moment, say, say_renamed, show_json, tell
from cis.apps.cli.shared import Json, Spaces, agree, home_in, node_of, running_node, seconds_of
from cis.errors import UsageError


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
    json: Json = False,
) -> None:
    """Make a node: identity, encrypted store, a cluster of one; and show the cluster's recovery key, this once.

    Example: cis init --name laptop
    """
    from cis.api.setup import create_node

    created = create_node(home_in(context), name, standalone=standalone)
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
    from cis.api.passphrases import use_passphrase_file
    from cis.api.starting import flags_of, run_here, start_detached

    if passphrase_file is not None:
        use_passphrase_file(passphrase_file)
    home, flags = home_in(context), flags_of(listen)
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
    running = f"up for {ago(found.uptime_s)}{_where(found.listen)}" if found.running else "not running: cis up"
    say(f"node      {found.name} ({found.role}), {running}")
    say(f"          {found.did}")
    say(f"home      {found.home}")
    say(f"cluster   {found.cluster[:16]}: {', '.join(found.members)}")
    if found.running:
        say(f"connected {', '.join(found.connected) or ('none' if found.networking else 'networking is off')}")
    if found.quarantined:
        say(f"          {', '.join(found.quarantined)} in quarantine: nothing is exchanged")
    say(f"memories  {found.memories} public")
    for where, why in found.problems.items():
        say(f"problem   {where}: {why}")
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
    json: Json = False,
) -> None:
    """Make a ticket by which one other node can join, to the public space unless spaces are named; it works once.

    Example: cis invite --name workstation
    """
    from cis.api.network_schema import Invite

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
    from cis.api.setup import Joiner

    home = home_in(context)
    if connect_daemon(home) is not None:
        raise UsageError("the node is running: stop it with `cis down`, join, then `cis up`")
    with Joiner(home, sys.stdin.readline() if ticket == "-" else ticket, name) as joiner:
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
