"""``cis p2p broadcast|listen|sync-status``: what members tell each other, and how far they are in step."""

from __future__ import annotations

import base64
import sys
from typing import Annotated

import typer

from cis.api.peers.gossip_schema import (
    TOPIC_DEFAULT,
    BroadcastMessage,
    GetSyncStatus,
    Heard,
    ListenTopics,
    PeerSync,
    SpaceSync,
)
from cis.apps.cli.printing import ago, moment, say, show_json, show_line, show_table, size, tell
from cis.apps.cli.shared import Json, running_node, seconds_of
from cis.errors import UsageError

READ_BYTES_MAX = 1 << 20
"""What is read of standard input before the node's own, lower limit is told."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (("broadcast", broadcast), ("listen", listen), ("sync-status", sync_status)):
        app.command(name)(command)


def broadcast(
    context: typer.Context,
    message: Annotated[str, typer.Argument(help="The text, or - to read standard input.", show_default=False)],
    topic: Annotated[
        str, typer.Option("--topic", "-t", help="What it is about, for those who listen.")
    ] = TOPIC_DEFAULT,
    json: Json = False,
) -> None:
    """Tell all members that are up something. It is not stored: members that are not up miss it.

    It goes to this node's neighbours, and from them to theirs, until all have it.

    Example: cis p2p broadcast "build 512 is green" --topic builds
    """
    request = BroadcastMessage(message=message, topic=topic) if message != "-" else _from_stdin(topic)
    with running_node(context) as node:
        sent = node.call(request)
    if json:
        show_json(sent)
    elif sent.neighbours:
        say(f"{size(sent.size)} sent to {sent.neighbours} neighbour{'s' if sent.neighbours > 1 else ''}")
    else:
        tell("nobody is connected, so nobody heard it: `cis p2p peers` shows who is known")


def listen(
    context: typer.Context,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Only this topic.", show_default=False)] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.", show_default=False)
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="End after so long: 10s, 5m.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Print what members broadcast, this node included, each message once and each author's in order. Ctrl-C ends it.

    Example: cis p2p listen --topic builds
    """
    seconds = seconds_of(timeout) if timeout is not None else None
    with running_node(context) as node:
        for heard in node.stream(ListenTopics(topic=topic, count=count, seconds=seconds)):
            if not isinstance(heard, Heard):
                tell("listening")
            elif json:
                show_line(heard)
            else:
                _show(heard)


def sync_status(context: typer.Context, json: Json = False) -> None:
    """Show for each member how many changes it lacks, and how many of its are lacking here.

    Connected members are asked now; of others the last word counts.

    Example: cis p2p sync-status
    """
    with running_node(context) as node:
        found = node.call(GetSyncStatus())
    if json:
        show_json(found)
        return
    rows = [row for one in found.members for row in _rows(one)]
    header = ("name", "connected", "space", "here", "there", "as of", "last success", "received", "sent", "last error")
    show_table(header, rows)
    if found.bodies_missing:
        say(f"{found.bodies_missing} changes came without their value; other members are asked: `cis p2p sync --full`")


def _from_stdin(topic: str) -> BroadcastMessage:
    data = sys.stdin.buffer.read(READ_BYTES_MAX + 1)
    if len(data) > READ_BYTES_MAX:
        raise UsageError("over 1 MiB on standard input: write it as a memory instead (`cis memory set`)")
    try:
        return BroadcastMessage(message=data.decode(), topic=topic)
    except UnicodeDecodeError:
        return BroadcastMessage(message=base64.b64encode(data).decode(), topic=topic, form="bytes")


def _show(heard: Heard) -> None:
    if heard.missed:
        tell(f"{heard.missed} messages before this were dropped: they were not read in time")
    what = heard.text if heard.text is not None else f"({len(base64.b64decode(heard.base64 or ''))} bytes)"
    say(f"{moment(heard.sent_ms)}  {heard.author}  {heard.topic}  {what}")
    sys.stdout.flush()


def _rows(peer: PeerSync) -> list[tuple[str, ...]]:
    known = peer.spaces or (None,)
    return [_row(peer, space) for space in known]


def _row(peer: PeerSync, space: SpaceSync | None) -> tuple[str, ...]:
    success = "going on" if peer.syncing else ago(peer.last_success_s)
    return (
        peer.name,
        ("yes, neighbour" if peer.neighbour else "yes") if peer.connected else "no",
        space.space if space is not None else "",
        _behind(space.behind_here) if space is not None else "?",
        _behind(space.behind_there) if space is not None else "?",
        "now" if peer.asked else ago(peer.stated_s),
        success,
        f"{peer.changes_received} changes, {size(peer.bytes_received)}",
        size(peer.bytes_sent),
        peer.last_error,
    )


def _behind(changes: int) -> str:
    return f"{changes} behind" if changes else "in step"
