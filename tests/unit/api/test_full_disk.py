"""On a disk without room a node still tells how it is: what is there is read, and the lack of room is a problem."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.health import disk
from cis.api.health.disk import disk_problem
from cis.api.health.glance import GlanceOperations
from cis.api.peers.network_schema import GetStatus
from cis.errors import StoreError


def test_what_was_decided_is_told_though_nothing_can_be_written(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.local.record("allowed", None, "work*")
    assert [one.what for one in node.local.decisions(5)] == ["allowed"]

    def full(_: object) -> Future[Any]:
        failed: Future[Any] = Future()
        failed.set_exception(StoreError("the disk is full"))
        return failed

    monkeypatch.setattr(node.local.store, "execute", full)
    assert [one.what for one in node.local.decisions(5)] == ["allowed"]
    assert node.call(GetStatus()).name == "solo"


def test_little_room_is_a_problem_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_problem(tmp_path) == {}
    monkeypatch.setattr(disk, "free_bytes", lambda _: 5 << 20)
    assert "5 MiB free" in disk_problem(tmp_path)["disk"]


def test_the_status_of_a_running_node_tells_of_it(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "disk" not in GlanceOperations(node, None).problems()
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    assert "disk" in GlanceOperations(node, None).problems()
