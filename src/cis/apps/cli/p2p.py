"""``cis p2p``: the node's peers."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cis.api.peers.network_schema import (
    AuditResult,
    ConnectPeer,
    DisconnectPeer,
    SyncNow,
)
from cis.api.peers.reach_schema import ExplainPeer
from cis.apps.cli import bootstrap, dht, gossip, nodes, peers, reach, status, telemetry
from cis.apps.cli.printing import complain, say, show_json, size, spinner, tell
from cis.apps.cli.shared import Json, Timeout, group, running_node, seconds_of
from cis.errors import CisError

if TYPE_CHECKING:
    from cis.api.control.client import RemoteNode

app = group("Peers: who they are, connections, synchronisation.")

Peer = Annotated[str, typer.Argument(help="A member's name or DID, or the beginning of its DID.", show_default=False)]

app.command("start")(nodes.up)
app.command("stop")(nodes.down)
app.command("status")(status.status)
gossip.register(app)
reach.register(app)
peers.register(app)
telemetry.register(app)
app.add_typer(bootstrap.app, name="bootstrap")
app.add_typer(dht.app, name="dht")


@app.command("connect")
def connect(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="NAME, DID, NAME@HOST:PORT, DID@HOST:PORT or HOST:PORT.")],
    timeout: Timeout = "25s",
    json: Json = False,
) -> None:
    """Connect to a peer now; where that fails, say what became of each attempt.

    Example: cis p2p connect workstation@192.168.1.7:7677
    """
    with running_node(context) as node:
        began = time.monotonic()
        try:
            found = node.call(ConnectPeer(target=target, timeout_s=seconds_of(timeout)))
        except CisError:
            _tell_attempts(node, target.partition("@")[0], time.monotonic() - began + 1)
            raise
    if json:
        show_json(found)
    else:
        say(f"{'already ' if found.already else ''}connected to {found.name}")


@app.command("disconnect")
def disconnect(context: typer.Context, peer: Peer, json: Json = False) -> None:
    """Close the connection with a peer until `cis p2p connect`, or until the node starts anew.

    Example: cis p2p disconnect workstation
    """
    with running_node(context) as node:
        found = node.call(DisconnectPeer(target=peer))
    if json:
        show_json(found)
    else:
        say(f"disconnected from {found.name}")


@app.command("sync")
def sync(
    context: typer.Context,
    node_name: Annotated[str | None, typer.Option("--node", help="With this peer only.", show_default=False)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Then check this node's logs, compare everything, and mend what differs.")
    ] = False,
    timeout: Timeout = "60s",
    json: Json = False,
) -> None:
    """Compare with peers now and wait until all is exchanged.

    Example: cis p2p sync --node workstation --full
    """
    with running_node(context) as node, spinner("synchronising"):
        results = node.call(SyncNow(target=node_name, timeout_s=seconds_of(timeout), full=full))
    if json:
        show_json(results)
    for one in results:
        if one.error:
            complain(f"{one.name}: {one.error}")
        elif not json:
            moved = (
                f"{one.changes_received} changes received, {size(one.bytes_received)} in, {size(one.bytes_sent)} out"
            )
            say(f"{one.name}: in step, {moved}, {one.took_s * 1000:.0f} ms")
            if one.audit is not None:
                _say_audit(one.name, one.audit)
    if any(one.error for one in results):
        raise typer.Exit(CisError.exit_code)


def _tell_attempts(node: RemoteNode, peer: str, within_s: float) -> None:
    """Show what became of the attempts since then, where there were any at a member."""
    with contextlib.suppress(CisError):
        for one in node.call(ExplainPeer(target=peer, within_s=within_s)):
            tell(f"  {one.where}: {one.outcome} ({one.took_s:.1f} s)")


def _say_audit(name: str, audit: AuditResult) -> None:
    say(f"{name}: {audit.compared} living changes compared, {audit.checked} changes of the logs here verified")
    if audit.damaged or audit.derived_anew:
        say(f"  here: {audit.damaged} damaged runs of changes found, {audit.derived_anew} memories derived anew")
    for place, tally in (("here", audit.here), (f"at {name}", audit.there)):
        if tally.wrong or tally.fetched or tally.missing:
            say(
                f"  {place}: {tally.wrong} divergences, {tally.mended} of them mended, "
                f"{tally.fetched} missing bodies fetched, {tally.missing} still missing"
            )
        else:
            say(f"  {place}: no divergence")
    if audit.unfinished:
        say("  more differs than one audit takes: run it again")
