"""The page of ``python -m bench.peers``: its tables, and what to know before comparing two rows."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.catalogue import CONTESTANTS, Contestant
from bench.peers.contest import VALUE_BYTES
from bench.peers.report import Report
from bench.peers.transport import CARRIERS, Carrier

_PAGE = """# cis beside others in figures

The same work, on the same machine, in the same run: {sizes} entries of {value} bytes brought to an empty peer, then
{updates} live updates, each {pause:g} s after the one before was seen. Two processes on loopback each; {machine};
{runs}.
To make this page again:

    {command}

{rates}
{plot}{left_out}
**Entries a second** counts from the target's asking for a connection until the last entry can be read there and is on
disk, if the contestant has it on disk at all; both sides' entries are then compared by hash with what was written.
Who had not finished after {limit:g} s is shown with how far it came. **Update** runs from the source's asking its
library to write until the target reads the new value; **written** until the source's library calls it written.
Updates were made on {first} entries. **Memory** is the most the target's process held, at the largest size it did.

## What is compared

The rows do not do the same: {not_same} Read a figure with these beside it:

{same}

How each was set up, and of which versions:

{how}
"""

_CARRIERS = """
## What carries the bytes

One stream on a fresh connection between two processes on loopback, and the time to a connection that can be used.

{table}
{plot}{left_out}
A **handshake** of cis is a member's to a running node: both sides prove who they are, and that they belong there. Bare
qh3 and aioquic do TLS, with a listener nobody checks; py-libp2p secures the connection both ways and agrees on streams.
"""

_NOT_SAME = (
    "cis encrypts, signs and syncs to disk what others leave plain, unsigned or unsynced; documents in memory are"
    " no store of many; Syncthing moves files."
)


def page_of(report: Report, *, plots: bool = False) -> str:
    """Return the page in Markdown; ``plots`` refers to the pictures beside it."""
    shown = _shown(report)
    sizes = [f"{size:,}" for size in report.sizes]
    text = _PAGE.format(
        sizes=" and ".join(sizes),
        value=VALUE_BYTES,
        updates=report.updates,
        pause=report.pause_s,
        machine=report.machine,
        runs="one run" if report.runs == 1 else f"medians of {report.runs} runs",
        command=report.command,
        rates=table(_rates_head(report), [_rates_row(report, one) for one in shown]),
        plot="\n![Entries a second, and the time of an update](peers.png)\n" if plots and shown else "",
        left_out=_left_out(_reasons(report.left_out, CONTESTANTS)) + _troubles(report, shown),
        limit=report.limit_s,
        first=sizes[0],
        not_same=_NOT_SAME,
        same=table(
            ("", "on the way", "signed", "on disk when it counts", "two writers of one entry"),
            [(one.title, one.wire, one.signed, one.kept, one.conflicts) for one in shown],
            numbers=False,
        ),
        how="\n".join(f"- **{one.title}** ({_versions(report, one)}): {one.how}." for one in shown),
    )
    return text + _carriers(report, plots=plots) if report.carried or report.carried_not else text


def _shown(report: Report) -> list[Contestant]:
    tried = [one for one in CONTESTANTS if one.name in report.outcomes or one.name in report.failures]
    return sorted(tried, key=lambda one: -report.rate(one.name))


def _rates_head(report: Report) -> tuple[str, ...]:
    rates = [f"entries/s of {size:,}" for size in report.sizes]
    return ("", *rates, "update, p50", "update, p99", "written, p50", "memory")


def _rates_row(report: Report, one: Contestant) -> tuple[str, ...]:
    outcomes, failures = report.outcomes.get(one.name, {}), report.failures.get(one.name, {})
    cells = [one.title]
    for size in report.sizes:
        outcome = outcomes.get(size)
        if outcome is None:
            cells.append(failures.get(size, ""))
        elif outcome.complete:
            cells.append(f"{outcome.entries_per_s:,.0f}")
        else:
            cells.append(f"{outcome.arrived:,} arrived in {outcome.elapsed_s:.0f} s")
    live = report.live(one.name)
    if live is None:
        cells += ["", "", ""]
    else:
        cells += [f"{value:.1f} ms" for value in (live.seen(50), live.seen(99), live.written(50))]
    largest = outcomes[max(outcomes)].peak_rss_mb.get("target", 0.0) if outcomes else 0.0
    return (*cells, f"{largest:.0f} MB" if largest else "")


def _versions(report: Report, one: Contestant) -> str:
    outcomes = report.outcomes.get(one.name)
    versions = next(iter(outcomes.values())).versions if outcomes else {}
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "version not told"


def _carriers(report: Report, *, plots: bool) -> str:
    bare = report.carried.get("bare")
    rows = []
    for carrier in CARRIERS:
        carried = report.carried.get(carrier.name)
        if carried is None:
            continue
        share = f"{carried.mb_per_s / bare.mb_per_s:.2f}" if bare is not None else ""
        times = (f"{carried.handshake_p50_ms:.1f} ms", f"{carried.handshake_p99_ms:.1f} ms")
        title = f"{carrier.title} {carried.version}"
        rows.append((title, f"{carried.mb_per_s:.1f} MB/s", share, *times, carrier.authenticated))
    head = ("", "one stream", "of bare qh3", "handshake, p50", "handshake, p99", "who proves who they are")
    return _CARRIERS.format(
        table=table(head, rows),
        plot="\n![One stream and handshakes](peers-transport.png)\n" if plots and rows else "",
        left_out=_left_out(_reasons(report.carried_not, CARRIERS)),
    )


def _reasons(reasons: dict[str, str], known: Sequence[Contestant | Carrier]) -> dict[str, str]:
    return {one.title: reasons[one.name] for one in known if one.name in reasons}


def _troubles(report: Report, shown: Sequence[Contestant]) -> str:
    first = {one.title: report.outcomes.get(one.name, {}).get(report.sizes[0]) for one in shown}
    return "".join(
        f"\nNo update of {title} was timed: {outcome.trouble}.\n"
        for title, outcome in first.items()
        if outcome is not None and outcome.trouble
    )


def _left_out(reasons: dict[str, str]) -> str:
    return "".join(f"\n{title} did not take part: {reason}.\n" for title, reason in reasons.items())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Return a table in Markdown, columns after the first aligned right where they are numbers."""
    rule = ("---", *["---:" if numbers else "---"] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
