"""``cis p2p``: the node's peers."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cis.api.network_schema import (
    ConnectPeer,
    DisconnectPeer,
    ListPeers,
    PeerInfo,
    PingPeer,
    SyncNow,
)
from cis.apps.cli import nodes
from cis.apps.cli.printing import ago, complain, is_terminal, say, show_json, show_table, size
from cis.apps.cli.shared import Json, group, running_node, seconds_of
from cis.errors import CisError

app = group("Peers: who they are, connections, synchronisation.")

Peer = Annotated[str, typer.Argument(help="A member's name or DID, or the beginning of its DID.", show_default=False)]
Timeout = Annotated[str, typer.Option(help="How long to wait.")]

app.command("start")(nodes.up)
app.command("stop")(nodes.down)
app.command("status")(nodes.status)


@app.command("peers")
def peers(
    context: typer.Context,
    discovered: Annotated[bool, typer.Option("--discovered", help="Only those whose address is known.")] = False,
    connected: Annotated[bool, typer.Option("--connected", help="Only those connected now.")] = False,
    json: Json = False,
) -> None:
    """List peers and how things stand with them.

    Example: cis p2p peers --connected
    """
    which: Literal["all", "connected", "discovered"] = (
        "connected" if connected else "discovered" if discovered else "all"
    )
    with running_node(context) as node:
        found = node.call(ListPeers(which=which))
    if json:
        show_json(found)
        return
    show_table(("name", "state", "address", "for", "rtt", "clock", "last error"), [_peer(one) for one in found])


@app.command("connect")
def connect(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="NAME, DID, NAME@HOST:PORT, DID@HOST:PORT or HOST:PORT.")],
    timeout: Timeout = "10s",
    json: Json = False,
) -> None:
    """Connect to a peer now.

    Example: cis p2p connect workstation@192.168.1.7:7677
    """
    with running_node(context) as node:
        found = node.call(ConnectPeer(target=target, timeout_s=seconds_of(timeout)))
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


@app.command("ping")
def ping(
    context: typer.Context,
    peer: Peer,
    count: Annotated[int, typer.Option("--count", "-n", help="How often.")] = 4,
    timeout: Timeout = "5s",
    json: Json = False,
) -> None:
    """Measure the round trip to a connected peer.

    Example: cis p2p ping workstation
    """
    with running_node(context) as node:
        found = node.call(PingPeer(target=peer, count=count, timeout_s=seconds_of(timeout)))
    if json:
        show_json(found)
        return
    least, mean, most = min(found.rtt_ms), sum(found.rtt_ms) / len(found.rtt_ms), max(found.rtt_ms)
    say(f"{found.name}: {len(found.rtt_ms)} round trips, {least:.2f} / {mean:.2f} / {most:.2f} ms (least, mean, most)")
    say(f"its clock is {found.skew_ms:+d} ms from ours")


@app.command("sync")
def sync(
    context: typer.Context,
    node_name: Annotated[str | None, typer.Option("--node", help="With this peer only.", show_default=False)] = None,
    timeout: Timeout = "60s",
    json: Json = False,
) -> None:
    """Compare with peers now and wait until all is exchanged.

    Example: cis p2p sync --node workstation
    """
    with running_node(context) as node, _spinner("synchronising"):
        results = node.call(SyncNow(target=node_name, timeout_s=seconds_of(timeout)))
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
    if any(one.error for one in results):
        raise typer.Exit(CisError.exit_code)


@app.command("sync-status")
def sync_status(context: typer.Context, json: Json = False) -> None:
    """Show how synchronisation with each peer stands.

    Example: cis p2p sync-status
    """
    with running_node(context) as node:
        found = node.call(ListPeers())
    if json:
        show_json(found)
        return
    show_table(
        ("name", "state", "sync", "sessions", "received", "in", "out", "last error"), [_sync(one) for one in found]
    )


def _peer(peer: PeerInfo) -> tuple[str, ...]:
    lasting = ago(peer.connected_s) if peer.connected_s is not None else ""
    rtt = f"{peer.rtt_ms:.1f} ms" if peer.rtt_ms is not None else ""
    clock = f"{peer.skew_ms:+d} ms" if peer.skew_ms is not None else ""
    return (peer.name or "?", peer.state, peer.address or "", lasting, rtt, clock, peer.last_error)


def _sync(peer: PeerInfo) -> tuple[str, ...]:
    when = "going on" if peer.syncing else f"{ago(peer.in_step_s)} ago" if peer.in_step_s is not None else "never"
    counts = (str(peer.sessions), str(peer.changes_received), size(peer.bytes_received), size(peer.bytes_sent))
    return (peer.name or "?", peer.state, when, *counts, peer.last_error)


def _spinner(what: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a context manager of either kind
    if not is_terminal():
        import contextlib

        return contextlib.nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)
