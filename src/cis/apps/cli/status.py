"""``cis status``: one screen of who this node is, with whom it is connected, whether in step, and what to mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from cis.apps.cli.printing import ago, moment, say, show_json
from cis.apps.cli.shared import Json, node_of

if TYPE_CHECKING:
    from cis.api.peers.network_schema import NodeStatus, PeerGlance

LISTED_MAX = 12
"""Peers and problems that are shown, so that all of it is one screen."""


def status(context: typer.Context, json: Json = False) -> None:
    """Show how this node is on one screen: its peers by path, whether it is in step, what does not work, what to type.

    Connected members are asked what they hold, for a second at most.

    Example: cis status
    """
    from cis.api.peers.network_schema import GetStatus

    with node_of(context) as node:
        found = node.call(GetStatus(ask=True))
    if json:
        show_json(found)
        return
    for title, lines in _parts(found):
        for number, line in enumerate(lines):
            say(f"{'' if number else title:<9} {line}")


def where(listen: str | None) -> str:
    """Return where a node listens, as the end of a sentence."""
    return f", listening on {listen}" if listen else ", opening no socket"


def _parts(found: NodeStatus) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what is shown: titles, and the lines of each."""
    running = f"up for {ago(found.uptime_s)}{where(found.listen)}" if found.running else "not running: cis up"
    yield "node", (f"{found.name} ({found.role}), {running}", found.did)
    yield "home", (found.home,)
    yield "cluster", (f"{found.cluster[:16]}: {', '.join(found.members)}",)
    if found.removed_by is not None:
        when = f", {moment(found.removed_ms)}" if found.removed_ms else ""
        yield (
            "removed",
            (
                f"this node is no member any more: it was removed by {found.removed_by}{when}",
                "what it holds stays here; to come back: an admin's `cis invite`, then `cis join` here",
            ),
        )
    partial = found.elsewhere.items()
    yield "kept here", [f"{name}: not everything; {count} bodies on other devices alone" for name, count in partial]
    if found.running:
        yield "connected", list(_connected(found))
    if found.peers:
        yield "in step", (_in_step(found.peers),)
    yield "memories", (f"{found.memories} public",)
    yield from _limits(found)
    yield "problem", list(problem_lines(found))


def _connected(found: NodeStatus) -> Iterator[str]:
    """Yield a line a peer, and one for those that are not connected."""
    if not found.networking:
        yield "networking is off: cis config set p2p.enabled true"
        return
    width = max((len(one.name) for one in found.peers[:LISTED_MAX]), default=0)
    for one in found.peers[:LISTED_MAX]:
        rtt = f", {one.rtt_ms:.1f} ms" if one.rtt_ms is not None else ""
        error = f"; last session failed: {one.last_error}" if one.last_error else ""
        yield f"{one.name:<{width}}  {one.path}{rtt}, {_how_far(one)}{error}"
    if len(found.peers) > LISTED_MAX:
        yield f"and {len(found.peers) - LISTED_MAX} more: cis p2p peers --connected"
    if not found.peers:
        yield "none: cis p2p connect NAME says what fails" if len(found.members) > 1 else "none: cis invite"
    away = [name for name in found.members if name not in found.connected and name != found.name]
    if away and found.peers:
        more = f" and {len(away) - LISTED_MAX} more" if len(away) > LISTED_MAX else ""
        yield f"not with {', '.join(away[:LISTED_MAX])}{more}"
    if found.quarantined:
        yield f"{', '.join(found.quarantined)} in quarantine: nothing is exchanged"


def _how_far(one: PeerGlance) -> str:
    if one.syncing:
        return "synchronising"
    if one.behind_here is None or one.behind_there is None:
        return f"last in step {ago(one.in_step_s)} ago" if one.in_step_s is not None else "not compared yet"
    if not one.behind_here and not one.behind_there:
        return "in step"
    return f"{one.behind_here} changes to come, {one.behind_there} to go"


def _in_step(peers: Sequence[PeerGlance]) -> str:
    """Sum up: whether what is here is what all connected members hold."""
    behind = [one for one in peers if one.behind_here or one.behind_there]
    unknown = [one for one in peers if one.behind_here is None]
    if behind:
        return f"not with {len(behind)} of {len(peers)} connected members: cis p2p sync hurries it, and says what fails"
    if unknown:
        return f"with {len(peers) - len(unknown)} of {len(peers)} connected members; the others did not say in time"
    return f"with all {len(peers)} connected members" if len(peers) > 1 else "with the connected member"


def _limits(found: NodeStatus) -> Iterator[tuple[str, Sequence[str]]]:
    from cis.api.peers.reach_notes import notes_of

    yield "reach", [f"{note.found} ({note.fix})" for note in notes_of(found.reach)] if found.reach is not None else ()
    yield "banned", [f"{name}: it broke the protocol; {ago(left_s)} left" for name, left_s in found.banned.items()]
    if found.turned_away:
        counts = (f"{count} {what.replace('_', ' ')}" for what, count in found.turned_away.items())
        yield "limits", (", ".join(counts),)


def problem_lines(found: NodeStatus) -> Iterator[str]:
    """Yield problems, the newest first, and what to type about each."""
    ages_s = found.problem_ages_s
    newest = sorted(found.problems, key=lambda place: ages_s.get(place, 0.0))
    for place in newest[:LISTED_MAX]:
        when = f" ({ago(ages_s[place])} ago)" if place in ages_s else ""
        yield f"{place}: {found.problems[place]}{when}"
        if remedy := found.remedies.get(place):
            yield f"  try: {remedy}"
    if len(newest) > LISTED_MAX:
        yield f"and {len(newest) - LISTED_MAX} more: cis status --json"
