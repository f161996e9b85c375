"""The tables of `cis bench growth`, as the command prints them and the page shows them, and the page around them."""

from __future__ import annotations

from cis.bench.growth import SLACK, CurveResult, GrowthResult
from cis.bench.growth_curves import CURVES
from cis.bench.limits_page import shown, table

_PAGE = """# How cost grows, in figures

What the same things cost at sizes that multiply, in one run which took {elapsed:.0f} s: {processors} processors, load
{load:.1f} at the beginning. To make this page again:

    {command}

Below each cost stands its **growth exponent** from the size before: 0 where it stays, 1 where it grows with the size, 2
with its square. **Should grow** says what it may do; an exponent above that by more than {slack:g} is marked, and told
below its table.

![Each cost, against that of the smallest size](growth.png)
{curves}"""

_TOLD = {
    "memories": """
One set of memories for each size, values of 200 bytes of words as rare and common as those of a language. An empty node
pulls all of them; then the node that wrote them starts, rests, is asked how it is, searched by three words (one of them
common), asked for memories by key, and written to.
""",
    "members": """
Simulated in virtual time as for [gossip](gossip.md): what a member sends for one broadcast of 200 bytes, messages of
the views among it, and how long a broadcast takes to its last member. Judged from ten members on: six know each other
all, and need no messages to keep an overlay.
""",
    "values": """
About 32 MB at each size, 100 memories at least. A value has at most 256 KiB: a larger one is refused.
""",
    "replicas": """
500 keys, each written once by so many replicas that had seen nothing of each other: all values stay beside each other
until somebody writes who has seen them. Merging, wire and disk are per key, with all its values.
""",
}


def head_of(result: CurveResult) -> tuple[str, ...]:
    """Return the header of a curve's table: its sizes."""
    return ("", "should grow", *(f"{point.size:,}" for point in result.points))


def rows_of(result: CurveResult) -> list[tuple[str, ...]]:
    """Return, for each cost of a curve, a row of figures and one of exponents; those too high end in an exclamation."""
    by_name = {one.name: one for one in result.grown}
    rows: list[tuple[str, ...]] = []
    for measure in CURVES[result.curve].measures:
        grown = by_name.get(measure.name)
        figures = (shown(point.costs[measure.name]) for point in result.points)
        rows.append((measure.title, grown.expected if grown is not None else "", *figures))
        if grown is not None and grown.exponents:
            pairs = zip(grown.exponents, grown.allowed, strict=True)
            rows.append(("exponent", "", "", *(_exponent(found, most) for found, most in pairs)))
    return rows


def notes_of(result: CurveResult) -> list[str]:
    """Return where a cost grew faster than it should."""
    return [note for one in result.grown for note in one.too_fast]


def page_of(result: GrowthResult, command: str) -> str:
    """Return the page in Markdown; ``command`` makes it again."""
    return _PAGE.format(
        elapsed=result.elapsed_s,
        processors=result.processors,
        load=result.load,
        command=command,
        slack=SLACK,
        curves="".join(map(_section, result.curves)),
    )


def _section(result: CurveResult) -> str:
    notes = notes_of(result)
    told = "\n".join(f"- {note}" for note in notes) if notes else "Nothing grows faster than it should."
    shown_table = table(head_of(result), rows_of(result), left=(0, 1))
    return f"\n## {result.axis.capitalize()}\n{_TOLD[result.curve]}\n{shown_table}\n\n{told}\n"


def _exponent(found: float | None, most: float | None) -> str:
    if found is None or most is None:
        return ""
    return f"{round(found, 2) + 0:.2f}{' !' if found > most else ''}"  # + 0: never minus nothing
