"""The table of `cis bench discovery`, as the command prints it and the page shows it, and the page around it."""

from __future__ import annotations

from cis.bench.dht_role import VALUE_BYTES
from cis.bench.discovery import DEAD_SHARE, DiscoveryResult
from cis.bench.discovery_idle import LULL_S

LIMITS_S = {"mdns": 2.0, "anchor": 1.0, "dht": 5.0, "dht_dead": 8.0}
"""Seconds within which the second node is to be connected."""
HEAD = ("way", "connected after", "slowest", "limit", "from the process's start", "idle")

_PAGE = """# Finding each other in figures

How soon a node that starts is connected, authenticated, with a member it knows no address of, by each way of finding;
medians of {runs} runs of real processes on loopback, {processors} processors, load {load:.1f} at the beginning.
To make this page again:

    cis bench discovery --runs {runs} --nodes {nodes} --large {large} --idle {idle:g} --figures docs/figures

{table}

![Time to the first authenticated connection, and idle traffic](discovery.png)

**Connected after** counts from when the second node has opened its socket and begins to look, which is when `cis up`
says that it is up, to its first authenticated connection. The first node has run until it can be found by then, and
neither remembers the other. **From the process's start** also counts loading Python and opening the store. **Idle** is
what the way costs the second node a second once they are connected and nothing happens: all that IP carries from and to
its sockets but the one of its connections, which sends and receives {connection} B/s itself.

Part of each time is the first key exchange of a process, for which its library seeds itself: 0.1 s and more.

- **static**: the second is told the first one's address.
- **mdns**: multicast on the loopback interface. What is charged to a node is what it sends itself.
- **anchor**: `cis anchor serve`, without TLS, as a process of its own.
- **dht**: Mainline nodes (libtorrent) in one process, that nobody else can enter: {nodes} of them; as *dht, dead* the
  same, of which {share:.0%} end without a word after the first node left its record and right before the second starts;
  {large_text}.

## The hash table

A DHT node **has joined** when a search of its own first reaches as many nodes as keep an item. **Lookups** are of
values of {value} bytes, about a sealed record, by a node that just joined.

{lookups}
{skipped}"""


def rows_of(result: DiscoveryResult) -> list[tuple[str, ...]]:
    """Return a row of `HEAD` for each way that was measured, the quickest first."""
    found = sorted(
        (median_s, name) for name in result.worst_s if (median_s := getattr(result, f"{name}_s")) is not None
    )
    return [
        (
            told(name, result),
            f"{median_s:.2f} s",
            f"{result.worst_s[name]:.2f} s",
            f"{LIMITS_S[name]:g} s" if name in LIMITS_S else "",
            f"{result.process_s[name]:.2f} s",
            f"{result.idle_bytes_per_s[name]:.0f} B/s" if name in result.idle_bytes_per_s else "",
        )
        for median_s, name in found
    ]


def told(name: str, result: DiscoveryResult) -> str:
    """Return what a way is called."""
    return {
        "dht": f"dht, {result.nodes} nodes",
        "dht_dead": f"dht, {result.dead} of {result.nodes} dead",
        "dht_large": f"dht, {result.large} nodes",
    }.get(name, name)


def page_of(result: DiscoveryResult) -> str:
    """Return the page in Markdown."""
    connection = result.idle_bytes_per_s.get("connection")
    skipped = "".join(f"\nNot measured, {name}: {why}.\n" for name, why in result.skipped.items())
    return (
        _PAGE.format(
            runs=result.runs,
            processors=result.processors,
            load=result.load,
            nodes=result.nodes,
            large=result.large,
            idle=result.idle_s,
            table=_table(HEAD, rows_of(result)),
            connection=f"{connection:.0f}" if connection is not None else "unmeasured",
            share=DEAD_SHARE,
            large_text=f"and {result.large} of them" if result.large else "no larger ones",
            value=VALUE_BYTES,
            lookups=_lookups(result),
            skipped=skipped,
        )
        + f"\nWatching began {LULL_S:g} s after both were connected, and took {result.idle_s:g} s.\n"
    )


def _lookups(result: DiscoveryResult) -> str:
    head = ("table", "joined after", "lookup, p50", "lookup, p99", "not found")
    rows: list[tuple[str, ...]] = [
        (
            told(name, result),
            f"{result.join_s[name]:.2f} s",
            f"{result.lookup_p50_ms[name]:.1f} ms",
            f"{result.lookup_p99_ms[name]:.1f} ms",
            f"{result.lookups_missed[name]}",
        )
        for name in result.join_s
    ]
    return _table(head, rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
