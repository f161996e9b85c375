"""``cis p2p bootstrap``: where members are looked for after a restart."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cis.api.peers.peer_schema import AddBootstrap, BootstrapPeer, ListBootstrap, RemoveBootstrap
from cis.apps.cli.printing import ago, moment, say, show_json, show_table, tell
from cis.apps.cli.shared import Json, group, node_of, seconds_of
from cis.errors import CisError, UsageError

if TYPE_CHECKING:
    from cis.api.peers.bootstrap_telling import Telling
    from cis.api.peers.peer_schema import BootstrapList

ASIDE_SHOWN = 5
app = group("The list this node comes back by: where members were reached, best first. With the node up or down.")


@app.command("list")
def show(context: typer.Context, json: Json = False) -> None:
    """List members whose address is known, in the order they are preferred, with why; and what was kept aside.

    The score is the sum of four parts: how often it worked lately (at most 0.45), how recently (0.25), how near it is
    (0.15), how direct the path (0.15). Connected members come first.

    Example: cis p2p bootstrap list
    """
    with node_of(context) as node:
        found = node.call(ListBootstrap())
    if json:
        show_json(found)
    else:
        say_list(found)


@app.command("add")
def add(
    context: typer.Context,
    entries: Annotated[
        list[str], typer.Argument(help="DID@host:port or NAME@host:port of members; - reads them from stdin.")
    ],
    json: Json = False,
) -> None:
    """Add addresses of members; they are kept until `remove`, however they fare.

    Example: cis p2p bootstrap add workstation@192.168.1.7:7677
    """
    texts = [line for entry in entries for line in (sys.stdin.read().split() if entry == "-" else [entry])]
    with node_of(context) as node:
        found = node.call(AddBootstrap(entries=tuple(texts)))
    if json:
        show_json(found)
        return
    for one in found.added:
        say(f"added {one}")


@app.command("remove")
def remove(
    context: typer.Context,
    peer: Annotated[str, typer.Argument(help="A member's name or DID, or the beginning of its DID.")],
    json: Json = False,
) -> None:
    """Forget a member's addresses and how they fared; what others tell of it later counts again.

    Example: cis p2p bootstrap remove workstation
    """
    with node_of(context) as node:
        found = node.call(RemoveBootstrap(target=peer))
    if json:
        show_json(found)
    else:
        say(f"forgot {found.addresses} addresses of {found.name}")


@app.command("export")
def export(
    context: typer.Context,
    count: Annotated[int, typer.Option(min=1, help="Of how many members, the best first.")] = 20,
    every: Annotated[bool, typer.Option("--every", help="Every address of each, not only the best.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Print entries for another member's `cis p2p bootstrap add`, one a line, the best first.

    They name nodes and their addresses: share them with members alone.

    Example: cis p2p bootstrap export -o entries.txt
    """
    with node_of(context) as node:
        found = node.call(ListBootstrap())
    entries = [
        f"{one.did}@{way.address}"
        for one in found.peers[:count]
        for way in [way for way in one.addresses if way.address != "ICE"][: None if every else 1]
    ]
    if output is not None:
        _write(output, "".join(f"{entry}\n" for entry in entries))
        tell(f"{len(entries)} entries are in {output}")
    elif json:
        show_json(entries)
    else:
        for entry in entries:
            say(entry)


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CisError(f"{output} cannot be written: {error.strerror}") from None


def say_list(found: BootstrapList) -> None:
    """Print the list for people."""
    header = (
        "",
        "name",
        "score",
        "worked+recent+near+path",
        "state",
        "path",
        "rtt",
        "ok/failed",
        "seen",
        "best address",
    )
    show_table(header, [_row(number, one) for number, one in enumerate(found.peers, 1)])
    for aside in found.aside[-ASIDE_SHOWN:]:
        say(f"kept aside {aside.at}: {aside.why}: {msgspec.json.encode(aside.entry).decode()[:200]}")
    if len(found.aside) > ASIDE_SHOWN:
        say(f"and {len(found.aside) - ASIDE_SHOWN} more, in {found.file}.bad")


def telling_of(every: str | None) -> Telling | None:
    """Return what prints the list that often, None for never."""
    if every is None:
        return None
    from cis.api.peers.bootstrap_telling import Telling

    every_s = seconds_of(every)
    if every_s < 1:
        raise UsageError(f"--print-bootstrap {every}: every second at most")
    return Telling(every_s, _print)


def _print(found: BootstrapList) -> None:
    say(f"{moment(round(time.time() * 1000))}  {found.file}, members: {len(found.peers)}")
    say_list(found)
    sys.stdout.flush()


def _row(number: int, peer: BootstrapPeer) -> tuple[str, ...]:
    why = peer.why
    return (
        str(number),
        peer.name,
        f"{peer.score:.2f}",
        f"{why.worked:.2f}+{why.recent:.2f}+{why.near:.2f}+{why.path:.2f}",
        peer.state,
        peer.path,
        f"{peer.rtt_ms:.1f} ms" if peer.rtt_ms is not None else "",
        f"{peer.successes}/{peer.failures}",
        f"{ago(peer.seen_s)} ago" if peer.seen_s is not None else "",
        peer.addresses[0].address if peer.addresses else "",
    )
