"""When a node counts as in step: what keeps it from being so, and what its members say when they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cis.api import end_watch
from cis.api.end_watch import differing, unsettled
from cis.model import ReplicaId, SpaceId, VersionVector
from cis.node.core.table import Link, LinkTable, SyncStatus
from cis.node.driver import Driver
from cis.peers import Target

OWN, PEER = b"o" * 32, b"p" * 32
SPACE, OTHER = SpaceId(b"s" * 16), SpaceId(b"t" * 16)
REPLICA = ReplicaId(b"r" * 40)


def held(count: int) -> VersionVector:
    return VersionVector({REPLICA: count} if count else {})


class Fake:
    """A driver with one link to one member, which a session brought into step at 2.0 s."""

    def __init__(self, stated: Mapping[SpaceId, VersionVector] | None = None) -> None:
        status = SyncStatus(sessions=1, in_step_at=2.0, stated=stated or {})
        self.link = Link(1, PEER, Target(PEER, "127.0.0.1", 1, "static"), since=1.0, status=status)
        table = LinkTable(OWN)
        table.add(self.link)
        self.core = SimpleNamespace(links=table.by_id, table=table, status={PEER: status})
        self.local = SimpleNamespace(cluster=SimpleNamespace(name_of=lambda _: "two"))
        self.links = {1: SimpleNamespace(id=1, node=PEER)}

    @property
    def driver(self) -> Driver:
        return cast("Driver", self)


def test_a_member_whose_session_ended_with_nothing_due_is_settled() -> None:
    assert unsettled(Fake().driver) == ""


@pytest.mark.parametrize(
    ("on", "change", "said"),
    [
        ("link", {"syncing": True}, "under way"),
        ("link", {"served": 1}, "under way"),
        ("link", {"compare_due": True}, "under way"),
        ("link", {"sync_at": 9.0}, "still to come"),
        ("link", {"since": 3.0}, "still to come"),
        ("status", {"in_step_at": None}, "still to come"),
        ("status", {"last_error": "it broke off"}, "ended with: it broke off"),
    ],
)
def test_whatever_is_under_way_or_due_or_failed_unsettles(on: str, change: dict[str, Any], said: str) -> None:
    fake = Fake()
    for name, value in change.items():
        setattr(fake.link if on == "link" else fake.link.status, name, value)
    assert said in unsettled(fake.driver)
    assert "two" in unsettled(fake.driver)


def test_nobody_connected_is_not_in_step() -> None:
    fake = Fake()
    fake.core.table.remove(1)
    assert unsettled(fake.driver) == "nobody is connected"


@pytest.mark.parametrize(
    ("own", "stated", "answer", "said"),
    [
        ({SPACE: held(5)}, {SPACE: held(5)}, "", ""),
        ({SPACE: held(5)}, {SPACE: held(3)}, "", "two lacks 2 changes"),
        ({SPACE: held(3)}, {SPACE: held(7)}, "", "4 changes that two holds are missing here"),
        ({SPACE: held(3), OTHER: held(1)}, {SPACE: held(3)}, "", ""),
        ({SPACE: held(5)}, {SPACE: held(5)}, "gone", "two did not say what it holds: gone"),
    ],
    ids=["same", "lacking there", "lacking here", "a space not shared", "silent"],
)
def test_members_are_in_step_when_each_asked_holds_the_same(
    monkeypatch: pytest.MonkeyPatch,
    own: dict[SpaceId, VersionVector],
    stated: dict[SpaceId, VersionVector],
    answer: str,
    said: str,
) -> None:
    async def ask(*_: object) -> str:
        return answer

    monkeypatch.setattr(end_watch, "own_vectors", lambda _: own)
    monkeypatch.setattr(end_watch, "ask", ask)
    assert asyncio.run(differing(Fake(stated).driver)) == said


def test_what_changes_while_members_are_asked_means_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(*_: object) -> str:
        return ""

    vectors = iter([{SPACE: held(5)}, {SPACE: held(6)}])
    monkeypatch.setattr(end_watch, "own_vectors", lambda _: next(vectors))
    monkeypatch.setattr(end_watch, "ask", ask)
    assert "something changed" in asyncio.run(differing(Fake({SPACE: held(5)}).driver))
