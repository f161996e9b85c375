"""What has expired is hidden at once, everywhere, and deleted later by who wrote it; nothing else goes with it."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.memories import expiring
from cis.api.memories.expiring import GRACE_MS, Expiring
from cis.api.memories.memory_schema import (
    AddToMemory,
    CompactStore,
    ExportMemories,
    GetMemory,
    ImportBatch,
    IncrementMemory,
    ListConflicts,
    ListMemories,
    MemoryHistory,
    MemoryStats,
    SetMemory,
)
from cis.errors import StoreError
from cis.model import Kind
from cis.store.author import Write
from cis.wire.content import Content
from tests.unit.api.clocks import Clock


def apart(node: EmbeddedNode, value: bytes, ttl_ms: int = 0) -> None:
    """Write as somebody does who knows of no other value."""
    write = Write(node.local.cluster.space("public"), Kind.PUT, Content("k", value, ttl_ms=ttl_ms), frozenset())
    node.local.store.write([write]).result()


def value(node: EmbeddedNode, key: str = "k") -> object:
    found = node.call(GetMemory(key=key))
    return None if found is None else found.value


def kinds(node: EmbeddedNode, key: str = "k") -> list[str]:
    return [one.kind for one in node.call(MemoryHistory(key=key)) if one.alive]


def test_what_expired_is_deleted_after_a_grace_and_not_before(node: EmbeddedNode, clock: Clock) -> None:
    node.call(SetMemory(key="k", value="v", ttl_s=10))
    node.call(SetMemory(key="lasting", value="v"))
    clock.ms += 10_000 + GRACE_MS - 1
    assert value(node) is None
    assert node.expiring.round() == 0
    assert kinds(node) == ["put"]
    clock.ms += 1
    assert node.expiring.round() == 1
    assert kinds(node) == ["delete"]
    assert value(node, "lasting") == "v"
    assert node.expiring.round() == 0


def test_only_its_author_deletes_it(node: EmbeddedNode, clock: Clock) -> None:
    node.call(SetMemory(key="k", value="v", ttl_s=10))
    clock.ms += 10_000 + GRACE_MS
    other = SimpleNamespace(identity=SimpleNamespace(node=bytes(32)), store=node.local.store, clock_ms=clock)
    assert Expiring(other, node.readers).round() == 0
    assert kinds(node) == ["put"]


def test_expired_sets_counters_and_private_ones_go_too(node: EmbeddedNode, clock: Clock) -> None:
    rows = (
        {"key": "s", "type": "set", "value": [["text", "a"], ["text", "b"]], "ttl_s": 10},
        {"key": "c", "type": "counter", "value": {"added": 3, "subtracted": 0}, "ttl_s": 10},
    )
    assert node.call(ImportBatch(rows=rows, space="private")).written == 2
    clock.ms += 10_000 + GRACE_MS
    assert node.expiring.round() == 2
    assert [one.alive for one in node.call(MemoryHistory(key="s", space="private"))] == [True, False, False]


def test_a_brief_value_neither_hides_a_lasting_one_nor_takes_it_along(node: EmbeddedNode, clock: Clock) -> None:
    apart(node, b"lasting")
    apart(node, b"brief", ttl_ms=10_000)
    assert value(node) == "brief"
    assert len(node.call(ListConflicts())) == 1
    clock.ms += 10_000
    assert value(node) == "lasting"
    assert node.call(ListConflicts()) == ()
    assert node.call(ListConflicts(key="k")) == ()
    assert [row["value"] for row in node.stream(ExportMemories())] == ["lasting"]
    clock.ms += GRACE_MS
    assert node.expiring.round() == 1
    assert value(node) == "lasting"
    assert [one.value for one in node.call(ListMemories()).memories] == ["lasting"]


def test_what_is_written_to_an_expired_key_begins_anew(node: EmbeddedNode, clock: Clock) -> None:
    row = {"key": "c", "type": "counter", "value": {"added": 3, "subtracted": 1}, "ttl_s": 10}
    node.call(ImportBatch(rows=(row,)))
    clock.ms += 10_001
    assert node.call(ImportBatch(rows=(row,))).written == 1
    assert value(node, "c") == 2
    node.call(SetMemory(key="s", value="v", ttl_s=10))
    clock.ms += 10_001
    node.call(AddToMemory(key="s", values=("a",)))
    assert value(node, "s") == ["a"]


def test_no_moment_makes_what_is_counted_on_live_for_ever(
    node: EmbeddedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick(self: Clock) -> int:
        self.ms += 1
        return self.ms

    monkeypatch.setattr(Clock, "__call__", tick)
    for before in range(1, 12):
        key = f"c{before}"
        row = {"key": key, "type": "counter", "value": {"added": 1, "subtracted": 0}, "ttl_s": 10}
        node.call(ImportBatch(rows=(row,)))
        found = node.call(GetMemory(key=key))
        assert found is not None
        assert found.expires_ms is not None
        clock.ms = found.expires_ms - before
        node.call(IncrementMemory(key=key))
        after = node.call(GetMemory(key=key))
        assert after is None or after.expires_ms is not None or after.value == 1


async def test_no_defect_and_no_damage_met_while_expiring_ends_the_node(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [StoreError("damaged"), ValueError("a defect")]
    over = asyncio.Event()

    def round_(_: Expiring) -> int:
        if rounds:
            raise rounds.pop()
        loop.call_soon_threadsafe(over.set)
        return 0

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(Expiring, "round", round_)
    monkeypatch.setattr(expiring, "ROUND_S", 0.001)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(node.expiring.run(Random(1)))
        await over.wait()
        running.cancel()


def test_compacting_deletes_what_expired_and_gives_the_disk_back(node: EmbeddedNode, clock: Clock) -> None:
    rows = tuple({"key": f"k{number}", "value": "v" * 20_000, "ttl_s": 10} for number in range(200))
    node.call(ImportBatch(rows=rows))
    node.call(SetMemory(key="lasting", value="v"))
    clock.ms += 10_000 + GRACE_MS
    done = node.call(CompactStore())
    assert done.expired == 200
    assert sum(done.after.values()) < sum(done.before.values()) / 4
    assert value(node, "lasting") == "v"
    assert [one.key for one in node.call(ListMemories()).memories] == ["lasting"]
    assert sum(node.call(MemoryStats()).free.values()) == 0
    node.call(SetMemory(key="after", value="v"))
    assert value(node, "after") == "v"
