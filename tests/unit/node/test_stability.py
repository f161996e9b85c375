"""Whose reports the stable floor of a space waits for."""

from __future__ import annotations

from pathlib import Path

from cis.model import Kind, SpaceId, VersionVector
from cis.node.local import LocalNode
from cis.node.stability import Stability
from cis.node.syncing import StoreIndex
from cis.store.author import Write
from cis.store.stability import stable_floor
from cis.wire.content import Content
from cis.wire.membership import Role
from tests.unit.node.households import close, household, tell


def put(node: LocalNode, space: SpaceId) -> None:
    node.store.write([Write(space, Kind.PUT, Content("k", b"x"))]).result()


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
