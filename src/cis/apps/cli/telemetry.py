"""``cis p2p topology``, ``stats`` and ``latency-test``: how the cluster hangs together, what passes, and how fast."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from cis.api.telemetry.telemetry_schema import FlowInfo, GetStatistics, GetTopology, MeasureLatency, PeerFlows
from cis.apps.cli.printing import ago, complain, say, show_json, show_table, size, spinner, tell
from cis.apps.cli.shared import Json, Timeout, running_node, seconds_of
from cis.errors import CisError, UsageError

if TYPE_CHECKING:
    from cis.api.telemetry.telemetry_schema import LatencyReport, Statistics

BAR_MAX = 40
_LEAST_STEP = -4
"""Of the span of a histogram that takes all below 0.125 ms."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("topology")(topology)
    app.command("stats")(stats)
    app.command("latency-test")(latency_test)


def topology(
    context: typer.Context,
    dot_: Annotated[bool, typer.Option("--dot", help="Print a graph for Graphviz.")] = False,
    svg_: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write a picture; - prints it.", show_default=False)
    ] = None,
    timeout: Timeout = "5s",
    json: Json = False,
) -> None:
    """Show who is connected with whom, as the members that are up say.

    The tree shows the shortest ways from this node; what is on none of them stands behind a name.

    Example: cis p2p topology --svg cluster.svg
    """
    from cis.apps.cli.drawing import dot, svg, tree

    if (dot_, svg_ is not None, json).count(True) > 1:
        raise UsageError("--dot, --svg and --json exclude each other: choose one")
    with running_node(context) as node, spinner("asking the members"):
        found = node.call(GetTopology(timeout_s=seconds_of(timeout)))
    if json:
        show_json(found)
    elif svg_ is not None and str(svg_) != "-":
        svg_.write_text("\n".join(svg(found)) + "\n", encoding="utf-8")
        tell(f"{svg_}: {len(found.members)} members, {len(found.ties)} connections")
    else:
        for line in dot(found) if dot_ else svg(found) if svg_ is not None else tree(found):
            sys.stdout.write(line + "\n") if dot_ or svg_ is not None else say(line)


def stats(
    context: typer.Context,
    peer: Annotated[
        str | None, typer.Option("--node", help="This peer alone, by what it was for.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what passed since the node started: bytes and messages, by peer and by what they were for.

    Example: cis p2p stats --node workstation
    """
    with running_node(context) as node:
        found = node.call(GetStatistics())
    if peer is not None:
        chosen = [one for one in found.peers if peer in (one.name, one.did) and one.did is not None]
        if not chosen:
            known = ", ".join(one.name for one in found.peers if one.did is not None)
            raise UsageError(f"nothing passed between {peer} and this node; it did with: {known or 'nobody'}")
        if json:
            show_json(chosen[0])
        else:
            _say_purposes(chosen[0].purposes, chosen[0].total)
    elif json:
        show_json(found)
    else:
        _say_statistics(found)


def latency_test(
    context: typer.Context,
    count: Annotated[int, typer.Option("--count", "-c", "-n", help="Round trips with each peer.")] = 20,
    interval: Annotated[str, typer.Option(help="From one reply to the next question.")] = "100ms",
    timeout: Timeout = "5s",
    json: Json = False,
) -> None:
    """Measure round trips with all connected peers at the same time: percentiles, and how they are spread.

    Exit code 1 where a peer did not answer.

    Example: cis p2p latency-test --count 50
    """
    request = MeasureLatency(count=count, interval_s=seconds_of(interval), timeout_s=seconds_of(timeout))
    with running_node(context) as node, spinner("measuring"):
        report = node.call(request)
    if json:
        show_json(report)
    else:
        _say_latency(report)
    for one in report.peers:
        if one.error:
            complain(f"{one.name}: {one.error}")
    if any(one.error for one in report.peers):
        raise typer.Exit(CisError.exit_code)


# --- traffic ----------------------------------------------------------------------------------------------------


def _say_statistics(found: Statistics) -> None:
    rows = [
        (
            one.name or "(not members)",
            "yes" if one.connected else "no",
            *_cells(one.total),
            str(one.sessions) if one.did is not None else "",
            str(one.changes_received) if one.did is not None else "",
            _main_purpose(one),
        )
        for one in found.peers
    ]
    if not rows:
        say("nothing has passed yet: `cis p2p peers` shows who is known")
        return
    show_table(("peer", "connected", "in", "out", "messages", "held up", "sessions", "changes", "mostly"), rows)
    purposes: dict[str, FlowInfo] = {}
    for one in found.peers:
        for purpose, flow in one.purposes.items():
            purposes[purpose] = _sum(purposes[purpose], flow) if purpose in purposes else flow
    say("")
    _say_purposes(purposes, found.total)
    say("")
    whole = f"{size(found.datagram_bytes_in)} in, {size(found.datagram_bytes_out)} out"
    say(f"datagrams in all, with handshakes and overhead: {whole}, in {ago(found.since_s)}")
    pool = found.pool
    say(
        f"connections: {pool.connected} of at most {pool.connections_max}; {pool.opened} made, "
        f"{pool.idled} ended as idle, {pool.evicted} for another, {pool.turned_away} turned away; "
        f"used again {pool.reused} times"
    )
    limits = [
        f"{name.replace('_', ' ')} {size(rate)}/s" for name, rate in structs.asdict(found.bandwidth).items() if rate
    ]
    say(f"limits of bandwidth now: {', '.join(limits) or 'none'}")
    say(f"gossip: {found.gossip_bodies} messages came, {found.gossip_duplicates} of them known already")
    if found.turned_away:
        counts = (f"{count} {what.replace('_', ' ')}" for what, count in found.turned_away.items())
        say(f"limits: {', '.join(counts)}")


def _say_purposes(purposes: dict[str, FlowInfo], total: FlowInfo) -> None:
    listed = sorted(purposes.items(), key=lambda item: (-item[1].bytes_in - item[1].bytes_out, item[0]))
    show_table(
        ("purpose", "in", "out", "messages", "held up"),
        [(purpose, *_cells(flow)) for purpose, flow in (*listed, ("in all", total))],
    )


def _cells(flow: FlowInfo) -> tuple[str, str, str, str]:
    held_s = flow.held_in_s + flow.held_out_s
    return (
        size(flow.bytes_in),
        size(flow.bytes_out),
        f"{flow.messages_in} in, {flow.messages_out} out",
        f"{held_s:.1f} s" if held_s else "",
    )


def _main_purpose(one: PeerFlows) -> str:
    return max(one.purposes, key=lambda name: one.purposes[name].bytes_in + one.purposes[name].bytes_out, default="")


def _sum(one: FlowInfo, other: FlowInfo) -> FlowInfo:
    return FlowInfo(**{name: getattr(one, name) + getattr(other, name) for name in FlowInfo.__struct_fields__})


# --- latency ----------------------------------------------------------------------------------------------------


def _say_latency(report: LatencyReport) -> None:
    rows = [
        (
            one.name,
            one.path,
            str(len(one.rtt_ms)),
            *(_ms(figure) for figure in (min(one.rtt_ms, default=None), one.p50_ms, one.p90_ms, one.p99_ms)),
            _ms(max(one.rtt_ms, default=None)),
        )
        for one in report.peers
    ]
    show_table(("peer", "path", "answers", "least", "p50", "p90", "p99", "most"), rows)
    figures = [rtt_ms for one in report.peers for rtt_ms in one.rtt_ms]
    if not figures:
        return
    say("")
    for line in histogram_lines(figures):
        say(line)
    say(f"all: p50 {_ms(report.p50_ms)}, p90 {_ms(report.p90_ms)}, p99 {_ms(report.p99_ms)}")


def histogram_lines(figures: Sequence[float]) -> Iterator[str]:
    """Yield a line for each span of milliseconds, with how many lie in it; spans double."""
    spans = histogram(figures)
    most = max((count for *_, count in spans), default=1)
    for begin, end, count in spans:
        bar = "█" * (math.ceil(count * BAR_MAX / most) if count else 0)
        yield f"{begin:>8g} – {end:<6g} ms  {count:>6}  {bar}".rstrip()


def histogram(figures: Sequence[float]) -> list[tuple[float, float, int]]:
    """Return how many figures lie in each span ``(from, below)``, from the first to the last that holds any.

    ::

        histogram([0.3, 0.4, 3.0])     # [(0.25, 0.5, 2), (0.5, 1.0, 0), (1.0, 2.0, 0), (2.0, 4.0, 1)]
    """
    steps = [max(_LEAST_STEP, math.floor(math.log2(one))) if one > 0 else _LEAST_STEP for one in figures]
    if not steps:
        return []
    return [
        (0.0 if step == _LEAST_STEP else 2.0**step, 2.0 ** (step + 1), steps.count(step))
        for step in range(min(steps), max(steps) + 1)
    ]


def _ms(figure: float | None) -> str:
    return f"{figure:.2f} ms" if figure is not None else ""
