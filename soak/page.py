"""The page of a run, docs/figures/soak.md."""

from __future__ import annotations

from collections.abc import Sequence

from soak.report import LIMITS, Growth, Report
from soak.run import Plan

PLOT = "soak.png"
_HEAD = (
    "node",
    "RSS, MiB",
    "slope, MiB/h",
    "anonymous, MiB/h",
    "SQLite, MiB/h",
    "descriptors",
    "tasks",
    "threads",
    "blocks",
    "processor",
)
_PAGE = """# An hour under load

{nodes} real nodes (`cis up`, a process each, on loopback) ran for {minutes:g} minutes under load; {going} of them were
stopped or killed now and then and came back. {date}, cis {version}, Python {python}, {system}, {processors} processors,
load {load:.1f} at the beginning. To make this page again:

    {command}

{verdict}

![Memory, descriptors, tasks and threads of each node over the run]({plot})

{table}

Slopes are the median of the slopes between all pairs of samples (Theil-Sen), one every {sample:g} s, after
{warm_up:.0f} min of warm-up, of the nodes that were never restarted. **RSS** is what the system counts for the process,
**anonymous** the part of it that belongs to no file, **SQLite** what SQLite holds of that (page caches above all, which
are bounded), **blocks** what Python's own allocator has given out. Allowed an hour: {limits}. SQLite, descriptors,
tasks and blocks are what the node itself tells at `/metrics`.

## What was asked

{counts}

There were {archive:,} memories to begin with, and {memories:,} at the end: few were written over, deleted and expired
all the time. The files of a store grow meanwhile, as history is kept unless `p2p.sync.collect_history` is on: by
{store:.1f} MiB an hour at this load, the index by {index:.1f}, and the node's log by {log:.3f}.

What must hold at the end, or the run has failed: all nodes hold the same; every memory and set that a node acknowledged
as written is shown by each as it was written last, and counters as the sum of what was added; each store is whole; no
node ended by itself; no log has a traceback.
"""


def page_of(report: Report) -> str:
    """Return the page in Markdown."""
    setting, plan = report.setting, report.setting.plan
    grown = report.growth
    return _PAGE.format(
        nodes=plan.nodes,
        minutes=plan.minutes,
        command=_command(plan),
        archive=plan.archive,
        going=plan.nodes - len(setting.staying),
        date=setting.date,
        version=setting.version,
        python=setting.python,
        system=setting.system,
        processors=setting.processors,
        load=setting.load,
        seed=plan.seed,
        writes=plan.writes_per_s,
        verdict=_verdict(report),
        plot=PLOT,
        table=_table(grown),
        sample=plan.sample_s,
        warm_up=report.warm_up_s / 60,
        limits=", ".join(f"{what} {limit:g}{' MiB' if what == 'rss' else ''}" for what, limit in LIMITS.items()),
        counts="\n".join(f"- {what}: {count:,}" for what, count in report.ending.counts.items()),
        memories=report.samples[-1].memories if report.samples else 0,
        store=max((one.per_hour["memory_db"] for one in grown), default=0.0),
        index=max((one.per_hour["index_db"] for one in grown), default=0.0),
        log=max((one.per_hour["log"] for one in grown), default=0.0),
    )


def _command(plan: Plan) -> str:
    asked = f"--minutes {plan.minutes:g} --nodes {plan.nodes} --seed {plan.seed} --writes {plan.writes_per_s:g}"
    return f"make soak ARGS='{asked} --archive {plan.archive} --figures docs/figures'"


def _verdict(report: Report) -> str:
    if report.failed:
        return "\n".join(["**Failed**:", "", *(f"- {one}" for one in (*report.exceeded, *report.ending.broken))])
    if not report.judged:
        return "Too short to judge what grows; nothing was lost or broken."
    steepest = max(one.per_hour["rss"] for one in report.growth)
    return f"**Passed**: the steepest slope of RSS is {steepest:+.2f} MiB an hour; nothing was lost or broken."


def _table(grown: Sequence[Growth]) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", f"|---{'|---:' * (len(_HEAD) - 1)}|"]
    lines += [
        f"| {one.node} | {one.first['rss']:.1f} to {one.last['rss']:.1f} | {one.per_hour['rss']:+.2f} "
        f"| {one.per_hour['anonymous']:+.2f} | {one.per_hour['sqlite']:+.2f} "
        f"| {_whole(one, 'descriptors')} | {_whole(one, 'tasks')} "
        f"| {_whole(one, 'threads')} | {_whole(one, 'blocks')} | {one.cpu_percent:.1f} % |"
        for one in grown
    ]
    return "\n".join(lines)


def _whole(one: Growth, what: str) -> str:
    return f"{one.first[what]:,.0f} to {one.last[what]:,.0f}, {one.per_hour[what]:+,.1f}/h"
