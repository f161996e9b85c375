"""What a running node does about news of the membership: whom it parts with, whom it tells, which keys it renews."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from cis.errors import Fault
from cis.model import Kind
from cis.net import Connection, ConnectionLost
from cis.net.closing import CloseReason
from cis.node import upkeep
from cis.node.core import events
from cis.node.entry.quarantine import Quarantine
from cis.node.finding.finder import Problems
from cis.node.home.local import LocalNode
from cis.node.streams.syncing import StoreIndex
from cis.node.upkeep import Upkeep
from cis.store.author import Write
from cis.trust.acl import Acl, Mode
from cis.trust.sealing import SpaceKeys
from cis.wire.content import Content
from cis.wire.membership import Role
from tests.unit.node.households import close, household, tell

pytestmark = pytest.mark.timeout(30)


class Running:
    """A node without network: notes what it reports and tells."""

    def __init__(self, local: LocalNode) -> None:
        self.local = local
        self.reported: list[events.Event] = []
        self.recovered: list[int] = []
        self.told: list[tuple[list[bytes], SpaceKeys]] = []
        self.links: dict[int, SimpleNamespace] = {}
        self.problems = Problems()
        self.quarantine = Quarantine()
        meeting = SimpleNamespace(links=self.links, problems=self.problems, quarantine=self.quarantine)
        topics = SimpleNamespace(tell_membership=lambda entries, keys: self.told.append((entries, keys)))
        self.upkeep = Upkeep(local, topics, meeting, self.reported.append, self.recovered.append, Random(1))

    def of(self, kind: type[events.Event]) -> list[events.Event]:
        return [event for event in self.reported if isinstance(event, kind)]


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[LocalNode]]:
    monkeypatch.setattr(upkeep, "SPREAD_S", 0.0)
    made = household(tmp_path, ("admin", Role.ADMIN), ("one", Role.WRITER), ("blind", Role.BLIND))
    yield made
    close(made)


async def settled(running: Running, *, act: object = None) -> None:
    """Let a node's upkeep run while something happens on another thread, and until nothing more follows."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(running.upkeep.run())
        await asyncio.sleep(0)
        if callable(act):
            await asyncio.to_thread(act)
        for _ in range(3):
            await asyncio.sleep(0)
            await asyncio.to_thread(running.local.decisions, 1)  # what is queued before it is done
        task.cancel()


async def test_what_is_decided_here_is_told_under_the_keys_everybody_still_has(nodes: list[LocalNode]) -> None:
    founder, _, one, _ = nodes
    running, before = Running(founder), founder.cluster.keys.spaces[founder.cluster.public]
    await settled(running, act=lambda: founder.revoke(one.identity.node))
    assert running.of(events.Removed) == [events.Removed({one.identity.node: "removed from the cluster by founder"})]
    ((entries, keys),) = running.told
    assert keys == before
    assert len(entries) == 3
    assert events.Learned() in running.reported


async def test_what_is_learned_is_not_told_again_but_to_who_cannot_read_it(nodes: list[LocalNode]) -> None:
    founder, admin, one, blind = nodes
    running = Running(admin)
    for number, node in enumerate((founder, blind), 1):
        running.links[number] = SimpleNamespace(node=node.identity.node)
    founder.revoke(one.identity.node)
    await settled(running, act=lambda: tell(founder, admin))
    assert running.told == []
    assert running.of(events.SyncAsked) == [events.SyncAsked(blind.identity.node)]
    assert len(running.of(events.Removed)) == 1


async def test_a_space_one_was_let_into_is_asked_for(nodes: list[LocalNode]) -> None:
    founder, _, one, _ = nodes
    running = Running(one)
    space = founder.create_space("plans", [one.identity.node])
    await settled(running, act=lambda: tell(founder, one))
    assert running.of(events.SpaceStirred) == [events.SpaceStirred(space)]


async def test_a_space_whose_key_others_renewed_is_asked_for_as_what_came_meanwhile_went_unread(
    nodes: list[LocalNode],
) -> None:
    founder, _, one, blind = nodes
    space = founder.create_space("plans", [one.identity.node])
    tell(founder, one)
    tell(founder, blind)
    founder.rotate(space)
    running, other = Running(one), Running(blind)
    await settled(running, act=lambda: tell(founder, one))
    await settled(other, act=lambda: tell(founder, blind))
    assert running.of(events.SpaceStirred) == [events.SpaceStirred(space)]
    assert other.of(events.SpaceStirred) == []


async def test_bodies_that_withdrawn_changes_had_replaced_are_asked_for(nodes: list[LocalNode]) -> None:
    founder, admin, one, _ = nodes
    one.store.write([Write(one.cluster.public, Kind.PUT, Content("key", b"x"))]).result()
    with one.store.snapshot() as reader:
        index = StoreIndex(reader, [one.cluster.public])
        found = index.segment(one.cluster.public, one.store.replica, 1, 1)
    assert found is not None
    admin.store.merge(found[0]).result()
    founder.revoke(one.identity.node)  # which has not seen that change
    running = Running(admin)
    await settled(running, act=lambda: tell(founder, admin))
    assert running.recovered == [1]


async def test_the_user_of_a_removed_node_is_told_so(nodes: list[LocalNode]) -> None:
    founder, _, one, _ = nodes
    running = Running(one)
    founder.revoke(one.identity.node)
    await settled(running, act=lambda: tell(founder, one))
    assert "removed by founder" in running.problems["this node"]
    assert running.of(events.Removed) == []


async def test_an_admin_renews_what_two_removals_made_apart_left_known_and_others_do_not(
    nodes: list[LocalNode],
) -> None:
    founder, admin, one, blind = nodes
    founder.revoke(one.identity.node)
    admin.revoke(blind.identity.node)
    public = founder.cluster.public
    witness = Running(one)
    await settled(witness, act=lambda: (tell(admin, one), tell(founder, one)))
    assert one.cluster.membership.epoch(public) is not None or not witness.told
    running = Running(admin)
    await settled(running, act=lambda: tell(founder, admin))
    assert admin.cluster.membership.epoch(public) is not None
    assert admin.cluster.keys.spaces[public].current == admin.cluster.membership.epoch(public)
    assert len(running.told) == 1


class Held:
    """A connection in quarantine."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[tuple[Fault, str]] = asyncio.get_running_loop().create_future()

    def close(self, fault: Fault, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result((fault, reason))

    async def accept_stream(self) -> None:
        raise ConnectionLost(CloseReason(*await asyncio.shield(self.closed), by_peer=False, transport=False))


async def test_a_removed_node_is_parted_with_in_quarantine_too(nodes: list[LocalNode]) -> None:
    founder, admin, one, _ = nodes
    founder.cluster.acl = Acl(Mode.QUARANTINE)
    running, gone, stays = Running(founder), Held(), Held()
    async with asyncio.TaskGroup() as group:
        holding = [
            group.create_task(running.quarantine.hold(cast("Connection", connection), node.identity.node))
            for connection, node in ((gone, one), (stays, admin))
        ]
        await settled(running, act=lambda: founder.revoke(one.identity.node))
        assert await gone.closed == (Fault.UNAUTHORISED, "removed from the cluster by founder")
        assert not stays.closed.done()
        for task in holding:
            task.cancel()
