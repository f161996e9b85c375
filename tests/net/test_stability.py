"""Collecting between whole nodes over real QUIC: what all have had goes, and nobody brings back what was deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.node.bulletins import rounds, stability
from cis.node.home.local import LocalNode
from tests.net.cluster import cluster, delete, meet, put, running, state, until, value

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_S", 0.1)


def heads(local: LocalNode) -> int:
    with local.store.snapshot() as reader:
        return int(reader.connection.execute("SELECT count(*) FROM head").get)


async def test_what_all_members_have_had_is_collected_everywhere(tmp_path: Path) -> None:
    first, second, third = nodes = await cluster(tmp_path, "first", "second", "third")
    async with (
        running(first, collects=True) as one,
        running(second, collects=True) as two,
        running(third, collects=True) as three,
    ):
        meet(two, one)
        meet(three, one)
        for text in (b"a", b"b", b"c"):
            await put(first, "k", text)
        await put(second, "gone", b"x")
        await until(lambda: all(value(node, "gone") == b"x" for node in nodes))
        await delete(third, "gone")
        await until(lambda: all(heads(node) == 1 for node in nodes))
        assert {state(node) for node in nodes} == {state(first)}
        assert all(value(node, "k") == b"c" for node in nodes)
    for node in nodes:
        node.close()


async def test_a_member_silent_for_long_returns_without_bringing_back_what_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = nodes = await cluster(tmp_path, "first", "second", "third")
    async with running(first, collects=True) as one, running(second, collects=True) as two:
        meet(two, one)
        async with running(third, collects=True) as three:
            meet(three, one)
            await put(first, "deleted", b"x")
            await put(first, "kept", b"y")
            await until(lambda: value(third, "kept") == b"y")
        await put(third, "its own", b"z")
        await delete(first, "deleted")
        for running_node in (one, two):
            monkeypatch.setattr(running_node.stability, "_retired_ms", -1)
        await until(lambda: heads(first) == heads(second) == 1)
        for running_node in (one, two):
            monkeypatch.setattr(running_node.stability, "_retired_ms", stability.RETIRED_MS)
        async with running(third, collects=True) as three:
            meet(three, one)
            await until(lambda: value(third, "deleted") is None and value(second, "its own") == b"z")
            await until(lambda: len({state(node) for node in nodes}) == 1)
            assert [value(node, "kept") for node in nodes] == [b"y"] * 3
            assert [value(node, "deleted") for node in nodes] == [None] * 3
    for node in nodes:
        node.close()
