"""``cis bench``: how fast this machine runs us, against limits measured in the same run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cis.apps.cli.printing import complain, say, show_json, show_table
from cis.apps.cli.shared import Json, group
from cis.errors import UsageError

app = group("Benchmarks: real processes on this machine, beside what bounds them.")

Memories = Annotated[int, typer.Option(min=1, help="How many memories.")]
ValueBytes = Annotated[int, typer.Option(min=0, max=262_144, help="Bytes of each value.")]
Figures = Annotated[
    Path | None,
    typer.Option("--figures", metavar="DIR", help="Write plots and a page into this folder.", show_default=False),
]
Vectors = Annotated[int, typer.Option(min=0, max=4096, metavar="DIM", help="Give each memory a vector, 0 for none.")]


@app.command("sync")
def sync(
    memories: Memories = 20_000,
    vectors: Vectors = 0,
    single: Annotated[bool, typer.Option("--single", help="One change per changeset.")] = False,
    onto: Annotated[int, typer.Option(min=0, help="Memories both hold already; half of the others overwrite.")] = 0,
    value_bytes: ValueBytes = 200,
    keep: Annotated[
        Path | None, typer.Option(help="Keep both homes in this folder: serving, pulling.", show_default=False)
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Take the medians of so many.")] = 1,
    json: Json = False,
) -> None:
    """Let an empty node pull everything from another, over QUIC, verified, sealed, durable.

    Example: cis bench sync --memories 100000
    """
    from cis.bench.sync import bench_sync
    from cis.bench.workload import Workload

    workload = Workload(memories, value_bytes=value_bytes, vector_dim=vectors, onto=onto)
    result = bench_sync(workload, single=single, runs=runs, keep=keep)
    _show(result, json=json)
    if not result.in_step:
        complain("the two nodes hold different states: this is a defect, please report it")
        raise typer.Exit(1)


@app.command("write")
def write(memories: Memories = 20_000, value_bytes: ValueBytes = 200, json: Json = False) -> None:
    """Write memories in bulk, then one at a time onto them, durably, while the model embeds behind.

    Example: cis bench write --memories 100000
    """
    from cis.bench.workload import Workload
    from cis.bench.write import bench_write

    _show(bench_write(Workload(memories, value_bytes=value_bytes)), json=json)


@app.command("search")
def search(
    memories: Memories = 20_000,
    queries: Annotated[int, typer.Option(min=1, help="How many searches of each kind.")] = 200,
    json: Json = False,
) -> None:
    """Search by words, by meaning and by both, the embedding of the query aside; and how much is found of what should.

    Example: cis bench search --memories 100000
    """
    from cis.bench.search import bench_search

    _show(bench_search(memories, queries), json=json)


@app.command("update")
def update(
    updates: Annotated[int, typer.Option(min=1, help="How many updates.")] = 600,
    pause: Annotated[float, typer.Option(min=0.0, metavar="MS", help="Milliseconds between two.")] = 20.0,
    json: Json = False,
) -> None:
    """Measure one hop of a live update: from the commit here to a recall there.

    Example: cis bench update --updates 1000
    """
    from cis.bench.update import bench_update

    _show(bench_update(updates, pause / 1e3), json=json)


@app.command("connect")
def connect(
    connections: Annotated[int, typer.Option(min=1, help="How many of each kind.")] = 150, json: Json = False
) -> None:
    """Connect to a node and authenticate, beside bare QUIC handshakes.

    Example: cis bench connect
    """
    from cis.bench.connect import bench_connect

    _show(bench_connect(connections), json=json)


@app.command("stream")
def stream(
    megabytes: Annotated[int, typer.Option(min=1, help="10⁶ bytes a round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each kind.")] = 7,
    json: Json = False,
) -> None:
    """Move bytes over one stream, beside a bare QUIC pair.

    Example: cis bench stream
    """
    from cis.bench.stream import bench_stream

    _show(bench_stream(megabytes * 1_000_000, rounds), json=json)


@app.command("idle")
def idle(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to watch.")] = 20.0, json: Json = False
) -> None:
    """Watch a daemon that has one neighbour and nothing to do.

    Example: cis bench idle --seconds 60
    """
    from cis.bench.idle import bench_idle

    _show(bench_idle(seconds), json=json)


@app.command("resync")
def resync(
    memories: Memories = 1000,
    sessions: Annotated[int, typer.Option(min=1, help="How many sessions.")] = 20,
    json: Json = False,
) -> None:
    """Count what a session costs two nodes that are in step.

    Example: cis bench resync
    """
    from cis.bench.resync import bench_resync

    _show(bench_resync(memories, sessions), json=json)


@app.command("hostile")
def hostile(
    updates: Annotated[int, typer.Option(min=10, help="How many before, during and after each flood.")] = 400,
    pause: Annotated[float, typer.Option(min=0.0, metavar="MS", help="Milliseconds between two.")] = 20.0,
    datagrams: Annotated[int, typer.Option(min=1, help="Broken datagrams a second from one address.")] = 20_000,
    json: Json = False,
) -> None:
    """Flood a node by one member, then from one address, and measure what the others feel.

    Example: cis bench hostile --updates 1000
    """
    from cis.bench.hostile import bench_hostile

    _show(bench_hostile(updates, pause / 1e3, datagrams), json=json)


@app.command("gossip")
def gossip(
    nodes: Annotated[int, typer.Option(min=10, help="Of the clusters of which a share dies.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="A seed is a run.")] = 7,
    large: Annotated[bool, typer.Option("--large", help="Simulate 10,000 nodes too: many minutes, 2 GB.")] = False,
    figures: Figures = None,
    json: Json = False,
) -> None:
    """Simulate broadcasts against the size of the cluster, and against the share of it that dies at once.

    Example: cis bench gossip --figures docs/figures
    """
    from cis.bench.figures import figures_of, require_figures
    from cis.bench.gossip import bench_gossip, write_figures

    if figures is not None:
        require_figures()
    result = bench_gossip(nodes=nodes, seed=seed, large=large)
    written = write_figures(result, figures) if figures is not None else []
    tables = figures_of(result)
    if json:
        show_json(tables)
        return
    for name in ("sizes", "failures"):
        rows = [{key: value for key, value in row.items() if key != "prompt"} for row in tables[name]]
        show_table(tuple(rows[0]), [tuple(_rows("", value)[0][1] for value in row.values()) for row in rows])
        say("")
    for path in written:
        say(f"written: {path}")


@app.command("discovery")
def discovery(
    runs: Annotated[int, typer.Option(min=1, help="Take the medians of so many.")] = 5,
    providers: Annotated[
        str, typer.Option(metavar="NAMES", help="Which: static, mdns, anchor, dht.")
    ] = "static,mdns,anchor,dht",
    nodes: Annotated[int, typer.Option(min=12, max=1000, help="Of the hash table; with a quarter dead too.")] = 20,
    large: Annotated[int, typer.Option(help="Nodes of a large hash table, 0 for none.", min=0, max=1000)] = 200,
    idle: Annotated[float, typer.Option(min=0.0, metavar="S", help="Seconds to watch idle nodes, 0 for none.")] = 60.0,
    figures: Figures = None,
    json: Json = False,
) -> None:
    """Start a node and measure how soon it is connected with a member it knows no address of, by each way of finding.

    The clock runs from its open socket to the first authenticated connection. Idle traffic takes root to count.

    Example: cis bench discovery --providers mdns,anchor --runs 3 --idle 0
    """
    from cis.bench.discovery import bench_discovery, write_discovery
    from cis.bench.discovery_page import HEAD, rows_of
    from cis.bench.figures import figures_of, require_figures

    if figures is not None:
        require_figures()
    result = bench_discovery(runs=runs, nodes=nodes, large=large, providers=_names(providers), idle_s=idle)
    written = write_discovery(result, figures) if figures is not None else []
    if json:
        show_json(figures_of(result))
        return
    show_table(HEAD, rows_of(result))
    for name, why in result.skipped.items():
        say(f"not measured, {name}: {why}")
    for path in written:
        say(f"written: {path}")


@app.command("limits")
def limits(
    memories: Annotated[int, typer.Option(min=100, help="Of each sync, and of what is searched.")] = 100_000,
    runs: Annotated[int, typer.Option(min=1, help="Of each sync; the medians count.")] = 1,
    writes: Annotated[int, typer.Option(min=1, help="Durable writes, one at a time.")] = 500,
    changesets: Annotated[int, typer.Option(min=10, help="How many are verified.")] = 2000,
    megabytes: Annotated[int, typer.Option(min=1, help="10⁶ bytes a round of the stream.")] = 64,
    connections: Annotated[int, typer.Option(min=1, help="How many of each kind.")] = 100,
    queries: Annotated[int, typer.Option(min=1, help="How many searches of each kind.")] = 100,
    updates: Annotated[int, typer.Option(min=10, help="How many live updates.")] = 300,
    nodes: Annotated[int, typer.Option(min=10, max=10_000, help="Of the simulated cluster.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to watch a node at rest.")] = 5.0,
    only: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Some of: sync, write, stream, connect, verify, search, update, resync, gossip, idle.",
            show_default=False,
        ),
    ] = "",
    figures: Figures = None,
    json: Json = False,
) -> None:
    """Measure each operation beside what bounds it: a library without us, the disk, the memory, a round trip.

    Takes about four minutes at its default sizes. Targets are those of the design, for 100,000 memories.

    Example: cis bench limits --only write,verify --json
    """
    from cis.bench.figures import figures_of, require_figures
    from cis.bench.limits import LimitSizes, bench_limits, write_limits
    from cis.bench.limits_page import HEAD, rows_of

    if figures is not None:
        require_figures()
    sizes = LimitSizes(
        memories=memories, runs=runs, one_by_one=writes, changesets=changesets, megabytes=megabytes,
        connections=connections, queries=queries, updates=updates, nodes=nodes, seconds=seconds,
    )  # fmt: skip
    result = bench_limits(sizes, _names(only))
    written = write_limits(result, _typed(), figures) if figures is not None else []
    if json:
        show_json(figures_of(result))
        return
    show_table(HEAD, rows_of(result))
    for path in written:
        say(f"written: {path}")


@app.command("growth")
def growth(
    curve: Annotated[
        str,
        typer.Option(
            "--curve", metavar="NAMES", help="Some of: memories, members, values, replicas.", show_default=False
        ),
    ] = "",
    sizes: Annotated[
        str,
        typer.Option(metavar="NUMBERS", help="Sizes of the one curve named, as 1000,10000.", show_default=False),
    ] = "",
    figures: Figures = None,
    json: Json = False,
) -> None:
    """Measure cost at sizes that multiply, and tell where it grows faster than it should.

    Curves: memories of a node, members of a simulated cluster, bytes of a value, concurrent writers of a key. Up to a
    million memories take some minutes, and 6 GB of memory and 3 GB of disk for a while.

    Example: cis bench growth --curve memories --sizes 1000,10000
    """
    from cis.bench.figures import figures_of, require_figures
    from cis.bench.growth import bench_growth, write_growth
    from cis.bench.growth_page import head_of, notes_of, rows_of

    if figures is not None:
        require_figures()
    result = bench_growth(_names(curve), _numbers(sizes))
    written = write_growth(result, _typed(), figures) if figures is not None else []
    if json:
        show_json(figures_of(result))
        return
    for one in result.curves:
        say(f"{one.curve}:")
        show_table(head_of(one), rows_of(one))
        for note in notes_of(one):
            say(f"  faster than it should: {note}")
        say("")
    for path in written:
        say(f"written: {path}")


def _typed() -> str:
    """Return this command as it was typed, but for the form of what it prints."""
    return shlex.join(["cis", *(word for word in sys.argv[1:] if word != "--json")])


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(one.replace("_", "")) for one in _names(text)]
    except ValueError:
        raise UsageError(f"{text!r}: sizes are whole numbers with commas between, as 1000,10000") from None


def _show(result: object, *, json: bool) -> None:
    from cis.bench.figures import figures_of

    figures = figures_of(result)
    if json:
        show_json(figures)
        return
    show_table(("figure", "value"), [row for name, value in figures.items() for row in _rows(name, value)])
    if figures.get("in_step"):
        say("both nodes hold the same state")


def _rows(name: str, value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - numbers, words and tables of them
    if isinstance(value, dict):
        return [row for inner, one in value.items() for row in _rows(f"{name}.{inner}", one)]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    return [(name, f"{value:,}" if isinstance(value, int | float) else str(value))]
