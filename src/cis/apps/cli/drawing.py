"""A topology as a tree of text, as a graph for Graphviz, and as a picture."""

from __future__ import annotations

import html
import math
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cis.api.text import escaped

if TYPE_CHECKING:
    from cis.api.telemetry.telemetry_schema import Topology, TopologyTie

_MARGIN = 110
_RADIUS_MIN = 150
_ARC = 34
"""Room on the circle for each name."""


def tree(found: Topology) -> Iterator[str]:
    """Yield lines: the ways from this node to the others by the fewest hops, then who is on none of them.

    A connection that is on no such way stands behind the later of its ends.
    """
    placed: set[str] = set()
    for number, member in enumerate(found.members):
        if member.name in placed or (number and not _ties_of(found, member.name)):
            continue
        if number:
            yield "not known to be connected with this node:"
        yield from _branches(found, member.name, placed)
    left = [one for one in found.members[1:] if one.name not in placed]
    for standing, words in (
        ("told", "up, and connected with nobody"),
        ("silent", "up, and did not say whom it is connected with"),
        ("away", "not up, as far as is known"),
    ):
        if names := [one.name for one in left if one.standing == standing]:
            yield f"{words}: {', '.join(names)}"


def _branches(found: Topology, root: str, placed: set[str]) -> Iterator[str]:
    """Yield the tree below a member; all in it are added to ``placed``."""
    children, also = _spread(found, root, placed)
    yield root + (" (this node)" if root == found.members[0].name else "")
    waiting = [(tie, root, "", number == len(children[root])) for number, tie in enumerate(children[root], 1)][::-1]
    while waiting:
        tie, parent, indent, last = waiting.pop()
        name = _other(tie, parent)
        more = f"; also with {', '.join(also[name])}" if also[name] else ""
        yield f"{indent}{'└─' if last else '├─'} {name}  {_words(found, tie)}{more}"
        below, deeper = children[name], indent + ("   " if last else "│  ")
        waiting += [(one, name, deeper, number == len(below)) for number, one in enumerate(below, 1)][::-1]


def _spread(found: Topology, root: str, placed: set[str]) -> tuple[dict[str, list[TopologyTie]], dict[str, list[str]]]:
    """Return the ties that lead from each member to the next ones, and with whom else each is connected."""
    children: dict[str, list[TopologyTie]] = {root: []}
    also: dict[str, list[str]] = {root: []}
    order, waiting = {root: 0}, deque([root])
    placed.add(root)
    used: list[TopologyTie] = []
    while waiting:
        name = waiting.popleft()
        for tie in _ties_of(found, name):
            other = _other(tie, name)
            if other not in order:
                order[other] = len(order)
                children[name].append(tie)
                children[other], also[other] = [], []
                placed.add(other)
                used.append(tie)
                waiting.append(other)
    for tie in found.ties:
        if tie.ends[0] in order and not any(tie is one for one in used):
            earlier, later = sorted(tie.ends, key=order.__getitem__)
            also[later].append(earlier)
    return children, also


def dot(found: Topology) -> Iterator[str]:
    """Yield lines for Graphviz: this node is bold, who is not up is grey, what carries no gossip is dashed."""
    yield "graph cis {"
    yield '  node [shape=box, fontname="sans-serif"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    styles = {"self": ' [style="bold"]', "away": ' [color="gray", fontcolor="gray"]'}
    for member in found.members:
        yield f"  {_quoted(member.name)}{styles.get(member.standing, '')};"
    for tie in found.ties:
        style = "" if tie.neighbour else ', style="dashed"'
        first, second = map(_quoted, tie.ends)
        yield f"  {first} -- {second} [label={_quoted(_words(found, tie))}{style}];"
    yield "}"


def svg(found: Topology) -> Iterator[str]:
    """Yield a picture: members on a circle, this node on top; drawn as `dot` says."""
    count = len(found.members)
    radius = max(_RADIUS_MIN, round(_ARC * count / math.tau))
    side = 2 * (radius + _MARGIN)
    places = {
        member.name: (
            side / 2 + radius * math.sin(math.tau * number / count),
            side / 2 - radius * math.cos(math.tau * number / count),
        )
        for number, member in enumerate(found.members)
    }
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" role="img" '
        'font-family="sans-serif" font-size="13" text-anchor="middle">'
    )
    yield f"<title>{count} members, {len(found.ties)} connections</title>"
    yield '<rect width="100%" height="100%" fill="white"/>'
    for tie in found.ties:
        (x1, y1), (x2, y2) = (places[end] for end in tie.ends)
        dashed = "" if tie.neighbour else ' stroke-dasharray="5 4"'
        line = f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#468"{dashed}>'
        yield f"{line}<title>{_text(f'{tie.ends[0]} – {tie.ends[1]}: {_words(found, tie)}')}</title></line>"
    for member in found.members:
        x, y = places[member.name]
        fill = {"self": "#246", "away": "#bbb"}.get(member.standing, "#79b")
        yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="7" fill="{fill}"/>'
        yield f'<text x="{x:.0f}" y="{y + (-13 if y < side / 2 else 22):.0f}">{_text(member.name)}</text>'
    yield "</svg>"


def _words(found: Topology, tie: TopologyTie) -> str:
    """Say what a connection runs on, and who says so where the other end is up and does not."""
    parts = [tie.path, *([f"{tie.rtt_ms:.1f} ms"] if tie.rtt_ms is not None else [])]
    told = {one.name for one in found.members if one.standing in {"self", "told"}}
    if [end for end in tie.ends if end not in tie.told_by and end in told]:
        parts.append(f"says {tie.told_by[0]} alone")
    return ", ".join(parts)


def _ties_of(found: Topology, name: str) -> list[TopologyTie]:
    """Return the ties of a member, those that carry gossip first."""
    return sorted((tie for tie in found.ties if name in tie.ends), key=lambda tie: not tie.neighbour)


def _other(tie: TopologyTie, name: str) -> str:
    return tie.ends[1] if tie.ends[0] == name else tie.ends[0]


def _quoted(text: str) -> str:
    return '"' + escaped(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text: str) -> str:
    return html.escape(escaped(text))
