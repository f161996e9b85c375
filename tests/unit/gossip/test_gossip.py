"""The room as a whole: small clusters, partitions, hostile floods, and laws that hold whatever happens."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.gossip import (
    BroadcastAsked,
    Deliver,
    DialFailed,
    Examined,
    Gossip,
    GossipConfig,
    GossipEvent,
    Heard,
    LeavingAsked,
    Linked,
    NeighbourDown,
    NeighbourUp,
    Received,
    Send,
    SetTimer,
    TimerExpired,
    Unlinked,
    ViewConfig,
)
from cis.gossip.language import Dial
from cis.model import NodeId
from cis.sim.kernel import Kernel
from cis.sim.network import LinkProfile, Network
from cis.sim.swarm_world import Member, SwarmWorld
from cis.wire import gossip as wire
from cis.wire.messages import decode, encode


def swarm(seed: int, count: int, config: GossipConfig | None = None) -> tuple[SwarmWorld, list[tuple[int, bytes]]]:
    """Nodes that join one after the other through a random one that is there."""
    kernel = Kernel(seed)
    read: list[tuple[int, bytes]] = []
    world = SwarmWorld(
        Network(kernel, LinkProfile()),
        dial_timeout_s=3.0,
        detection_s=(1.0, 3.0),
        record=b"record",
        on_deliver=lambda member, body, _: read.append((member.number, body)),
    )
    for _ in range(count):
        others = world.members.copy()
        member = world.add(config or GossipConfig())
        if others:
            world.introduce(member, kernel.rng.choice(others))
        kernel.run_until(kernel.now + 0.2)
    return world, read


def reached(world: SwarmWorld, start: Member) -> int:
    """How many the overlay joins to one, over links both ends take for a neighbourhood."""
    by_id = {member.id: member for member in world.living()}
    found, queue = {start.id}, [start]
    for member in queue:
        for node in member.gossip.active:
            if node in by_id and node not in found and member.id in by_id[node].gossip.active:
                found.add(node)
                queue.append(by_id[node])
    return len(found)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(5))
def test_a_small_cluster_becomes_a_full_mesh_by_itself(count: int, seed: int) -> None:
    world, _ = swarm(seed, count)
    world.kernel.run_until(world.kernel.now + 120)
    assert [len(member.gossip.active) for member in world.members] == [count - 1] * count


def test_in_a_full_mesh_everybody_is_one_hop_from_everybody() -> None:
    world, _ = swarm(1, 6)
    world.kernel.run_until(120)
    hops = []
    world._on_deliver = lambda _member, _body, count: hops.append(count)
    for turn in range(5):
        for member in world.members:
            del hops[:]
            world.broadcast(member, b"%d %d" % (turn, member.number))
            world.kernel.run_until(world.kernel.now + 5)
            if turn > 0:
                assert hops == [1] * 5


@pytest.mark.parametrize("seed", range(12))
def test_no_nodes_end_up_among_themselves(seed: int) -> None:
    world, _ = swarm(seed, 30)
    world.kernel.run_until(world.kernel.now + 400)
    assert reached(world, world.members[0]) == 30


@pytest.mark.parametrize("seed", range(3))
def test_at_rest_views_are_symmetric_and_links_are_those_of_neighbours(seed: int) -> None:
    world, _ = swarm(seed, 25)
    world.kernel.run_until(world.kernel.now + 600)
    by_id = {member.id: member for member in world.members}
    for member in world.members:
        assert all(member.id in by_id[node].gossip.active for node in member.gossip.active)
        assert len(member.gossip.active) >= 4


def test_six_that_know_only_each_other_and_full_strangers_find_a_way_out() -> None:
    one, _ = swarm(3, 6)
    one.kernel.run_until(100)
    strangers = [one.add(GossipConfig()) for _ in range(6)]
    for place, member in enumerate(strangers[1:]):
        one.introduce(member, strangers[place])
    one.kernel.run_until(300)
    assert reached(one, one.members[0]) == 6
    one.introduce(one.members[0], strangers[0])
    one.kernel.run_until(1200)
    assert reached(one, one.members[0]) == 12


def test_the_halves_of_a_healed_partition_find_each_other() -> None:
    world, read = swarm(5, 20)
    kernel = world.kernel
    kernel.run_until(100)
    world.split({member.number for member in world.members[:10]})
    kernel.run_until(400)
    assert reached(world, world.members[0]) <= 10
    world.split(set())
    kernel.run_until(1000)
    assert reached(world, world.members[0]) == 20
    world.broadcast(world.members[0], b"whole")
    kernel.run_until(kernel.now + 10)
    assert sum(body == b"whole" for _, body in read) == 19


def test_a_node_that_was_cut_off_a_moment_misses_nothing() -> None:
    world, read = swarm(6, 12)
    kernel = world.kernel
    kernel.run_until(100)
    world.split({world.members[7].number})
    for number in range(20):
        world.broadcast(world.members[0], b"%d" % number)
        kernel.run_until(kernel.now + 0.5)
    assert sum(member == 7 for member, _ in read) < 20
    world.split(set())
    kernel.run_until(kernel.now + 15)
    assert sum(member == 7 for member, _ in read) == 20


NODES = [NodeId(number.to_bytes(32, "big")) for number in range(40)]
CONFIG = GossipConfig(views=ViewConfig(passive_max=8, lost_max=4))
nodes = st.sampled_from(NODES)
contacts = st.tuples(nodes, st.sampled_from([b"", b"record"]))
hops = st.integers(0, wire.HOPS_MAX)
ids = st.lists(st.integers(0, 20).map(lambda number: bytes([number]) * 32), max_size=5)
trees = st.sampled_from([b"author 1", b"author 2"])
messages = st.one_of(
    st.builds(wire.Join, contacts),
    st.builds(wire.ForwardJoin, contacts, hops),
    st.builds(wire.Neighbour, contacts, st.booleans()),
    st.builds(wire.NeighbourAnswer, st.booleans()),
    st.builds(wire.Disconnect, st.booleans()),
    st.builds(wire.Shuffle, contacts, st.lists(contacts, max_size=wire.CONTACTS_MAX), hops),
    st.builds(wire.ShuffleAnswer, st.lists(contacts, max_size=wire.CONTACTS_MAX)),
    st.builds(wire.Gossip, hops, trees, st.binary(max_size=2)),
    st.builds(wire.IHave, st.lists(st.tuples(st.sampled_from([bytes(32), b"x" * 32]), hops), max_size=3)),
    st.builds(wire.Graft, ids, st.lists(trees, max_size=2)),
    st.builds(wire.Prune, trees),
)
events = st.one_of(
    st.builds(Heard, nodes, st.sampled_from([b"", b"record"])),
    st.builds(Linked, nodes, st.booleans()),
    st.builds(Linked, nodes, st.booleans()),
    st.builds(Unlinked, nodes),
    st.builds(DialFailed, nodes),
    st.builds(Received, nodes, messages),
    st.builds(Received, nodes, messages),
    st.builds(BroadcastAsked, st.binary(max_size=2)),
    st.just(LeavingAsked()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(events, st.floats(0, 30)), max_size=80), st.integers(0, 100))
def test_whatever_happens_views_stay_within_their_laws(script: list[tuple[GossipEvent, float]], seed: int) -> None:
    own = NODES[0]
    gossip = Gossip(own, lambda: b"own", Random(seed), CONFIG)
    now, timers, up = 0.0, [], set()
    for event, pause_s in script:
        now += pause_s
        due = [timer for at, timer in timers if at <= now]
        timers = [(at, timer) for at, timer in timers if at > now]
        for one in (event, *(TimerExpired(timer) for timer in due)):
            for effect in gossip.handle(one, now):
                if isinstance(effect, SetTimer):
                    assert effect.delay_s >= 0
                    timers.append((now + effect.delay_s, effect.timer))
                elif isinstance(effect, Send):
                    assert decode(encode(effect.message)) == effect.message
                    assert effect.node != own
                elif isinstance(effect, NeighbourUp):
                    assert effect.node not in up
                    up.add(effect.node)
                elif isinstance(effect, NeighbourDown):
                    up.remove(effect.node)
                elif isinstance(effect, Dial):
                    assert effect.node != own
            active, passive = gossip.active, gossip.passive
            assert set(active) == up
            assert len(active) <= CONFIG.views.active_max
            assert len(passive) <= CONFIG.views.passive_max
            assert own not in active + passive
            assert len(set(active + passive)) == len(active) + len(passive)
            assert gossip.statistics().lost <= CONFIG.views.lost_max
    assert len(timers) < 80 + len(NODES)


def test_statistics_count_what_was_sent_received_and_doubled() -> None:
    gossip = Gossip(NODES[0], lambda: b"own", Random(1))
    for number in (1, 2):
        gossip.handle(Linked(NODES[number], dialled=False), 0.0)
        gossip.handle(Received(NODES[number], wire.Neighbour((NODES[number], b""), urgent=False)), 0.0)
    (deliver,) = gossip.handle(Received(NODES[1], wire.Gossip(1, b"author 1", b"m")), 1.0)
    assert isinstance(deliver, Deliver)
    gossip.handle(Examined(deliver.id, sound=True), 1.0)
    gossip.handle(Received(NODES[2], wire.Gossip(1, b"author 1", b"m")), 1.0)
    statistics = gossip.statistics()
    assert statistics.sent == {"NeighbourAnswer": 2, "Gossip": 1, "Prune": 1}
    assert statistics.received == {"Neighbour": 2, "Gossip": 2}
    assert (statistics.payloads, statistics.duplicates, statistics.active, statistics.trees) == (2, 1, 2, 1)


def test_a_body_from_a_stranger_is_read_and_the_stranger_told_that_it_is_no_neighbour() -> None:
    gossip = Gossip(NODES[0], lambda: b"own", Random(1))
    gossip.handle(Linked(NODES[1], dialled=False), 0.0)
    told, deliver = gossip.handle(Received(NODES[1], wire.Gossip(1, b"author 1", b"m")), 0.0)
    assert told == Send(NODES[1], wire.Disconnect())
    assert isinstance(deliver, Deliver)
