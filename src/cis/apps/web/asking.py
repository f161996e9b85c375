"""What the page may ask of the node, and how: one table, of which everything else is refused."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from cis.api.exchange.json_text import check_json, parse_json
from cis.api.membership.trust_schema import ListSpaces
from cis.api.memories.memory_schema import (
    DeleteMemory,
    GetMemory,
    ListConflicts,
    ListMemories,
    ResolveConflict,
    Saved,
    SearchMemories,
    SetMemory,
)
from cis.api.peers.network_schema import GetStatus, ListPeers, NodeStatus, PeerInfo
from cis.api.peers.reach_notes import Note, notes_of
from cis.api.python.remote import AsyncRemoteNode
from cis.api.telemetry.telemetry_schema import GetTopology, Topology
from cis.apps.web import shown
from cis.errors import Changed, UsageError

LISTED = 50
CONFLICTS_MAX = 20
TOPOLOGY_S = 3.0

Form = Literal["text", "json"]


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page asks."""


class AskLive(Question, frozen=True, kw_only=True):
    """How the node is, and its peers."""


class Live(msgspec.Struct, frozen=True):
    """A node and its peers, and what limits how it is reached."""

    status: NodeStatus
    peers: tuple[PeerInfo, ...]
    notes: tuple[Note, ...]


async def live(node: AsyncRemoteNode, _: AskLive) -> Live:
    """Say how the node is."""
    status = await node.call(GetStatus())
    peers = await node.call(ListPeers(ask=True)) if status.networking else ()
    return Live(status, peers, notes_of(status.reach) if status.reach is not None else ())


class AskTopology(Question, frozen=True, kw_only=True):
    """Who is connected with whom; all members are asked."""


async def topology(node: AsyncRemoteNode, _: AskTopology) -> Topology:
    """Ask the members whom they are connected with."""
    return await node.call(GetTopology(timeout_s=TOPOLOGY_S))


class AskSpaces(Question, frozen=True, kw_only=True):
    """The names of the spaces whose memories can be read."""


async def spaces(node: AsyncRemoteNode, _: AskSpaces) -> list[str]:
    """List the spaces."""
    return [one.name for one in await node.call(ListSpaces()) if one.readable]


class AskMemories(Question, frozen=True, kw_only=True):
    """Memories found by a ``query``; without one those of a ``prefix``, the latest changed first, from ``after`` on."""

    query: str = ""
    space: str | None = None
    category: str | None = None
    tag: str | None = None
    prefix: str = ""
    after: str | None = None


async def memories(node: AsyncRemoteNode, asked: AskMemories) -> shown.ShownPage:
    """Search, or list."""
    filters: dict[str, Any] = {name: getattr(asked, name) for name in ("space", "category", "tag", "prefix")}
    if asked.query:
        return shown.found(await node.call(SearchMemories(query=asked.query, limit=LISTED, **filters)))
    return shown.listed(await node.call(ListMemories(order="newest", limit=LISTED, after=asked.after, **filters)))


class AskMemory(Question, frozen=True, kw_only=True):
    """One memory, whole; null where there is none."""

    key: str
    space: str = "public"


async def memory(node: AsyncRemoteNode, asked: AskMemory) -> shown.Shown | None:
    """Read a memory."""
    one = await node.call(GetMemory(key=asked.key, space=asked.space))
    return shown.shown(one, one.key, one.space) if one is not None else None


class SaveMemory(Question, frozen=True, kw_only=True):
    """Set a memory to what was written about its ``version``, null for a new one; what came since is not replaced."""

    key: str
    space: str = "public"
    form: Form = "text"
    text: str
    category: str = "note"
    tags: tuple[str, ...] = ()
    version: str | None = None


async def save(node: AsyncRemoteNode, asked: SaveMemory) -> Saved:
    """Write a memory; `Changed` where it has changed since it was read."""
    before = await node.call(GetMemory(key=asked.key, space=asked.space))
    if before is not None and asked.version is None:
        raise Changed(f"there is a memory of that key in {asked.space} already: open it to change it")
    if before is not None and before.version != asked.version:
        raise Changed(f"{before.author} has changed it since you opened it: nothing was saved; open it anew to see")
    if before is not None and before.type != "register":
        raise UsageError(f"it is a {before.type} by now: cis memory incr, add and remove change such")
    if before is None and asked.version is not None:
        raise Changed("it was deleted since you opened it: nothing was saved; make it anew if it should be")
    left_s = before.expires_ms / 1000 - time.time() if before is not None and before.expires_ms else None
    return await node.call(
        SetMemory(
            key=asked.key,
            space=asked.space,
            form=asked.form,
            value=_value(asked.form, asked.text),
            category=asked.category,
            tags=asked.tags,
            ttl_s=max(1.0, left_s) if left_s is not None else None,
            version=asked.version or "",
        )
    )


class EraseMemory(AskMemory, frozen=True, kw_only=True):
    """Delete a memory, here and everywhere."""


async def erase(node: AsyncRemoteNode, asked: EraseMemory) -> Saved:
    """Delete a memory."""
    return await node.call(DeleteMemory(key=asked.key, space=asked.space))


class AskConflicts(Question, frozen=True, kw_only=True):
    """Memories that were changed in two places at once."""


async def conflicts(node: AsyncRemoteNode, _: AskConflicts) -> list[shown.ShownConflict]:
    """List conflicts."""
    return [shown.conflict(one) for one in await node.call(ListConflicts(limit=CONFLICTS_MAX))]


class Resolve(Question, frozen=True, kw_only=True):
    """End a conflict that has the values ``seen``: keep one of them, or what was written instead."""

    key: str
    space: str
    seen: tuple[str, ...]
    keep: str | None = None
    text: str | None = None
    form: Form = "text"


async def resolve(node: AsyncRemoteNode, asked: Resolve) -> Saved:
    """End a conflict."""
    given = asked.text is not None
    return await node.call(
        ResolveConflict(
            key=asked.key,
            space=asked.space,
            keep=asked.keep,
            value=_value(asked.form, asked.text) if asked.text is not None else None,
            form=asked.form if given else None,
            seen=asked.seen,
        )
    )


def _value(form: Form, text: str) -> Any:  # noqa: ANN401 - JSON
    return check_json(parse_json(text)) if form == "json" else text


Asking = Callable[[AsyncRemoteNode, Any], Awaitable[Any]]
QUESTIONS: dict[str, tuple[type[Question], Asking]] = {
    "live": (AskLive, live),
    "topology": (AskTopology, topology),
    "spaces": (AskSpaces, spaces),
    "memories": (AskMemories, memories),
    "memory": (AskMemory, memory),
    "save": (SaveMemory, save),
    "erase": (EraseMemory, erase),
    "conflicts": (AskConflicts, conflicts),
    "resolve": (Resolve, resolve),
}
"""By the last part of their paths."""
