"""A search in the DHT finds the closest nodes that live, asks boundedly, and is not led astray by liars."""

from __future__ import annotations

import random

import pytest

from cis.discovery.dht.lookup import ASKED_MAX, AT_ONCE, CLOSEST, Known, Lookup

TARGET = bytes(range(20))


def network(count: int, seed: int = 1) -> list[Known]:
    rng = random.Random(seed)
    return [Known(rng.randbytes(20), f"10.{one >> 8}.{one & 255}.1", 6881) for one in range(count)]


def distance(node: Known) -> int:
    return int.from_bytes(node.id, "big") ^ int.from_bytes(TARGET, "big")


def run(lookup: Lookup, nodes: list[Known], dead: frozenset[Known] = frozenset()) -> int:
    """Answer as a network would in which each knows forty others; returns how many were asked."""
    asked, rng = 0, random.Random(7)
    while not lookup.over:
        due = lookup.due()
        assert due, "a search that is not over has somebody to ask"
        assert len(due) <= AT_ONCE
        for node in due:
            asked += 1
            if node in dead:
                lookup.on_silence(node)
            else:
                lookup.on_reply(node, sorted(rng.sample(nodes, min(40, len(nodes))), key=distance)[:CLOSEST])
    return asked


@pytest.mark.parametrize("count", [1, 5, 20, 1000])
def test_the_closest_are_found_from_any_one(count: int) -> None:
    nodes = network(count)
    lookup = Lookup(TARGET, nodes[:1])
    run(lookup, nodes)
    if count <= 20:
        assert lookup.answered()[:CLOSEST] == sorted(nodes, key=distance)[:CLOSEST]
    else:
        near = sorted(nodes, key=distance)[: 3 * CLOSEST]
        assert len([one for one in lookup.answered()[:CLOSEST] if one in near]) >= CLOSEST - 2


def test_the_dead_are_passed_over() -> None:
    nodes = network(20)
    closest = sorted(nodes, key=distance)
    dead = frozenset(closest[:5])
    lookup = Lookup(TARGET, nodes)
    run(lookup, nodes, dead)
    assert lookup.answered()[:CLOSEST] == closest[5 : 5 + CLOSEST]


def test_nothing_known_is_over_at_once_and_all_silent_soon() -> None:
    assert Lookup(TARGET, []).over
    nodes = network(20)
    lookup = Lookup(TARGET, nodes)
    assert run(lookup, nodes, frozenset(nodes)) == 20
    assert lookup.answered() == []


def test_a_liar_that_always_knows_somebody_closer_is_not_followed_for_ever() -> None:
    lookup, asked = Lookup(TARGET, network(1)), 0
    while not lookup.over:
        for node in lookup.due():
            asked += 1
            closer = (distance(node) >> 1) + 1
            ids = ((int.from_bytes(TARGET, "big") ^ (closer + one)).to_bytes(20, "big") for one in range(16))
            lookup.on_reply(node, [Known(id_, f"10.9.{asked}.{one}", 6881) for one, id_ in enumerate(ids)])
    assert asked <= ASKED_MAX


def test_one_network_has_one_place_in_a_public_search() -> None:
    crowd = [Known(random.Random(one).randbytes(20), f"192.0.2.{one}", 6881) for one in range(1, 60)]
    honest = network(10)
    lookup = Lookup(TARGET, [*crowd, *honest], spread=True)
    run(lookup, [*crowd, *honest])
    assert len([one for one in lookup.answered() if one in crowd]) == 1


def test_ids_of_another_length_and_second_ids_of_an_address_are_no_nodes() -> None:
    near, far = sorted(network(2), key=distance)
    lookup = Lookup(TARGET, [near, Known(far.id, near.host, near.port), Known(b"short", "10.0.0.9", 1)])
    assert lookup.due() == [near]
    lookup.on_reply(near, [])
    assert lookup.over
    assert lookup.answered() == [near]
