"""The page of a run, docs/figures/fuzz.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence

import cis
from fuzz.hunting import Hunt, is_guided

AIM = 10_000_000
"""Inputs that each target should have had once."""
_PAGE = """# What was fuzzed, and how much

{date}, cis {version}, Python {python}, {system}, {processors} processors; inputs were made {guided}.
To make this page again:

    {command}

{verdict}

| target | inputs | a second | edges | peak memory | hours for {aim:,} |
|---|---:|---:|---:|---:|---:|
{rows}

Inputs a second are of processor time, the start included. What a target reads, and what must hold, is told by
`make fuzz ARGS=--list`; how inputs are made is in [testing](../testing.md).
"""


def page_of(hunts: Sequence[Hunt], command: str) -> str:
    """Return the page in Markdown; ``command`` is what was asked."""
    return _PAGE.format(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        version=cis.__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processors=os.cpu_count(),
        guided="by coverage (atheris)" if is_guided() else "blindly, as atheris is not installed",
        command=command,
        verdict=_verdict(hunts),
        aim=AIM,
        rows="\n".join(map(_row, hunts)),
    )


def _verdict(hunts: Sequence[Hunt]) -> str:
    inputs, hours = sum(one.inputs for one in hunts), sum(map(_hours, hunts))
    found = [one.target for one in hunts if one.said]
    what = f"**Found** by {', '.join(found)}" if found else "**Nothing found**"
    return (
        f"{what}: {len(hunts)} targets, {inputs:,} inputs. {AIM:,} inputs of each would take {hours:,.0f} hours of a "
        "processor at these rates."
    )


def _hours(one: Hunt) -> float:
    return AIM / one.per_s / 3600 if one.per_s else 0.0


def _row(one: Hunt) -> str:
    edges, memory = (f"{one.edges:,}", f"{one.peak_mb} MB") if one.peak_mb else ("-", "-")
    return f"| `{one.target}` | {one.inputs:,} | {one.per_s:,.0f} | {edges} | {memory} | {_hours(one):,.1f} |"
