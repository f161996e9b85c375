"""Commands about this node: init, up, down, status, invite, join."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cis.apps.cli.printing import ago, moment, say, show_json, tell
from cis.apps.cli.shared import Json, home_in, node_of, running_node, seconds_of
from cis.errors import CisError, UsageError


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
    """Make a node: identity, encrypted store, a cluster of one.

    Example: cis init --name laptop
    """
    from cis.api.setup import create_node

    created = create_node(home_in(context), name, standalone=standalone)
    if json:
        show_json({"name": created.name, "did": created.did, "home": str(created.home)})
        return
    say(f"{created.name} is made in {created.home}")
    say(f"  {created.did}")
    say("next: cis up --detach" if not standalone else 'next: cis memory set editor "dark mode"')


def up(
    context: typer.Context,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 for any.", show_default=False)
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    json: Json = False,
) -> None:
    """Start the node: find the others, connect, stay in step. Ctrl-C ends it.

    Example: cis up --detach
    """
    from cis.api.starting import flags_of, run_here, start_detached

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
    say(f"memories  {found.memories} public")
    for where, why in found.problems.items():
        say(f"problem   {where}: {why}")


def invite(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="What the new node will be called.", show_default=False)] = None,
    expires: Annotated[str, typer.Option(help="How long the ticket works.")] = "10m",
    qr: Annotated[bool, typer.Option("--qr", help="Also draw it as a QR code.")] = False,
    json: Json = False,
) -> None:
    """Make a ticket by which one other node can join; it works once.

    Example: cis invite --name workstation
    """
    from cis.api.network_schema import Invite

    with running_node(context) as node:
        invited = node.call(Invite(name=name, expires_s=seconds_of(expires)))
    if json:
        show_json(invited)
        return
    say(invited.ticket)
    if qr:
        import segno

        segno.make(invited.ticket.upper(), error="l").terminal(out=sys.stdout, compact=True, border=2)
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
    with Joiner(home, sys.stdin.readline() if ticket == "-" else ticket) as joiner:
        plan = joiner.plan()
        if plan.public_memories and not yes:
            what = "public memory" if plan.public_memories == 1 else "public memories"
            _ask(f"{plan.public_memories} {what} of this node will be shared with the cluster it joins. Go on?")
        joined = joiner.join(name)
    if json:
        show_json({"name": joined.name, "cluster": joined.cluster, "members": joined.members, "moved": joined.moved})
        return
    say(f"{joined.name} is a member now, with {', '.join(one for one in joined.members if one != joined.name)}")
    say("next: cis up --detach")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Add --yes to agree")
    if not typer.confirm(question, err=True):
        raise CisError("stopped: nothing was changed")


def _where(listen: str | None) -> str:
    return f", listening on {listen}" if listen else ", opening no socket"
