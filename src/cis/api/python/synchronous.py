"""The clients of `cis.open`: `Space` has what one does with memories, `Client` adds the network.

Made from `asynchronous.py` by ``tools/unasync.py``: edit that.

::

    with cis.open() as memory:
        memory.set("editor", "dark mode")
        for change in memory.watch("project/"):
            print(change.key)

Every method may raise any `CisError`: `Unavailable` where the node is not there (any more), `Denied` where this node
may not do it, `UsageError` where the request makes no sense; its docstring names what else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, Self

from msgspec.structs import replace

from cis.api.control.protocol import Reply, Request
from cis.api.memories.memory_schema import (
    AddToMemory,
    Conflict,
    DeleteMemory,
    Found,
    GetMemory,
    IncrementMemory,
    ListConflicts,
    ListMemories,
    Memory,
    MemoryHistory,
    Mode,
    RemoveFromMemory,
    ResolveConflict,
    Saved,
    SearchMemories,
    SetMemory,
    Sibling,
    Version,
    WatchEvent,
    WatchMemories,
)
from cis.api.peers.gossip_schema import Broadcasted, BroadcastMessage, ListenTopics
from cis.api.peers.network_schema import (
    ConnectPeer,
    GetStatus,
    ListPeers,
    NodeStatus,
    PeerInfo,
    SyncNow,
    SyncResult,
)
from cis.api.python import values
from cis.api.python.message import Message
from cis.api.python.opened import OpenNode
from cis.api.python.streams import Stream
from cis.api.python.values import Value
from cis.errors import CisError, Unavailable, UsageError

PAGE = 100


class Space:
    """The memories of one space, or of all where a method is told so."""

    def __init__(self, node: OpenNode, space: str) -> None:
        self._node = node
        self._space = space

    @property
    def name(self) -> str:
        """The space: public, private, or one that was created."""
        return self._space

    def set(
        self,
        key: str,
        value: Value,
        *,
        category: str = "note",
        tags: Iterable[str] = (),
        ttl_s: float | None = None,
        vector: Iterable[float] | None = None,
        vector_model: str = "",
        version: str | None = None,
    ) -> Saved:
        """Set a memory, durable when this returns: a `str` as text, `bytes` as bytes, all else as JSON.

        ``ttl_s`` is in seconds. ``vector`` is an embedding of your own, of the model ``vector_model``; without one the
        node makes its own where it has a model. `UsageError` for a key above 512 bytes, a value above 256 KiB, what is
        not JSON, and a key that is a counter or a set. With ``version`` it is set only where the memory is still at
        that one, "" for where there is none; else `Changed` is raised.
        """
        travelling, form = values.packed(value)
        request = SetMemory(
            key=key,
            value=travelling,
            form=form,
            space=self._space,
            category=category,
            tags=values.words(tags),
            ttl_s=values.lifetime(ttl_s),
            vector=values.packed_vector(vector),
            vector_model=vector_model,
            version=version,
        )
        return self._node.call(request)

    def get(self, key: str) -> Memory | None:
        """Return a memory, None where there is none; its ``value`` is what was set, a number or a list."""
        found = self._node.call(GetMemory(key=key, space=self._space))
        return None if found is None else values.shown(found)

    def delete(self, key: str, *, version: str | None = None) -> bool:
        """Delete a memory, here and everywhere; False where there was none; ``version`` as for `set`."""
        return (self._node.call(DeleteMemory(key=key, space=self._space, version=version))).changed

    def incr(self, key: str, by: int = 1, *, category: str | None = None) -> int:
        """Add to a counter, made where there is none, and return what it comes to here.

        Increments made apart add up. `UsageError` where the key is no counter.
        """
        saved = self._node.call(IncrementMemory(key=key, by=by, space=self._space, category=category))
        if saved.value is None:
            raise CisError(f"{key!r} was counted, and at the same time became something else: see its conflicts")
        return saved.value

    def add(self, key: str, *elements: Value, category: str | None = None) -> None:
        """Add elements to a set, made where there is none.

        What one adds while another removes it stays. `UsageError` where the key is no set.
        """
        for group, form in values.by_form(elements):
            request = AddToMemory(key=key, values=group, form=form, space=self._space, category=category)
            self._node.call(request)

    def remove(self, key: str, *elements: Value) -> bool:
        """Remove elements from a set; False where it held none of them."""
        changed = False
        for group, form in values.by_form(elements):
            request = RemoveFromMemory(key=key, values=group, form=form, space=self._space)
            changed |= (self._node.call(request)).changed
        return changed

    def members(self, key: str) -> tuple[Any, ...]:
        """Return the elements of a set, none where there is no such memory; `UsageError` where it is no set."""
        found = self.get(key)
        if found is None:
            return ()
        if found.type != "set":
            raise UsageError(f"{key!r} is a {found.type}, not a set")
        return tuple(found.value or ())

    def list(
        self,
        prefix: str = "",
        *,
        category: str | None = None,
        tag: str | None = None,
        order: Literal["key", "newest"] = "key",
        all_spaces: bool = False,
    ) -> Iterator[Memory]:
        """Yield the memories whose keys begin so, in order of key or the latest changed first, page after page."""
        request = ListMemories(
            prefix=prefix, category=category, tag=tag, order=order, space=self._within(all_spaces), limit=PAGE
        )
        while True:
            page = self._node.call(request)
            for memory in page.memories:
                yield values.shown(memory)
            if page.next is None:
                return
            request = replace(request, after=page.next)

    def search(  # noqa: PLR0913 - one parameter for each filter
        self,
        query: str = "",
        *,
        limit: int = 20,
        prefix: str = "",
        category: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        mode: Mode = "hybrid",
        vector: Iterable[float] | None = None,
        vector_model: str = "",
        all_spaces: bool = False,
    ) -> Found:
        """Find memories by words and by meaning, best first; ``hits`` has them, each with a snippet and why.

        ``since`` and ``until`` bound when they were changed (a time without a zone is local; ``until`` is not
        included). ``vector`` stands for the query's meaning, compared with vectors of ``vector_model`` alone.
        ``note`` says where only words were looked for, and how to have more.
        """
        request = SearchMemories(
            query=query,
            limit=limit,
            prefix=prefix,
            category=category,
            tag=tag,
            space=self._within(all_spaces),
            since_ms=values.milliseconds(since),
            until_ms=values.milliseconds(until),
            mode=mode,
            vector=values.packed_vector(vector),
            vector_model=vector_model,
        )
        return values.shown_found(self._node.call(request))

    def conflicts(
        self,
        key: str | None = None,
        *,
        limit: int = 100,
        all_spaces: bool = False,
    ) -> tuple[Conflict, ...]:
        """Return the memories that were changed in two places at once, or the one of that key.

        The first of ``values`` is the one that is shown; the others are kept until `resolve`.
        """
        request = ListConflicts(key=key, space=self._within(all_spaces), limit=limit)
        found = self._node.call(request)
        return tuple(map(values.shown_conflict, found))

    def resolve(self, conflict: Conflict, outcome: Sibling | Value) -> Saved:
        """End a conflict, on all nodes: with one of its values, or a value of yours in the place of all.

        `UsageError` where the memory has other values by now than ``conflict`` says: look again.
        """
        seen = tuple(one.id for one in conflict.values)
        if isinstance(outcome, Sibling):
            request = ResolveConflict(key=conflict.key, space=conflict.space, keep=outcome.id, seen=seen)
        else:
            value, form = values.packed(outcome)
            request = ResolveConflict(key=conflict.key, space=conflict.space, value=value, form=form, seen=seen)
        return self._node.call(request)

    def history(self, key: str, *, limit: int = 100) -> tuple[Version, ...]:
        """Return the changes of a memory that are still known, newest first; none where nothing is known."""
        versions = self._node.call(MemoryHistory(key=key, space=self._space, limit=limit))
        return tuple(map(values.shown, versions))

    def watch(self, prefix: str = "", *, all_spaces: bool = False) -> Stream[WatchEvent]:
        """Yield changes of memories whose keys begin so, whoever makes them, from now on; only of a running node.

        Of a deletion only the key is told, and not even that where this node never knew it.
        """
        request = WatchMemories(prefix=prefix, space=self._within(all_spaces))
        return Stream(self._node, request, values.shown_event)

    def _within(self, all_spaces: bool) -> str | None:  # noqa: FBT001 - handed on
        return None if all_spaces else self._space


class Client(Space):
    """A node: the memories of the space it was connected for, its other spaces, its peers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the node; what is streamed ends."""
        self._node.close()

    def space(self, name: str) -> Space:
        """Return another space: public, private, or one that was created; it is asked for when it is used."""
        return Space(self._node, name)

    def status(self) -> NodeStatus:
        """Return how the node is: its name, whom it is connected with, what does not work and why."""
        return self._node.call(GetStatus())

    def peers(self, which: Literal["all", "connected", "discovered"] = "all") -> tuple[PeerInfo, ...]:
        """Return the other nodes, connected ones first: how each is reached, and how things stand with it."""
        return self._node.call(ListPeers(which=which))

    def peer(self, name: str) -> PeerInfo:
        """Return one peer, by name, ``did:cis:NAME``, DID or the beginning of one; `UsageError` where not just one."""
        return values.peer_of(self.peers(), name)

    def sync_with(self, node: str, *, timeout_s: float = 60.0) -> SyncResult:
        """Exchange with a member what either lacks, connecting first where need be, and return what came and went.

        `TimedOut` where it cannot be connected with in time, `Unavailable` where that or the exchange fails, or takes
        longer.
        """
        self._node.call(ConnectPeer(target=node, timeout_s=timeout_s))
        (result,) = self._node.call(SyncNow(target=node, timeout_s=timeout_s))
        if result.error:
            raise Unavailable(f"not in step with {result.name}: {result.error}")
        return result

    def broadcast(self, topic: str, data: str | bytes) -> Broadcasted:
        """Tell all members that are up something; it is not stored, and others miss it.

        `UsageError` for a name or a message that is too long, or is neither text nor bytes.
        """
        message, form = values.packed(data)
        if form == "json":
            raise UsageError(f"a message is text or bytes, and no {type(data).__name__}")
        return self._node.call(BroadcastMessage(topic=topic, message=message, form=form))

    def listen(self, topic: str | None = None) -> Stream[Message]:
        """Yield what members tell from now on, this node included, of a topic or of all."""
        return Stream(self._node, ListenTopics(topic=topic), values.message_of)

    def call(self, request: Request[Reply]) -> Reply:
        """Ask the node anything it can be asked (`cis.api.operations.REQUESTS`), as its other clients do."""
        return self._node.call(request)
