"""``cis p2p netcheck``, ``connections`` and ``ping``: how this node reaches others, over what, and why not better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cis.api.peers.network_schema import Pinged, PingPeer
from cis.api.peers.reach_schema import ConnectionInfo, ListConnections, NetReport
from cis.apps.cli.printing import ago, say, show_json, show_table, spinner
from cis.apps.cli.shared import Json, Timeout, home_in, running_node, seconds_of
from cis.errors import UsageError

if TYPE_CHECKING:
    from cis.api.control.client import RemoteNode

PINGS_MAX = 100
PATHS = {
    "lan": "direct on the local network",
    "direct": "direct",
    "mapped": "direct, by a port a router forwards",
    "punched": "direct, punched through NAT",
    "relayed": "relayed by a TURN server",
    "tunnel": "in a tunnel, by another transport than UDP",
}
_YES_NO = {True: "yes", False: "no", None: "unknown"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("netcheck")(netcheck)
    app.command("connections")(connections)
    app.command("ping")(ping)


def netcheck(context: typer.Context, json: Json = False) -> None:
    """Measure the network here: UDP, IPv6, what the NAT does, servers, and which peers can be reached how.

    Nothing is mapped or kept. STUN and TURN servers, the anchor and the router are asked, those of the settings alone.

    Example: cis p2p netcheck
    """
    from cis.api.peers.netchecking import netcheck as measure

    with spinner("measuring"):
        report = measure(home_in(context))
    if json:
        show_json(report)
    else:
        _say_report(report)


def connections(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Both sides' addresses too, and why it is not better.")
    ] = False,
    json: Json = False,
) -> None:
    """List connections: with whom, over what kind of path, round trip, loss, since when.

    Example: cis p2p connections --verbose
    """
    with running_node(context) as node:
        found = node.call(ListConnections())
    if json:
        show_json(found)
    elif not found:
        say("no connection: `cis p2p peers` shows who is known, `cis p2p connect NAME` dials and says what fails")
    elif verbose:
        for line in (line for one in found for line in connection_lines(one)):
            say(line)
    else:
        header = ("peer", "path", "address", "rtt", "loss", "since")
        show_table(
            header, [(one.name, one.kind, one.address, _rtt(one), _loss(one), ago(one.since_s)) for one in found]
        )


def ping(
    context: typer.Context,
    peer: Annotated[
        str, typer.Argument(help="A member's name or DID, or the beginning of its DID.", show_default=False)
    ],
    count: Annotated[int, typer.Option("--count", "-c", "-n", help="How often.")] = 4,
    interval: Annotated[str, typer.Option(help="From one reply to the next question.")] = "200ms",
    timeout: Timeout = "5s",
    json: Json = False,
) -> None:
    """Measure the round trip to a connected peer, and show the path of each reply.

    Example: cis p2p ping workstation -c 10 --interval 1s
    """
    if not 0 < count <= PINGS_MAX:
        raise UsageError(f"{count} pings: 1 to {PINGS_MAX}")
    wait_s, patience_s = seconds_of(interval), seconds_of(timeout)
    found: list[Pinged] = []
    with running_node(context) as node:
        for number in range(count):
            if number:
                time.sleep(wait_s)
            found.append(_ping_once(node, peer, patience_s, json=json))
    replies = tuple(reply for one in found for reply in one.replies)
    rtts = tuple(reply.rtt_ms for reply in replies)
    if json:
        show_json(Pinged(found[-1].name, rtts, found[-1].skew_ms, replies))
        return
    least, mean, most = min(rtts), sum(rtts) / len(rtts), max(rtts)
    say(f"{found[-1].name}: {len(rtts)} round trips, {least:.2f} / {mean:.2f} / {most:.2f} ms (least, mean, most)")
    say(f"its clock is {found[-1].skew_ms:+d} ms from ours")


def _ping_once(node: RemoteNode, peer: str, patience_s: float, *, json: bool) -> Pinged:
    pinged = node.call(PingPeer(target=peer, count=1, timeout_s=patience_s))
    if not json:
        for reply in pinged.replies:
            path = PATHS.get(reply.path, reply.path)
            say(f"reply from {pinged.name} in {reply.rtt_ms:.2f} ms: {path}, {reply.address}")
    return pinged


# --- connections -------------------------------------------------------------------------------------------------


def connection_lines(one: ConnectionInfo) -> Iterator[str]:
    """Yield all that is known of a connection."""
    who = "dialled" if one.dialled else "dialled by the peer"
    yield f"{one.name}  {PATHS.get(one.kind, one.kind)}"
    yield f"  address     {one.address} ({one.remote}; here {one.local}), {who}"
    yield f"  since       {ago(one.since_s)}"
    yield f"  round trip  {_rtt(one) or 'unknown'}"
    yield f"  loss        {_loss(one) or 'unknown: too few packets sent'}"
    if one.suspect:
        yield "  suspect     what was sent lately has gone unanswered: another path is sought"
    yield f"  not better  {one.why_not_better or 'nothing better is to be had'}"
    for whose, candidates in (("this node", one.own), (one.name, one.theirs)):
        listed = ", ".join(f"{each.address} ({each.kind})" for each in candidates)
        yield f"  candidates of {whose}: {listed or 'none known'}"


def _rtt(one: ConnectionInfo) -> str:
    return f"{one.rtt_ms:.1f} ms" if one.rtt_ms is not None else ""


def _loss(one: ConnectionInfo) -> str:
    return f"{one.loss * 100:.1f} %" if one.loss is not None else ""


# --- the report --------------------------------------------------------------------------------------------------


def _say_report(report: NetReport) -> None:
    found = report.measured
    _row("UDP", f"{_YES_NO[found.udp]}: {found.udp_detail}")
    _row("IPv6", f"{_YES_NO[found.ipv6]}: {found.ipv6_detail}")
    if found.public:
        _row("seen as", f"{', '.join(found.public)} (the socket this was measured with)")
    _row("NAT", _nat(report))
    _row("hairpinning", f"{_YES_NO[found.hairpin]}{f': {found.hairpin_detail}' if found.hairpin_detail else ''}")
    _say_router(report)
    for kind in ("stun", "turn", "anchor"):
        asked = [one for one in found.servers if one.kind == kind]
        for one in asked:
            _row(_TITLES[kind], f"{one.name}: {_latency(one.latency_ms) or one.error}")
        if not asked:
            _row(_TITLES[kind], _NONE_CONFIGURED[kind])
    if {each.how for each in report.outlook[:-1]} == {"unknown"}:
        say(f"which peers can be reached directly is {_how('unknown', report)}")
        return
    say("peers will be reached:")
    for each in report.outlook:
        say(f"  {each.peers:<40} {_how(each.how, report)}")


def _nat(report: NetReport) -> str:
    nat, name = report.measured.nat, report.nat_name
    if nat.mapping is None and nat.mapping_unknown == nat.filtering_unknown:
        return f"unknown: {nat.mapping_unknown}"
    parts = []
    if nat.mapping is None:
        parts.append(f"mapping unknown: {nat.mapping_unknown}")
    elif nat.translates:
        parts.append(f"{nat.mapping.value} mapping")
    if nat.filtering is None:
        return f"{', '.join([*parts, name])}; filtering unknown: {nat.filtering_unknown}"
    parts.append(f"{nat.filtering.value} filtering")
    return ", ".join(parts) + (f": {name}" if name else "")


def _how(how: str, report: NetReport) -> str:
    if how == "direct":
        return "directly"
    if how == "relay":
        only = "only by a relay" if report.measured.udp else "only by a relay, if UDP is blocked here"
        if report.relay:
            return only
        return f"{only}, and none {'is configured' if report.relay is None else 'answers'}"
    nat = report.measured.nat
    why = report.measured.udp_detail if report.measured.udp is None else nat.mapping_unknown or nat.filtering_unknown
    return f"unknown: {why}"


_TITLES = {"stun": "STUN", "turn": "TURN", "anchor": "anchor"}
_SPELLED = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}
_NONE_CONFIGURED = {
    "stun": "none configured: set p2p.ice.stun_servers, or agree to public ones with p2p.ice.use_public_stun",
    "turn": "none configured: p2p.ice.turn_servers",
    "anchor": "none configured: p2p.cloud_anchor.endpoint",
}


def _say_router(report: NetReport) -> None:
    for one in report.port_mapping:
        latency = f" in {_latency(one.latency_ms)}" if one.latency_ms is not None else ""
        _row(_SPELLED[one.protocol], f"{one.outcome}{latency}{f': {one.detail}' if one.detail else ''}")
    if not report.port_mapping:
        _row("router", "none is known to ask for a port")
    if report.forwarded is not None:
        _row("forwarded", report.forwarded)
    elif not report.mapping_used:
        offered = any(one.outcome == "ok" for one in report.port_mapping)
        hint = "it would: cis config set p2p.nat.enable_upnp true" if offered else "it answers to no way of asking"
        _row("forwarded", f"no port: the router is not asked to; {hint}")
    else:
        _row("forwarded", "no port: none was mapped, or no node is running here")


def _latency(latency_ms: float | None) -> str:
    if latency_ms is None:
        return ""
    return f"{latency_ms:.0f} ms" if latency_ms >= 1 else "under 1 ms"


def _row(what: str, text: str) -> None:
    say(f"{what:<12} {text}")
