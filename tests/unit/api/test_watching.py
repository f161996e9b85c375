"""What a watcher is told: each change once, by whom and of what kind, and what expires at its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.memories.memory_schema import (
    AddToMemory,
    DeleteMemory,
    IncrementMemory,
    RemoveFromMemory,
    SetMemory,
    WatchEvent,
    WatchMemories,
)
from cis.api.memories.watching import RANGES_MAX, Feed, WatchOperations
from cis.crdt import Policy
from cis.errors import CisError, Unavailable
from cis.model import Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.wire.content import Content, Form
from tests.unit.api.clocks import Clock

WAIT_S = 10.0


class Watched:
    """A node and one watcher of it."""

    def __init__(self, node: EmbeddedNode, clock: Clock) -> None:
        self.node = node
        self.clock = clock
        self.feed = Feed(node.local)
        self._events: asyncio.Queue[WatchEvent | CisError] = asyncio.Queue()

    async def collect(self, request: WatchMemories) -> None:
        """Watch until cut off."""
        operations = WatchOperations(self.node.local, Policy.CRDT, self.node.readers, self.feed)
        try:
            async for event in operations.watch(request):
                self._events.put_nowait(event)
        except CisError as error:
            self._events.put_nowait(error)

    async def next(self) -> WatchEvent:
        """Return the next event, or raise what ended the watching."""
        event = await asyncio.wait_for(self._events.get(), WAIT_S)
        if isinstance(event, CisError):
            raise event
        return event

    async def begun(self) -> None:
        """Return once the watcher watches."""
        while not self.feed._subscriptions:
            await asyncio.sleep(0)
        await asyncio.to_thread(self.node.call, SetMemory(key="begun", value=""))
        assert (await self.next()).key == "begun"


@asynccontextmanager
async def watched(folder: Path, prefix: str = "", space: str | None = None) -> AsyncIterator[Watched]:
    clock = Clock()
    home = Home(folder / "home")
    LocalNode.create(home, "solo").close()
    with EmbeddedNode(LocalNode.open(home, clock_ms=clock)) as node:
        async with asyncio.TaskGroup() as group:
            watcher = Watched(node, clock)
            collecting = group.create_task(watcher.collect(WatchMemories(prefix=prefix, space=space)))
            await watcher.begun()
            yield watcher
            collecting.cancel()


def test_each_change_is_told_with_its_kind_author_and_time(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            call: Callable[..., object] = watcher.node.call
            call(SetMemory(key="k", value="v"))
            told = [await watcher.next()]
            call(IncrementMemory(key="n", by=2))
            call(AddToMemory(key="s", values=("a",)))
            call(DeleteMemory(key="k"))
            told += [await watcher.next() for _ in range(3)]
            assert [(one.event, one.kind, one.key, one.memory is None) for one in told] == [
                ("set", "put", "k", False),
                ("set", "count", "n", False),
                ("set", "add", "s", False),
                ("delete", "delete", "k", True),
            ]
            assert {(one.author, one.author_did[8:22] == one.device) for one in told} == {("solo", True)}
            assert {one.at_ms for one in told} == {watcher.clock.ms}

    asyncio.run(check())


def test_of_what_is_written_to_a_memory_at_once_the_last_is_told(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            call: Callable[..., object] = watcher.node.call
            call(AddToMemory(key="s", values=tuple("abcdef")))
            told = await watcher.next()
            assert (told.kind, told.memory is not None and told.memory.value) == ("add", list("abcdef"))
            call(RemoveFromMemory(key="s", values=tuple("abcdef")))
            assert (await watcher.next()).event == "delete"
            call(SetMemory(key="end", value=""))
            assert (await watcher.next()).key == "end"

    asyncio.run(check())


def test_a_prefix_and_a_space_leave_the_rest_out(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path, prefix="begun", space="public") as watcher:
            watcher.node.call(SetMemory(key="other", value="v"))
            watcher.node.call(SetMemory(key="begun", value="v", space="private"))
            watcher.node.call(SetMemory(key="begun/2", value="v"))
            assert (await watcher.next()).key == "begun/2"

    asyncio.run(check())


def test_what_expires_is_told_once_at_its_time_and_its_deletion_not_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            watcher.node.call(SetMemory(key="k", value="v", ttl_s=3600))
            assert (await watcher.next()).event == "set"
            watcher.clock.ms += 3_600_000
            watcher.node.call(SetMemory(key="wakes", value=""))
            told = {event.key: event for event in [await watcher.next(), await watcher.next()]}
            assert (told["wakes"].event, told["k"].event, told["k"].kind) == ("set", "expire", None)
            assert told["k"].at_ms == watcher.clock.ms
            assert watcher.node.expiring.round(grace_ms=0) == 1
            watcher.node.call(SetMemory(key="last", value=""))
            assert (await watcher.next()).key == "last"

    asyncio.run(check())


def test_a_memory_that_expires_soon_is_told_without_any_change(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            watcher.node.call(SetMemory(key="k", value="v", ttl_s=0.05))
            assert (await watcher.next()).event == "set"
            watcher.clock.ms += 50
            assert (await watcher.next()).event == "expire"

    asyncio.run(check())


def test_a_vector_is_no_change(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            from cis.store.texts import digest_of, embeddable

            watcher.node.call(SetMemory(key="k", value="v"))
            await watcher.next()
            space = watcher.node.local.cluster.space("public")
            with watcher.node.readers.snapshot() as reader:
                recalled = reader.recall(space, "k")
                assert recalled is not None
                text = embeddable(recalled)
            assert text is not None
            content = Content("k", digest_of(text), form=Form.BYTES, vector=b"\0\0\x80\x3f" * 4, vector_model="m")
            (written,) = watcher.node.local.store.write([Write(space, Kind.VECTOR, content)]).result()
            assert written.dot is not None
            watcher.node.call(SetMemory(key="last", value=""))
            assert (await watcher.next()).key == "last"

    asyncio.run(check())


def test_a_watcher_that_is_cut_off_or_whose_node_ends_is_told_so(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            (subscription,) = watcher.feed._subscriptions
            subscription.put([None] * (RANGES_MAX + 1))  # only their number counts
            with pytest.raises(Unavailable, match="too slowly"):
                await watcher.next()
        async with watched(tmp_path / "again") as watcher:
            watcher.feed.close()
            with pytest.raises(Unavailable, match="the node ended"):
                await watcher.next()

    asyncio.run(check())


def test_taking_back_the_vector_of_what_was_deleted_is_told_to_nobody(tmp_path: Path) -> None:
    async def check() -> None:
        async with watched(tmp_path) as watcher:
            call: Callable[..., object] = watcher.node.call
            space = watcher.node.local.cluster.space("public")
            call(SetMemory(key="k", value="v"))
            assert (await watcher.next()).event == "set"
            call(DeleteMemory(key="k"))
            assert (await watcher.next()).event == "delete"
            late = Content("k", bytes(16), form=Form.BYTES, vector=b"\0\0\x80\x3f" * 4, vector_model="m")
            watcher.node.local.store.write([Write(space, Kind.ADD, Content("s", b"a"), frozenset())]).result()
            assert (await watcher.next()).key == "s"
            watcher.node.local.store.write([Write(space, Kind.VECTOR, late)]).result()
            call(RemoveFromMemory(key="s", values=("a",)))
            removed = await watcher.next()
            assert (removed.event, removed.kind, removed.key) == ("delete", "remove", "s")

    asyncio.run(check())
