"""What the oracle holds a node to where removals come and turn out void: no more than the law of its moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cis.model import VersionVector
from cis.node.membership.governing import Governing
from cis.sim.chaos import quiet
from cis.sim.judgement import strayed
from cis.sim.node import SimNode
from cis.sim.scenarios import Chaos
from cis.sim.storm import Storm
from cis.sim.world import World, scratch
from cis.store.collection import Ended, adopt
from cis.store.log import LogReader
from cis.store.stability import give_up_catching_up
from cis.wire.membership import NO_SPACE
from cis.wire.messages import encode

CALM = Chaos(name="calm", meaning="nothing happens but what a test does", writes=0, broadcasts=0)
ALONE = 0, 1, 2, 3


@contextmanager
def apart() -> Iterator[World]:
    """The founder, an admin of its making, a writer and a reader, none of whom hears of another by itself."""
    with quiet(), scratch() as folder, World(CALM, len(ALONE), 7, folder) as world:
        for one in ALONE:
            for other in ALONE:
                world.network.block(one, other)
        for node in world.nodes:
            world.back_up(node)
            node.upkeep.learn(world.members.entries)
        yield world


def tell(teller: SimNode, node: SimNode) -> None:
    known = node.cluster.membership.ids()
    node.upkeep.learn(list(teller.cluster.membership.entries_missing_from(known)))


def remove(admin: SimNode, subject: SimNode) -> None:
    admin.upkeep.govern(lambda by: by.revocation(subject.id, ()))


def is_removed(node: SimNode) -> bool:
    return node.cluster.removed


def written_at(world: World, node: SimNode) -> None:
    """Write to the space all share, and have it acknowledged."""
    storm, before = Storm(world), len(world.oracle.shadows[node.number].acknowledged)
    while len(world.oracle.shadows[node.number].acknowledged) == before:
        storm.write_at(node)


def restart(world: World, node: SimNode) -> None:
    node.crash()
    world.start(node)


def test_a_write_that_its_own_node_took_back_for_a_removal_is_not_missed_when_the_removal_turns_out_void() -> None:
    with apart() as world:
        founder, junior, writer, _ = world.nodes
        written_at(world, writer)
        replica, public = writer.store.replica, writer.cluster.public
        remove(junior, writer)
        remove(founder, junior)
        tell(junior, writer)
        assert is_removed(writer)
        assert writer.store.reader.vector(public).contiguous(replica) == 0
        tell(founder, writer)
        assert not is_removed(writer)
        restart(world, writer)
        assert world.oracle.wrongs == []


def test_a_write_that_no_removal_took_back_is_missed() -> None:
    with apart() as world:
        writer = world.nodes[2]
        world.back_up(writer)
        written_at(world, writer)
        acknowledged = set(world.oracle.shadows[writer.number].acknowledged)
        world.put_back(writer)
        world.oracle.shadows[writer.number].acknowledged = acknowledged  # as if no disk had been lost
        world.start(writer)
        assert [wrong.kind for wrong in world.oracle.wrongs] == ["lost"] * len(acknowledged)


def test_a_disk_put_back_from_before_its_node_knew_anybody_parts_it_once_the_discovery_key_was_renewed() -> None:
    with apart() as world:
        founder, *others = world.nodes

        def strays() -> list[int]:
            return [node.number for node in world.nodes if strayed(world.oracle, node, world.nodes)]

        def put_back() -> None:
            world.put_back(founder)
            world.start(founder)

        put_back()
        assert [member.node for member in founder.cluster.membership.members()] == [founder.id]
        assert strays() == [], "the key it has is in use"
        tell(others[0], founder)
        founder.upkeep.govern(lambda by: Governing.rotation(by, (NO_SPACE,)))
        for other in others:
            tell(founder, other)
        assert strays() == [], "it knows them all"
        put_back()
        assert strays() == [founder.number]
        tell(others[0], founder)
        assert strays() == []


def test_what_comes_once_a_floor_was_given_up_counts_by_its_date() -> None:
    """A change dated ahead was claimed with a floor that a peer stated, which was given up before it came."""
    with apart() as world:
        writer, reader = world.nodes[2:]
        writer.skew_ms = 3_600_000
        written_at(world, writer)
        public, floor = writer.cluster.public, writer.store.reader.vector(writer.cluster.public)
        told = Ended((), floor, VersionVector(), settled=True)
        reader.store.execute(lambda connection: adopt(connection, public, told)).result()
        world.oracle.check(reader)
        assert world.oracle.shadows[reader.number].effective
        reader.store.execute(lambda connection: give_up_catching_up(connection, public)).result()
        replica = writer.store.replica
        segment = LogReader(writer.store.reader.connection, public).segment(replica, 1, floor.contiguous(replica))
        assert segment is not None
        reader.store.merge(encode(segment)).result()
        assert reader.store.reader.rows.held()
        world.oracle.check_whole(reader)
        assert world.oracle.wrongs == []
