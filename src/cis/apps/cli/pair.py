"""The pair command: two devices become one cluster by a number and two words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cis.api.control.client import connect
from cis.api.membership.pairing_schema import CodeShown, DevicesPaired, MemoriesRenamed, PairEvent, ShowCode, TakeCode
from cis.api.peers.network_schema import GetStatus
from cis.apps.cli.printing import say, say_renamed, show_line, tell
from cis.apps.cli.shared import Json, agree, home_in
from cis.errors import UsageError

SKEW_S_MAX = 600.0
_QUESTION = (
    "This device joins the other's cluster, and {} will be shared with it; where it may only read there, they stay "
    "here, in private. Go on?"
)
_ROLES = ("admin", "writer", "reader", "blind")


def pair(
    context: typer.Context,
    code: Annotated[
        str | None, typer.Argument(help="What the other device shows; without it, this one shows one.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where the other device is.", show_default=False)
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An anchor to meet at, else those of the settings.", show_default=False),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="What the other device may do: admin, writer, reader or blind.", show_default="writer"),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", "-s", help="A space it gets besides public; may be repeated.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the device that joins will be called.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before public memories move.")] = False,
    json: Json = False,
) -> None:
    """Pair two devices: one shows a code, the other takes it. The one alone in its cluster joins the other's.

    Example: cis pair, and on the other device cis pair 42-copper-otter
    """
    from cis.api.membership.pairing import pair as carry_out

    _check_options(code, at, anchor, role)
    home = home_in(context)
    with connect(home) as node:
        status = node.call(GetStatus())
    alone, memories = len(status.members) == 1, status.memories

    def show(event: PairEvent) -> None:
        if json:
            show_line(event)
        else:
            _show(event, running=status.running)

    asked = {"anchor": anchor, "role": role, "spaces": tuple(space or ()), "name": name}
    if code is None:
        if alone and memories and role is None and not space:
            tell(f"should the other device have a cluster already, this one joins it, {_moving(memories)} with it")
        carry_out(home, ShowCode(**asked), show)  # type: ignore[arg-type] # the role is checked above
    else:
        _check_taken(code, 0 if yes or not alone else memories)
        if not json:
            tell(_looking(home, code, at, anchor))
        carry_out(home, TakeCode(code=code, at=at, **asked), show)  # type: ignore[arg-type] # as above
    if anchor is not None and not json:
        _say_anchor(home, anchor)


def _check_options(code: str | None, at: str | None, anchor: str | None, role: str | None) -> None:
    if role is not None and role not in _ROLES:
        raise UsageError(f"{role!r} is no role: there are {', '.join(_ROLES)}")
    if code is None and at is not None:
        raise UsageError("--at goes with a code: it says where the device is that shows it")
    if at is not None and anchor is not None:
        raise UsageError("--at and --anchor are two ways: give one")


def _looking(home: Path, code: str, at: str | None, anchor: str | None) -> str:
    from cis.api.peers.anchoring import anchor_hosts

    if at is not None:
        return f"asking {at}"
    hosts = anchor_hosts(home, anchor)
    elsewhere = f", and at {' and '.join(hosts)}" if hosts else ""
    return f"looking for the device that shows {code.partition('-')[0]}-… on this network{elsewhere}"


def _say_anchor(home: Path, anchor: str) -> None:
    """Say how the devices meet there again, unless the settings have it so."""
    from cis.api.peers.anchoring import uses_anchor

    if not uses_anchor(home, anchor):
        say("for the devices to find each other there from now on, on both:")
        say(f"    cis config set p2p.cloud_anchor.endpoint {anchor}")
        say("    cis config set p2p.cloud_anchor.enabled true")


def _moving(memories: int) -> str:
    return f"its {memories} public {'memory' if memories == 1 else 'memories'}"


def _check_taken(code: str, memories: int) -> None:
    """Refuse what is no code, then ask whether that many memories may move along."""
    from cis.api.membership.pairing import check_code

    check_code(code)
    if memories:
        agree(_QUESTION.format(_moving(memories)))


def _show(event: PairEvent, *, running: bool) -> None:
    if isinstance(event, CodeShown):
        _show_code(event)
    elif isinstance(event, MemoriesRenamed):
        say_renamed(event.renamed)
    else:
        _show_paired(event, running=running)
    sys.stdout.flush()


def _show_code(shown: CodeShown) -> None:
    say(f"on the other device, within {shown.expires_s / 60:g} minutes:")
    say("")
    say(f"    cis pair {shown.code}")
    say("")
    where = " or ".join(f"--at {address}" for address in shown.addresses[:3])
    if shown.anchors:
        say(f"from anywhere, by the anchor {' or '.join(shown.anchors)} (--anchor URL, where it is not set)")
    for problem in shown.problems:
        tell(problem)
    if shown.found:
        say(f"where that does not find this device: {where}")
    else:
        say(f"and, since mDNS is off here: {where}")


def _show_paired(paired: DevicesPaired, *, running: bool) -> None:
    if paired.joined:
        say(f"this device is {paired.name} now, {paired.role} in the cluster of {paired.peer}")
    else:
        say(f"{paired.name} is a member now, as {paired.role}")
    say(f"  {paired.did}")
    say("both devices must show the same words:")
    say("")
    say(f"    {' '.join(paired.words)}")
    say("")
    if not paired.joined:
        say(f"other words there? It is not your device that came in: cis acl revoke {paired.name}")
    if abs(paired.skew_s) > SKEW_S_MAX:
        ahead = "ahead of" if paired.skew_s > 0 else "behind"
        tell(
            f"the other device's clock is {abs(paired.skew_s) / 60:.0f} min {ahead} this one's: set the wrong one; "
            "what is dated more than 10 min ahead takes effect only then"
        )
    if not running:
        say("next: cis up --detach")
