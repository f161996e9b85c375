"""Commands about this node: init, up, down, status, invite, join."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cis.apps.cli.bootstrap import telling_of
from cis.apps.cli.printing import draw_qr, moment, say, say_renamed, show_json, show_table, tell
from cis.apps.cli.shared import Json, Spaces, agree, confirm, home_in, node_of, running_node, seconds_of
from cis.apps.cli.status import where
from cis.errors import UsageError

Listen = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 for any.", show_default=False)
]
PassphraseFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="Holds the key's passphrase; - is stdin.", show_default=False)
]
MaxRuntime = Annotated[
    str | None, typer.Option(metavar="TIME", help="End after so long: 90s, 10m, 2h.", show_default=False)
]
Until = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="End when it holds: synced, or peers, members or memories compared by >=, > or = with a number; "
        "repeated, when all hold at one moment.",
        show_default=False,
    ),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="End after N failed dials in a row with no member connected, or N failed sessions in a row.",
        show_default=False,
    ),
]
PrintBootstrap = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Print the list of `cis p2p bootstrap` every so often, and at the end; with --detach, to the log.",
        show_default=False,
    ),
]


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
    public_dht: Annotated[
        bool | None,
        typer.Option(
            "--public-dht/--no-public-dht",
            help="Whether the public BitTorrent DHT may be used to find your devices; else it is asked, or no.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a node: identity, encrypted store, a cluster of one; and show the cluster's recovery key, this once.

    Public STUN servers help devices on different networks to find a direct way to each other. They see this node's
    public address, and that it uses STUN. The DHT helps them to find each other with nothing of your own to run.
    Without your consent neither is used.

    Example: cis init --name laptop
    """
    from cis.api.setup import DHT_SETTING, PUBLIC_STUN_SETTING, create_node, questions

    home, consents = home_in(context), {PUBLIC_STUN_SETTING: public_stun, DHT_SETTING: public_dht}
    for setting, question in questions(home).items() if not (json or standalone) else ():
        if consents[setting] is None:
            consents[setting] = confirm(question)
    created = create_node(home, name, standalone=standalone, consents=consents)
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
    listen: Listen = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    passphrase_file: PassphraseFile = None,
    max_runtime: MaxRuntime = None,
    until: Until = None,
    max_failures: MaxFailures = None,
    print_bootstrap: PrintBootstrap = None,
    json: Json = False,
) -> None:
    """Start the node: find the others, connect, stay in step. Ctrl-C ends it, or what you say here.

    It is synced when it is connected with a member, no session is under way or due with any, and each connected one,
    asked then, holds the same as this node of all spaces both share. Exit codes: 0 once every --until holds, when it
    was stopped, or when --max-runtime was all that was asked; 5 when --max-runtime ended it before every --until held;
    1 after --max-failures. The last line says why, with --detach that of the log.

    Example: cis up --until 'peers>=3' --until synced --max-runtime 10m --max-failures 20
    """
    from cis.api.ending import Ended, terms_of
    from cis.api.membership.passphrases import needs_passphrase, use_passphrase_file
    from cis.api.starting import flags_of, run_here, start_detached

    home, flags = home_in(context), flags_of(listen)
    terms = terms_of(seconds_of(max_runtime) if max_runtime is not None else None, until or (), max_failures)
    if passphrase_file is not None:
        use_passphrase_file(passphrase_file)
        if not needs_passphrase(home):
            tell(f"the key of this node is under no passphrase: {passphrase_file} is not used (`cis key show`)")
    if not detach:
        ended = run_here(
            home,
            flags,
            lambda node: tell(f"{node.name} is up{where(node.listen)}"),
            terms,
            telling_of(print_bootstrap),
        )
        tell(f"ended: {ended.why}")
        raise typer.Exit(ended.code)
    words = () if print_bootstrap is None else ("--print-bootstrap", print_bootstrap)
    started = start_detached(home, flags, terms, words)
    if isinstance(started, Ended):
        tell(f"ended: {started.why}")
        raise typer.Exit(started.code)
    if json:
        show_json(started.status)
        return
    say(f"{started.status.name} is up{where(started.status.listen)} (process {started.status.pid})")
    say(f"  its log: {started.log}")


def down(context: typer.Context) -> None:
    """Stop the running node.

    Example: cis down
    """
    from cis.api.starting import stop

    pid = stop(home_in(context))
    say(f"stopped (process {pid})")


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
    """Make a ticket by which one other node can join, to the public space and those named; it works once.

    Example: cis invite --name workstation
    """
    from cis.api.peers.network_schema import Invite

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
    from cis.api.membership.trust_schema import CancelTicket, ListTickets

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
    from cis.api.control.client import connect_daemon
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
