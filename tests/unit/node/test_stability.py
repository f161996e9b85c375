"""Whose reports the stable floor of a space waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.model import Kind, SpaceId, VersionVector
from cis.node.bulletins.stability import Stability
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.streams.syncing import StoreIndex
from cis.store.author import Write
from cis.store.read import stable
from cis.store.stability import stable_floor
from cis.wire.content import Content
from cis.wire.membership import Role
from tests.stores import settle
from tests.unit.node.households import admitted, close, household, tell


def put(node: LocalNode, space: SpaceId, value: bytes = b"x") -> None:
    node.store.write([Write(space, Kind.PUT, Content("k", value))]).result()


def give(giver: LocalNode, taker: LocalNode, space: SpaceId) -> None:
    with giver.store.snapshot() as reader:
        index = StoreIndex(reader, [space])
        for replica, seq in index.standings()[space].vector.seqs.items():
            found = index.segment(space, replica, 1, seq)
            assert found is not None
            taker.store.merge(found[0]).result()


def floor(node: LocalNode, space: SpaceId) -> VersionVector:
    stable: VersionVector = node.store.execute(lambda connection: stable_floor(connection, space)).result()
    return stable


def test_the_floor_waits_for_readers_and_not_for_who_keeps_a_space_blind(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("reader", Role.READER), ("blind", Role.BLIND))
    founder, reader, _ = nodes
    public = founder.cluster.public
    collecting, reporting = Stability(founder), Stability(reader)
    put(founder, public)
    collecting.round()
    assert floor(founder, public) == VersionVector()
    give(founder, reader, public)
    for report in reporting.round():
        collecting.take(reader.identity.node, report)
    collecting.round()
    assert floor(founder, public) == VersionVector({founder.store.replica: 1})
    close(nodes)


def test_a_member_blind_in_one_space_alone_is_waited_for_in_the_others(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER))
    founder, one = nodes
    space = founder.create_space("plans")
    founder.grant(one.identity.node, Role.BLIND, (space,))
    tell(founder, one)
    put(founder, founder.cluster.public)
    put(founder, space)
    Stability(founder).round()
    assert floor(founder, space) == VersionVector({founder.store.replica: 1})
    assert floor(founder, founder.cluster.public) == VersionVector()
    close(nodes)


def test_one_that_can_read_no_more_is_waited_for_no_more_whatever_it_reported(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER))
    founder, one = nodes
    public = founder.cluster.public
    collecting = Stability(founder)
    for report in Stability(one).round():
        collecting.take(one.identity.node, report)
    founder.revoke(one.identity.node)
    founder.grant(one.identity.node, Role.BLIND)
    put(founder, public)
    collecting.round()
    assert floor(founder, public) == VersionVector({founder.store.replica: 1})
    close(nodes)


def stable_of(node: LocalNode, space: SpaceId) -> VersionVector:
    with node.store.snapshot() as reader:
        return stable(reader, space)


def settled(founder: LocalNode, one: LocalNode) -> None:
    """Let what one wrote be stable at the founder."""
    public = founder.cluster.public
    put(one, public)
    give(one, founder, public)
    collecting = Stability(founder)
    for report in Stability(one).round():
        collecting.take(one.identity.node, report)
    collecting.round()
    assert stable_of(founder, public) == VersionVector({one.store.replica: 1})


def test_nothing_is_stable_when_a_member_comes_until_it_reports(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER))
    founder, one = nodes
    public = founder.cluster.public
    settled(founder, one)
    nodes.append(admitted(founder, LocalNode.create(Home(tmp_path / "new"), "new"), Role.READER))
    assert stable_of(founder, public) == VersionVector()
    collecting = Stability(founder)
    collecting.round()
    assert stable_of(founder, public) == VersionVector()
    give(founder, nodes[-1], public)
    for reporting in nodes[1:]:
        for report in Stability(reporting).round():
            collecting.take(reporting.identity.node, report)
    collecting.round()
    assert stable_of(founder, public) == VersionVector({one.store.replica: 1})
    close(nodes)


def test_what_is_stable_stays_when_one_comes_whose_report_nobody_waits_for(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER))
    founder, one = nodes
    settled(founder, one)
    nodes.append(admitted(founder, LocalNode.create(Home(tmp_path / "new"), "new"), Role.BLIND))
    assert stable_of(founder, founder.cluster.public) == VersionVector({one.store.replica: 1})
    close(nodes)


@pytest.mark.parametrize("removal_first", [False, True])
def test_what_a_new_admin_cuts_off_before_it_had_it_goes_everywhere(tmp_path: Path, removal_first: bool) -> None:
    """Whether a node hears of the new member or of its decision first, or of both at once."""
    nodes = household(tmp_path, ("second", Role.ADMIN), ("one", Role.WRITER))
    founder, second, one = nodes
    public = founder.cluster.public
    put(one, public)
    give(one, second, public)
    give(one, founder, public)
    collecting = Stability(founder)
    for reporting in (second, one):
        for report in Stability(reporting).round():
            collecting.take(reporting.identity.node, report)
    collecting.round()
    assert stable_of(founder, public) == VersionVector({one.store.replica: 1})
    new = admitted(second, LocalNode.create(Home(tmp_path / "new"), "new"), Role.ADMIN)
    nodes.append(new)
    if not removal_first:
        tell(second, founder)
    new.revoke(one.identity.node)
    tell(new, founder)
    with founder.store.snapshot() as reader:
        assert reader.vector(public).contiguous(one.store.replica) == 0
    close(nodes)


def value(node: LocalNode, space: SpaceId) -> bytes | None:
    with node.store.snapshot() as reader:
        recalled = reader.recall(space, "k")
    assert recalled is not None
    content = recalled.latest.content
    return None if content is None else content.value


def test_what_a_removed_admin_may_yet_undo_is_not_stable_and_drops_no_value(tmp_path: Path) -> None:
    """A junior admin removes the founder, apart from whom it was removed itself: a writer hears the junior first."""
    nodes = household(tmp_path, ("junior", Role.ADMIN), ("one", Role.WRITER))
    founder, junior, one = nodes
    public = founder.cluster.public
    put(one, public)
    give(one, junior, public)
    founder.revoke(junior.identity.node)
    junior.revoke(founder.identity.node)
    tell(junior, one)
    put(junior, public, b"y")
    give(junior, one, public)
    settle(one.store)
    collecting = Stability(one)
    for report in Stability(junior).round():
        collecting.take(junior.identity.node, report)
    collecting.round()
    assert (value(one, public), stable_of(one, public)) == (b"y", VersionVector())
    tell(founder, one)
    assert value(one, public) == b"x"
    close(nodes)


def test_who_was_removed_by_a_senior_is_waited_for_no_more(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("junior", Role.ADMIN))
    founder, junior = nodes
    put(founder, founder.cluster.public)
    founder.revoke(junior.identity.node)
    Stability(founder).round()
    assert stable_of(founder, founder.cluster.public) == VersionVector({founder.store.replica: 1})
    close(nodes)
