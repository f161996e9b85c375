"""``cis p2p dht``: how this node stands in the Mainline DHT, and what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cis.api.peers.dht_schema import (
    AnnounceInDht,
    DhtNode,
    DhtStatus,
    EnterDht,
    FindDhtNodes,
    GetDhtItem,
    GetDhtStatus,
    ListDhtNodes,
    PutDhtItem,
)
from cis.apps.cli.printing import ago, say, show_json, show_table, size, spinner, tell
from cis.apps.cli.shared import Json, group, home_in, running_node
from cis.errors import CisError

app = group("The Mainline DHT: finding nodes over the internet with nothing of your own to run (docs/dht.md).")

Salt = Annotated[str, typer.Option(help="Tells several items under one key apart.")]


@app.command("status")
def status(context: typer.Context, json: Json = False) -> None:
    """Show whether the DHT is on, whom this node knows there, and whether its own record is kept.

    Example: cis p2p dht status
    """
    with running_node(context) as node:
        found = node.call(GetDhtStatus())
    if json:
        show_json(found)
    else:
        _say_status(found)


def _say_status(found: DhtStatus) -> None:
    if not found.on:
        say("off: cis config set p2p.discovery.enable_dht true, then cis down; cis up --detach")
        if not found.installed:
            say("it needs libtorrent too: pip install 'cis-node[dht]'")
        return
    kind = "the public network" if found.public else "a network of your own"
    say(f"on        {kind}{', answering nobody' if found.read_only else ''}")
    if found.problem:
        say(f"problem   {found.problem}")
    say(f"listening {', '.join(found.addresses) or 'not yet'}")
    say(f"nodes     {found.nodes} known; {found.items} items kept for others")
    when = f"{ago(found.put_s)} ago" if found.put_s is not None else "not yet"
    say(f"record    kept by {found.copies or 0} nodes, put {when}")
    say(f"members   {found.looked} searches, {found.found} found one")
    say(f"traffic   {size(found.bytes_in)} in, {size(found.bytes_out)} out")


@app.command("routing-table")
def routing_table(context: typer.Context, json: Json = False) -> None:
    """List the nodes of the DHT this node knows; they are strangers.

    Example: cis p2p dht routing-table
    """
    with running_node(context) as node:
        found = node.call(ListDhtNodes())
    _show_nodes(found, json=json)


@app.command("find-node")
def find_node(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="40 hexadecimal digits.", show_default=False)],
    json: Json = False,
) -> None:
    """Search for an id, and list the nodes that answer closest to it, the closest first.

    Example: cis p2p dht find-node 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b
    """
    with running_node(context) as node, spinner("searching"):
        found = node.call(FindDhtNodes(id=id_))
    _show_nodes(found, json=json)


def _show_nodes(found: tuple[DhtNode, ...], *, json: bool) -> None:
    if json:
        show_json(found)
    elif not found:
        say("none: `cis p2p dht status` says why")
    else:
        show_table(("id", "address"), [(one.id, one.address) for one in found])


@app.command("get")
def get(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="What `put` printed: a hash, or a public key.", show_default=False)],
    salt: Salt = "",
    json: Json = False,
) -> None:
    """Read an item of the DHT. Whoever put it there, it is a stranger's word.

    Example: cis p2p dht get e5f96f6f38320f0f33959cb4d3d656452117aadb
    """
    with running_node(context) as node, spinner("searching"):
        found = node.call(GetDhtItem(target=target, salt=salt))
    if json:
        show_json(found)
        return
    say(found.text if found.text is not None else found.hex or "")
    number = f", number {found.number}" if found.number is not None else ""
    tell(f"{found.size} bytes{'' if found.text is not None else ', shown in hexadecimal'}{number}")


@app.command("put")
def put(
    context: typer.Context,
    value: Annotated[str, typer.Argument(help="Up to 996 bytes, for all to read.", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option(help="Put it under the key in this file, which is made if need be.", show_default=False),
    ] = None,
    salt: Salt = "",
    json: Json = False,
) -> None:
    """Put a text into the DHT, to see whether it works, and print what it is read by.

    Without a key it lies under its own hash; with one, putting again replaces it. It stays an hour or two.

    Example: cis p2p dht put "hello" --key ./try.key
    """
    from cis.api.peers.dht_files import seed_in

    seed = seed_in(key) if key is not None else None
    with running_node(context) as node, spinner("putting"):
        found = node.call(PutDhtItem(value=value, seed=seed, salt=salt))
    if json:
        show_json(found)
    else:
        say(found.target)
        tell(f"{found.copies} nodes took it; cis p2p dht get reads it")


@app.command("announce")
def announce(context: typer.Context, json: Json = False) -> None:
    """Put this node's sealed record now; that happens by itself every few minutes.

    Example: cis p2p dht announce
    """
    with running_node(context) as node, spinner("announcing"):
        found = node.call(AnnounceInDht())
    if json:
        show_json(found)
    elif found.copies:
        say(f"{found.copies} nodes took it")
    if not found.copies:
        raise CisError("no node of the DHT took it: `cis p2p dht status` says how many are known")


@app.command("add-bootstrap")
def add_bootstrap(
    context: typer.Context,
    entry: Annotated[str, typer.Argument(metavar="HOST:PORT", help="A node of the DHT.", show_default=False)],
    json: Json = False,
) -> None:
    """Add an entry point of your own to the settings; a running node uses it at once.

    Example: cis p2p dht add-bootstrap dht.example.net:6881
    """
    from cis.api.control.client import connect_daemon
    from cis.api.peers.dht_files import add_entry

    home = home_in(context)
    entries, on = add_entry(home, entry), None
    if (node := connect_daemon(home)) is not None:
        with node:
            on = node.call(EnterDht(entry=entry)).on
    if json:
        show_json({"entries": entries, "used": bool(on)})
        return
    say(f"{entries[0]} is an entry point now")
    if on is False:
        tell("the DHT is off: cis config set p2p.discovery.enable_dht true, then cis down; cis up --detach")


@app.command("list-bootstrap")
def list_bootstrap(context: typer.Context, json: Json = False) -> None:
    """List the entry points: those of the settings, and the public ones unless they are turned off.

    Example: cis p2p dht list-bootstrap
    """
    from cis.api.peers.dht_files import entries_of

    found = entries_of(home_in(context))
    if json:
        show_json([{"address": address, "from": origin} for address, origin in found])
    elif not found:
        say("none: cis p2p dht add-bootstrap HOST:PORT")
    else:
        show_table(("address", "from"), found)
