"""The Python API against a real control server and a real store, and in its blocking form."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import cis
from cis.api.control.control_http import ControlServer
from cis.api.control.control_socket import bind_control
from cis.api.control.protocol import BODY_BYTES_MAX
from cis.api.control.server import control_server
from cis.api.embedded import EmbeddedNode
from cis.api.http_serving import Answer
from cis.api.memories.memory_schema import AddToMemory, MemoryStats, WatchMemories
from cis.api.memories.watching import Feed, WatchOperations
from cis.api.peers.network_schema import PeerInfo
from cis.api.python import remote
from cis.api.python.values import peer_of
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

PATIENCE_S = 20.0
POLL_S = 0.005
VALUES: list[Any] = [
    "dark mode", "", "ü\n\0", b"\xff\0", b"", {"a": [1, 2.5, None, True]}, [], 7, -1.5, None, True,
    {"base64": "aGk="}, 2**64 - 1,
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    LocalNode.create(Home(folder), "solo").close()
    return folder


@pytest.fixture
def store(home: Path) -> Iterator[cis.Client]:
    with cis.open(home) as memory:
        yield memory


class Scene:
    """A running node without a network."""

    def __init__(self, home: Path, node: EmbeddedNode) -> None:
        self.home = home
        self.feed = Feed(node.local)
        watching = WatchOperations(node.local, node.policy, node.readers, self.feed)
        self.server = control_server({**node.handlers, WatchMemories: watching.watch})
        self.watchers = self.feed._subscriptions

    def stop(self) -> None:
        self.feed.close()
        self.server.close()

    async def wait_watchers(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.watchers) != count:
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Scene]:
    with EmbeddedNode(LocalNode.open(Home(home)), embedder=lambda _: None) as node:
        scene = Scene(home, node)
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.server.run_on(bind_control(Home(home).socket)))
            try:
                yield scene
            finally:
                scene.stop()


async def test_a_value_comes_back_as_what_was_set(home: Path) -> None:
    async with running(home), cis.connect(home) as memory:
        for value in VALUES:
            assert (await memory.set("k", value)).changed
            found = await memory.get("k")
            assert found is not None
            assert (found.value, type(found.value)) == (value, type(value))
        assert await memory.get("nothing") is None


def test_the_blocking_form_opens_the_store_where_no_node_runs(store: cis.Client) -> None:
    for value in VALUES:
        store.set("k", value)
        found = store.get("k")
        assert found is not None
        assert (found.value, type(found.value)) == (value, type(value))
    assert store.incr("count", 3) == 3
    assert store.incr("count", -1) == 2
    assert [one.key for one in store.list()] == ["count", "k"]
    assert store.delete("k")
    assert not store.delete("k")
    with pytest.raises(cis.Unavailable, match="cis up"):
        next(store.watch())


async def test_the_blocking_form_asks_the_node_that_runs(home: Path) -> None:
    def work() -> tuple[str, Any]:
        with cis.open(home) as memory:
            with memory.watch("k") as changes:
                memory.set("k", b"\0")
                change = next(changes)
            assert list(changes) == []
            assert change.memory is not None
            return change.key, change.memory.value

    async with running(home) as scene:
        assert await asyncio.to_thread(work) == ("k", b"\0")
        await scene.wait_watchers(0)


@pytest.mark.parametrize("value", [math.nan, 2**64, {1: 2}, {"s": {1}}, (1, 2), [b"bytes within"], object()])
def test_what_json_does_not_hold_exactly_is_refused(store: cis.Client, value: Any) -> None:
    with pytest.raises(cis.UsageError):
        store.set("k", value)
    assert store.get("k") is None


def test_a_set_holds_elements_of_any_kind(store: cis.Client) -> None:
    assert store.members("tools") == ()
    store.add("tools", "ruff", b"\xff", {"name": "mypy"}, 3)
    store.add("tools", "ruff")
    assert sorted(map(repr, store.members("tools"))) == sorted(map(repr, ("ruff", b"\xff", {"name": "mypy"}, 3)))
    assert store.remove("tools", b"\xff", 3)
    assert not store.remove("tools", b"\xff")
    assert sorted(map(str, store.members("tools"))) == ["ruff", "{'name': 'mypy'}"]
    store.set("k", "text")
    with pytest.raises(cis.UsageError, match="register"):
        store.members("k")


def test_a_list_goes_through_all_pages(store: cis.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.api.python.synchronous.PAGE", 3)
    for number in range(10):
        store.set(f"k/{number}", str(number), tags=["even"] if number % 2 == 0 else [])
    store.set("other", "x")
    assert [one.value for one in store.list("k/")] == [str(number) for number in range(10)]
    assert [one.value for one in store.list("k/", tag="even")] == ["0", "2", "4", "6", "8"]
    assert next(iter(store.list(order="newest"))).key == "other"


def test_a_space_is_apart_unless_all_are_asked_for(store: cis.Client) -> None:
    private = store.space("private")
    store.set("k", "for all")
    private.set("k", "for me")
    assert [one.value for one in (store.get("k"), private.get("k")) if one] == ["for all", "for me"]
    assert [one.space for one in store.list()] == ["public"]
    assert sorted(one.space for one in store.list(all_spaces=True)) == ["private", "public"]
    assert [hit.memory.value for hit in store.search("for").hits] == ["for all"]
    assert len(store.search("for", all_spaces=True).hits) == 2
    with pytest.raises(cis.UsageError, match="nowhere"):
        store.space("nowhere").get("k")


def test_search_takes_an_embedding_of_ones_own(store: cis.Client) -> None:
    store.set("north", "up", vector=[1.0, 0.0], vector_model="mine")
    store.set("east", "right", vector=(0.0, 1.0), vector_model="mine")
    found = store.search(vector=[0.8, 0.6], vector_model="mine", mode="meaning")
    assert [hit.memory.key for hit in found.hits] == ["north", "east"]
    assert store.history("north")[0].value == "up"


def test_what_is_in_no_conflict_is_not_overwritten_by_resolving_one(store: cis.Client) -> None:
    store.set("k", "one")
    assert store.conflicts() == ()
    ended = cis.Conflict(key="k", space="public", id="0" * 32, values=())
    with pytest.raises(cis.CisError, match="no conflict"):
        store.resolve(ended, "two")
    assert [one.value for one in store.history("k")] == ["one"]


async def test_what_a_member_wrote_to_look_like_bytes_is_shown_as_it_is(home: Path) -> None:
    async with running(home) as scene, cis.connect(home) as memory:
        for value in ({"base64": "zzz"}, {"base64": "a\u0000"}, {"base64": 5}):
            await memory.call(AddToMemory(key="s", values=(value,), form="json"))
        assert sorted(map(str, await memory.members("s"))) == [
            "{'base64': 'a\\x00'}", "{'base64': 'zzz'}", "{'base64': 5}",
        ]  # fmt: skip
        assert [one.key async for one in memory.list()] == ["s"]
        assert not scene.watchers


def test_a_store_opened_here_takes_nothing_that_a_running_node_refuses(store: cis.Client) -> None:
    wrong: list[Callable[[Any], Any]] = [
        lambda odd: store.incr("n", odd(1.5)),
        lambda odd: store.set("k", "v", tags=odd([1])),
        lambda odd: store.set(odd(5), "v"),
        lambda odd: store.search("v", mode=odd("guess")),
    ]
    for call in wrong:
        with pytest.raises(cis.UsageError, match="not a request of memory/"):
            call(lambda value: value)
    assert list(store.list()) == []


@pytest.mark.parametrize("text", ["\ud800", {"a": "\ud800"}, ["\udfff"]])
async def test_half_a_character_is_refused_by_either_way_in(home: Path, text: Any) -> None:
    async with running(home), cis.connect(home) as memory:
        with pytest.raises(cis.UsageError, match="half a character"):
            await memory.set("k", text)
        with pytest.raises(cis.UsageError, match="half a character"):
            await memory.search("\ud800")
        with cis.open(home) as blocking, pytest.raises(cis.UsageError, match="half a character"):
            await asyncio.to_thread(blocking.set, "k", text)
    with cis.open(home) as store, pytest.raises(cis.UsageError, match="half a character"):
        store.set("k", text)


def test_what_is_no_vector_no_tags_no_lifetime_no_time_and_no_message_is_refused(store: cis.Client) -> None:
    odd: Any
    for odd in (["a"], [math.nan], [1e300], []):
        with pytest.raises(cis.UsageError, match="row of"):
            store.set("k", "v", vector=odd, vector_model="m")
    with pytest.raises(cis.UsageError, match=r"write \['ui'\]"):
        store.set("k", "v", tags="ui")
    for seconds in (math.nan, math.inf):
        with pytest.raises(cis.UsageError, match="time to live"):
            store.set("k", "v", ttl_s=seconds)
    with pytest.raises(cis.UsageError, match="no time"):
        store.search("v", since=datetime.min)  # noqa: DTZ901 - that is the point
    odd = {"a": 1}
    with pytest.raises(cis.UsageError, match="no dict"):
        store.broadcast("topic", odd)


async def test_a_blocking_client_that_is_closed_answers_and_streams_no_more(home: Path) -> None:
    async with running(home) as scene:
        memory = cis.open(home)
        changes = await asyncio.to_thread(memory.watch().__enter__)
        await scene.wait_watchers(1)
        await asyncio.to_thread(memory.close)
        await scene.wait_watchers(0)
        assert await asyncio.to_thread(list, changes) == []
        with pytest.raises(cis.Unavailable, match="closed"):
            await asyncio.to_thread(memory.get, "k")
        memory.close()
    store = cis.open(home)
    store.close()
    with pytest.raises(cis.Unavailable, match="closed"):
        store.get("k")


async def test_watching_begins_on_entering_and_ends_at_once_when_left(home: Path) -> None:
    async with running(home) as scene, cis.connect(home) as memory:
        async with memory.watch("a/") as changes:
            await memory.set("b/1", "not asked for")
            await memory.set("a/1", b"\0")
            change = await anext(changes)
            assert change.memory is not None
            assert (change.key, change.memory.value, change.author) == ("a/1", b"\0", "solo")
            assert len(scene.watchers) == 1
        await scene.wait_watchers(0)
        assert [one async for one in changes] == []


async def test_breaking_off_a_loop_ends_the_stream(home: Path) -> None:
    async with running(home) as scene, cis.connect(home) as memory:
        async with asyncio.TaskGroup() as group:
            group.create_task(write_until(scene, memory))
            async for change in memory.watch():
                assert change.key == "k"
                break
        gc.collect()
        await scene.wait_watchers(0)


async def write_until(scene: Scene, memory: cis.AsyncClient) -> None:
    await scene.wait_watchers(1)
    await memory.set("k", "v")


async def test_cancelling_who_waits_ends_the_stream(home: Path) -> None:
    async with running(home) as scene, cis.connect(home) as memory:
        changes = memory.watch()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(changes)
        await scene.wait_watchers(0)
        assert [one async for one in changes] == []


async def test_closing_the_client_ends_what_others_wait_for(home: Path) -> None:
    async with running(home) as scene:
        memory = cis.connect(home)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(collect(memory.watch()))
            await scene.wait_watchers(1)
            await memory.aclose()
        assert waiting.result() == []
        with pytest.raises(cis.Unavailable, match="closed"):
            await memory.get("k")


async def collect(stream: cis.AsyncStream[Any]) -> list[Any]:
    return [item async for item in stream]


async def test_a_node_that_stops_says_so_to_who_watches(home: Path) -> None:
    async with running(home) as scene, cis.connect(home) as memory, memory.watch() as changes:
        await scene.wait_watchers(1)
        scene.stop()
        with pytest.raises(cis.Unavailable, match="ended"):
            await collect(changes)
        assert await collect(changes) == []


async def test_more_calls_at_once_than_there_are_connections_all_get_their_answer(home: Path) -> None:
    async with running(home), cis.connect(home) as memory:
        async with asyncio.TaskGroup() as group:
            for _ in range(3 * remote.CALLS_MAX):
                group.create_task(memory.incr("count"))
        found = await memory.get("count")
        assert found is not None
        assert found.value == 3 * remote.CALLS_MAX


async def test_the_streams_of_one_client_are_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "STREAMS_MAX", 2)
    async with running(home), cis.connect(home) as memory, memory.watch(), memory.watch() as second:
        with pytest.raises(cis.UsageError, match="2 streams"):
            await anext(memory.watch())
        await second.aclose()
        async with memory.watch():
            pass


async def test_the_errors_of_the_node_are_those_of_cis(home: Path) -> None:
    async with running(home), cis.connect(home) as memory:
        with pytest.raises(cis.UsageError, match="nowhere"):
            await memory.space("nowhere").get("k")
        with pytest.raises(cis.UsageError, match="nowhere"):
            await anext(memory.space("nowhere").watch())
        with pytest.raises(cis.UsageError, match="bytes"):
            await memory.set("k", "x" * (BODY_BYTES_MAX + 1))
        assert (await memory.call(MemoryStats())).spaces[0].name == "public"


async def test_where_no_node_runs_the_error_says_how_to_start_one(home: Path, tmp_path: Path) -> None:
    with pytest.raises(cis.Unavailable, match="cis up"):
        async with cis.connect(home):
            pass
    with pytest.raises(cis.UsageError, match="cis init"):
        async with cis.connect(tmp_path / "nothing"):
            pass
    with pytest.raises(cis.UsageError, match="cis init"):
        cis.open(tmp_path / "nothing")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(home / "control.sock"))
    left.close()
    with pytest.raises(cis.Unavailable, match="cis up"):
        await cis.connect(home).get("k")


@asynccontextmanager
async def answering(home: Path, *parts: bytes | None) -> AsyncIterator[None]:
    """A server that says this whatever it is asked; None is a wait that never ends, and b"" a broken connection."""

    async def body() -> Any:
        for part in parts:
            if part is None:
                await asyncio.Event().wait()
            elif part:
                yield part
            else:
                for one in server.connections:
                    one.cut()

    async def answer(*_: object) -> Answer:
        return Answer(200, "text/plain", body())

    server = ControlServer(answer, body_bytes_max=1000)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run_on(bind_control(Home(home).socket)))
        yield
        server.close()


async def test_a_node_that_dies_while_it_is_asked_is_unavailable(home: Path) -> None:
    async with answering(home, b'{"event":', b""):
        with pytest.raises(cis.Unavailable, match="ended while"):
            await anext(cis.connect(home).watch())
        with pytest.raises(cis.Unavailable, match="ended while"):
            await cis.connect(home).get("k")


async def test_an_answer_that_never_comes_is_given_up_in_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.05)
    monkeypatch.setattr("cis.api.http_serving.GRACE_S", 0.01)
    async with answering(home, None):
        with pytest.raises(cis.TimedOut):
            await cis.connect(home).get("k")


async def test_a_stream_whose_beginning_came_too_late_holds_no_place(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.05)
    monkeypatch.setattr(remote, "STREAMS_MAX", 1)
    with bind_control(Home(home).socket) as silent:
        silent.listen()
        memory = cis.connect(home)
        streams = [memory.watch(), memory.watch()]
        for stream in streams:
            with pytest.raises(cis.TimedOut):
                await stream.__aenter__()


async def test_an_answer_without_end_is_cut_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_BYTES_MAX", 1000)
    async with answering(home, *[b"x" * 600] * 4):
        with pytest.raises(cis.CisError, match="1,000 bytes"):
            await cis.connect(home).get("k")
        with pytest.raises(cis.CisError, match="1,000 bytes"):
            await anext(cis.connect(home).watch())


async def test_an_answer_that_is_not_understood_is_told_from_a_refusal(home: Path) -> None:
    async with answering(home, b"<html>\n"):
        with pytest.raises(cis.CisError, match="does not know"):
            await cis.connect(home).get("k")
        with pytest.raises(cis.CisError, match="does not know"):
            await anext(cis.connect(home).watch())


def test_a_peer_is_meant_by_name_did_or_the_beginning_of_one() -> None:
    peers = [peer("ana", "did:key:z6MkA"), peer("anabel", "did:key:z6MkB"), peer("bo", None)]
    for text in ("ana", "did:cis:ana", "did:key:z6MkA"):
        assert peer_of(peers, text) is peers[0]
    assert peer_of(peers, "anab") is peers[1]
    assert peer_of(peers, "did:key:z6MkB") is peers[1]
    for text in ("an", "did:key:z6Mk", "", "did:key:", "carl"):
        with pytest.raises(cis.UsageError):
            peer_of(peers, text)


def peer(name: str, did: str | None) -> PeerInfo:
    facts: dict[str, Any] = dict.fromkeys(PeerInfo.__struct_fields__)
    return PeerInfo(**{**facts, "name": name, "did": did})
