"""``cis p2p peers``: who they are, how they are reached, and how things stand with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from cis.api.peers.network_schema import ListPeers, PeerInfo
from cis.api.peers.peer_schema import AddressInfo
from cis.apps.cli.printing import ago, say, show_json, show_table
from cis.apps.cli.shared import Json, running_node
from cis.errors import UsageError

DID_SHOWN = 16
_LAST = float("inf")


class Order(StrEnum):
    """What peers can be sorted by."""

    NAME = "name"
    STATE = "state"
    RTT = "rtt"
    SEEN = "seen"
    SCORE = "score"


_STATES = ("connected", "active", "up", "inactive", "unknown")
_KEYS: dict[Order, Callable[[PeerInfo], Any]] = {
    Order.NAME: lambda one: one.name,
    Order.STATE: lambda one: _STATES.index(one.state),
    Order.RTT: lambda one: _LAST if one.rtt_ms is None else one.rtt_ms,
    Order.SEEN: lambda one: _LAST if one.seen_s is None else one.seen_s,
    Order.SCORE: lambda one: -one.score,
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("peers")(peers)


def peers(
    context: typer.Context,
    discovered: Annotated[
        bool, typer.Option("--discovered", help="Only those whose address is known, met or not.")
    ] = False,
    connected: Annotated[bool, typer.Option("--connected", help="Only those connected now.")] = False,
    everyone: Annotated[bool, typer.Option("--all", help="Every member, and addresses nobody has a name for.")] = False,
    sort: Annotated[Order, typer.Option(help="Best first by this.")] = Order.STATE,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Each address with how it fared, and what is tried next.")
    ] = False,
    json: Json = False,
) -> None:
    """List peers: name, path, round trip, connections made and rounds of dials that failed, and who found them.

    Behind is how many changes are missing, here and there; it is blank where a peer never said what it holds.

    Example: cis p2p peers --discovered --sort score --verbose
    """
    if connected + discovered + everyone > 1:
        raise UsageError("--discovered, --connected and --all: give one of them")
    which: Literal["all", "connected", "discovered"] = (
        "connected" if connected else "discovered" if discovered else "all"
    )
    with running_node(context) as node:
        listed = node.call(ListPeers(which=which, ask=True))
    found = sorted(listed, key=_by(sort))
    if json:
        show_json(found)
    elif verbose:
        for line in (line for one in found for line in peer_lines(one)):
            say(line)
    else:
        header = ("name", "did", "state", "path", "rtt", "ok/failed", "seen", "behind", "found by", "last error")
        show_table(header, [_row(one) for one in found])


def _by(sort: Order) -> Callable[[PeerInfo], tuple[Any, ...]]:
    return lambda one: (_KEYS[sort](one), one.name, one.did or "", one.address or "")


def _row(peer: PeerInfo) -> Sequence[str]:
    did = (peer.did or "").removeprefix("did:key:")
    return (
        peer.name or "?",
        f"{did[:DID_SHOWN]}…" if did else "",
        peer.state,
        peer.path if peer.state == "connected" else "",
        _rtt(peer.rtt_ms),
        f"{peer.successes}/{peer.failures}",
        _seen(peer),
        _behind(peer),
        peer.found_by,
        peer.last_error,
    )


def peer_lines(peer: PeerInfo) -> Iterator[str]:
    """Yield all that is known of a peer."""
    neighbour = ", a neighbour" if peer.neighbour else ""
    since = f" for {ago(peer.connected_s)}" if peer.connected_s is not None else ""
    yield f"{peer.name or '?'}: {peer.state}{since}{neighbour}"
    if peer.did is not None:
        yield f"  {peer.did}"
    if peer.address is not None:
        over = f" over {peer.path}" if peer.path and peer.state == "connected" else ""
        yield f"  at       {peer.address}{over}{f', {_rtt(peer.rtt_ms)}' if peer.rtt_ms is not None else ''}"
    seen = _seen(peer) or "never"
    yield f"  so far   {peer.successes} connections, {peer.failures} rounds of dials failed; seen {seen}"
    parts = ", ".join(f"{name} {getattr(peer.why, name):.2f}" for name in ("worked", "recent", "near", "path"))
    yield f"  score    {peer.score:.2f}: {parts}"
    yield f"  found by {peer.found_by or 'nobody: it is a member'}"
    if peer.behind_here is not None:
        yield f"  behind   {peer.behind_here} changes here, {peer.behind_there} there"
    if peer.skew_ms is not None:
        yield f"  clock    {peer.skew_ms:+d} ms"
    if peer.next_attempt_s is not None:
        after = f", after {peer.failed_in_row} failed in a row" if peer.failed_in_row else ""
        yield f"  next     tried again {f'in {ago(peer.next_attempt_s)}' if peer.next_attempt_s else 'now'}{after}"
    if peer.last_error:
        yield f"  error    {peer.last_error}"
    for one in peer.addresses:
        yield f"  - {_address(one)}"


def _address(way: AddressInfo) -> str:
    now = " (in use)" if way.in_use else " (being dialled)" if way.dialling else ""
    worked = f", worked {ago(way.last_success_s)} ago" if way.last_success_s is not None and not way.in_use else ""
    failed = f", failed {ago(way.last_failure_s)} ago" if way.last_failure_s is not None else ""
    rtt = f", {_rtt(way.rtt_ms)}" if way.rtt_ms is not None else ""
    found = f", by {way.found_by}" if way.found_by and way.found_by != way.address.lower() else ""
    error = f": {way.last_error}" if way.last_error else ""
    return (
        f"{way.address}{now}  score {way.score:.2f}, {way.successes}/{way.failures}{worked}{failed}{rtt}{found}{error}"
    )


def _rtt(milliseconds: float | None) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds is not None else ""


def _seen(peer: PeerInfo) -> str:
    if peer.state == "connected":
        return "now"
    return f"{ago(peer.seen_s)} ago" if peer.seen_s is not None else ""


def _behind(peer: PeerInfo) -> str:
    if peer.behind_here is None:
        return ""
    return "none" if not peer.behind_here and not peer.behind_there else f"{peer.behind_here} / {peer.behind_there}"
