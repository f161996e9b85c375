"""Whom a node asks for bodies that were left out, and how often: others than who left them out, and with pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from cis.errors import Fault, PeerFault
from cis.model import Kind, NodeId
from cis.node import recovery as recovery_module
from cis.node.home.local import LocalNode
from cis.node.recovery import ASKED_AGAIN_S, PAUSE_S, Recovery
from cis.node.streams.links import PeerLink
from cis.store.author import Write
from cis.wire.content import Content
from tests.unit.node.households import close, household

SOURCE, OTHER = NodeId(b"s" * 32), NodeId(b"o" * 32)


@dataclass
class Link:
    """A member to be asked; ``has`` are the memories whose bodies it gives."""

    scene: Scene
    node: NodeId
    has: tuple[str, ...] = ()
    fails: bool = False

    async def audit(self, *, checked: bool) -> None:
        assert not checked
        self.scene.asked.append(self.node)
        for key in self.has:
            self.scene.give(key)
        if self.fails:
            raise ExceptionGroup("", [PeerFault(Fault.NONE, "the connection was lost")])

    def blame(self, group: BaseExceptionGroup[Exception]) -> str:
        return str(group.exceptions[0])


@dataclass
class Scene:
    """A node that lacks bodies, and members that are asked for them; time stands still but where it is moved."""

    local: LocalNode
    now: float = 1000.0
    asked: list[NodeId] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    taken: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recovery = Recovery(self.local, lambda: cast("list[PeerLink]", self.links))

    def lose(self, key: str) -> None:
        """Write a memory whose body is then gone, as if a session had left it out."""
        public = self.local.cluster.public
        self.local.store.write([Write(public, Kind.PUT, Content(key, b"v"))]).result()
        self.taken[key] = self.local.store.execute(
            lambda connection: connection.execute("SELECT rid, sealed FROM body ORDER BY rid DESC LIMIT 1").fetchone()
        ).result()
        self.local.store.execute(
            lambda connection: connection.execute("DELETE FROM body WHERE rid = ?", self.taken[key][:1])
        ).result()

    def give(self, key: str) -> None:
        row = self.taken.get(key)
        if row is not None:
            self.local.store.execute(
                lambda connection: connection.execute("INSERT OR REPLACE INTO body VALUES(?,?)", row)
            ).result()

    async def asked_after(self, pause_s: float = 0.0, changes: int = 1) -> list[NodeId]:
        """Return who is asked when a session with the source ends so much later."""
        self.now += pause_s
        self.asked.clear()
        await self.recovery.after_session(SOURCE, changes)
        return list(self.asked)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    nodes = household(tmp_path)
    scene = Scene(nodes[0])
    monkeypatch.setattr(recovery_module, "monotonic", lambda: scene.now)
    yield scene
    close(nodes)


async def test_who_left_bodies_out_is_asked_last(scene: Scene) -> None:
    scene.links = [Link(scene, SOURCE), Link(scene, OTHER)]
    scene.lose("a")
    assert await scene.asked_after() == [OTHER, SOURCE]


async def test_nobody_is_asked_once_all_bodies_are_here(scene: Scene) -> None:
    scene.links = [Link(scene, SOURCE), Link(scene, OTHER, ("a",))]
    assert await scene.asked_after() == []
    scene.lose("a")
    assert await scene.asked_after() == [OTHER]
    assert await scene.asked_after(ASKED_AGAIN_S) == []


async def test_who_did_not_have_bodies_is_not_asked_for_the_same_until_later(scene: Scene) -> None:
    scene.links = [Link(scene, OTHER)]
    scene.lose("a")
    assert await scene.asked_after() == [OTHER]
    assert await scene.asked_after(PAUSE_S) == []
    assert await scene.asked_after(ASKED_AGAIN_S - PAUSE_S - 1) == []
    assert await scene.asked_after(1) == [OTHER]


async def test_no_member_is_asked_again_at_once_whatever_else_comes_to_be_missing(scene: Scene) -> None:
    scene.links = [Link(scene, OTHER)]
    scene.lose("a")
    assert await scene.asked_after() == [OTHER]
    scene.lose("b")
    assert await scene.asked_after() == []
    assert await scene.asked_after(PAUSE_S - 1) == []
    assert await scene.asked_after(1) == [OTHER]


async def test_a_session_that_brought_nothing_asks_for_what_is_still_missing(scene: Scene) -> None:
    scene.links = [Link(scene, OTHER)]
    scene.lose("a")
    assert await scene.asked_after() == [OTHER]
    assert await scene.asked_after(ASKED_AGAIN_S, changes=0) == [OTHER]


async def test_a_member_that_fails_leaves_it_to_the_next(scene: Scene) -> None:
    scene.links = [Link(scene, OTHER, fails=True), Link(scene, SOURCE, ("a",))]
    scene.lose("a")
    assert await scene.asked_after() == [OTHER, SOURCE]
    assert await scene.asked_after(ASKED_AGAIN_S) == []


async def test_one_recovery_runs_at_a_time(scene: Scene) -> None:
    scene.links = [Link(scene, OTHER)]
    scene.lose("a")
    await asyncio.gather(scene.recovery.after_session(SOURCE, 1), scene.recovery.after_session(SOURCE, 1))
    assert scene.asked == [OTHER]
