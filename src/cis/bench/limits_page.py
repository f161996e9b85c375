"""The table of `cis bench limits`, as the command prints it and the page shows it, and the page around it."""

from __future__ import annotations

from collections.abc import Sequence

from cis.bench.limits import UPDATE_BYTES, LimitsResult

HEAD = ("operation", "ours", "bounded by", "of", "ratio", "target", "met")

_PAGE = """# Our operations and their limits in figures

Each operation beside what bounds it on the same machine, measured in the same run, which took {elapsed:.0f} s:
{processors} processors, load {load:.1f} at the beginning. To make this page again:

    {command}

**Ratio** is ours to the bound. Of a rate it is the part of the bound that is reached, of a time, of bytes and of
memory how often the bound fits into ours. Targets are those of the design; *ours* is held to those with a unit, *ratio*
to those without.

{table}

![The part of its bound that each operation reaches](limits.png)

## What was measured

- **bulk sync**: an empty node pulls {memories:,} memories of 200 bytes over QUIC, verified, sealed, durable; the local
  write seals, chains, signs and commits the same memories. SQLite alone inserts rows of as many bytes as a memory takes
  on the wire, into one table without encryption, in transactions as large as ours.
- **filling the index**: from the first local write until names, words and times of the last can be searched and nothing
  is left to fold.
- **durable write**: {one_by_one:,} writes onto {memories:,} memories, half of them overwriting, each until it is on
  disk; SQLite alone commits as many pages of the same size, without encryption.
- **verify**: {changesets:,} changesets of one change as their author's store serves them, each under a signature of its
  own, as live changes come, and in runs of up to 1,000 under one signature, as a session brings them.
- **compare with all vectors**: {memories:,} vectors of 384 float32; each core reads its share of the same bytes once. A
  search by words and meaning also ranks by words, fuses, and opens what it shows.
- **live update**: from the commit's return on one node to a recall that shows it on another, which has verified and
  committed it; the round trip takes {update_bytes} bytes there and a few back.
- **resync**: a session of two nodes that are in step; the least two nodes can tell each other is a digest each.
- **broadcast**: simulated, in virtual time ([gossip](gossip.md)); in the tree nobody hears anything twice.
- **start to ready**: `cis up`, from the process's start; Python with nothing to do starts and ends.
"""


def rows_of(result: LimitsResult) -> list[tuple[str, ...]]:
    """Return a row of `HEAD` for each row of the result."""
    return [
        (
            row.operation,
            f"{shown(row.ours)} {row.unit}",
            row.bound,
            f"{shown(row.limit)} {row.unit}",
            shown(row.ratio),
            row.target,
            {True: "yes", False: "no", None: ""}[row.met],
        )
        for row in result.rows
    ]


def page_of(result: LimitsResult, command: str) -> str:
    """Return the page in Markdown; ``command`` makes it again."""
    return _PAGE.format(
        elapsed=result.elapsed_s,
        processors=result.processors,
        load=result.load,
        command=command,
        table=table(HEAD, rows_of(result), left=(0, 2, 5, 6)),
        memories=result.sizes.memories,
        one_by_one=result.sizes.one_by_one,
        changesets=result.sizes.changesets,
        update_bytes=UPDATE_BYTES,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Return a table in Markdown; the columns ``left`` hold words, the others numbers."""
    rule = ["---" if place in left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def shown(value: float) -> str:
    """Return a number with three digits, all of those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
