"""Who listens on a local network without the discovery key learns where cis nodes are, and nothing to know them by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from zeroconf import DNSIncoming, DNSRecord, DNSText

from cis.discovery.mdns import SERVICE, Mdns
from cis.discovery.provider import SLOT_SECONDS
from cis.model import NodeId
from tests.announcing import PORT, Tagged, fields_of
from tests.net.cluster import until
from tests.net.lan.bed import Frame, Lan, Observer
from tests.net.nat.internet import Host

ANA, BEN, CAT = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))
OURS, THEIRS = b"k" * 32, b"x" * 32
SLOT, SLOTS = 1000, 3
PATIENCE_S = 30.0


class Shown(Tagged):
    """A node that announces itself."""

    def __init__(self, node: NodeId, key: bytes) -> None:
        super().__init__(node, [ANA, BEN, CAT], key)


def run_on(host: Host, provider: Mdns, shown: Shown, enough: Callable[[], bool]) -> None:
    """Run a provider on a host until it holds."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(provider.run(shown, lambda _: None))
            await until(enough, PATIENCE_S)
            running.cancel()

    with host.namespace.entered():
        asyncio.run(main())


def announced(observer: Observer, slot: int, now: list[float]) -> Callable[[], bool]:
    """Let the time pass one slot with every announcement; true once there were enough."""

    def enough() -> bool:
        count = len(announcements(observer.heard()))
        now[0] = (slot + count) * SLOT_SECONDS + 1.0
        return count >= SLOTS

    return enough


def announcements(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if any(one.ttl for one in records(frame.payload))]


def records(payload: bytes) -> list[DNSRecord]:
    message = DNSIncoming(payload)
    return [] if message.is_query() else message.answers()


def fields(frame: Frame) -> set[object]:
    return fields_of(records(frame.payload))


def observed(lan: Lan, host: Host, node: NodeId, key: bytes) -> list[Frame]:
    """What is seen of a node over some slots, IPv4 alone."""
    host.namespace.set({"ipv6/conf/all/disable_ipv6": "1"})
    now = [SLOT * SLOT_SECONDS + 1.0]
    provider = Mdns(interval_s=0.05, clock=lambda: now[0], rng=Random(1))
    with lan.observer("home") as observer:
        run_on(host, provider, Shown(node, key), announced(observer, SLOT, now))
        return announcements(observer.heard())


def test_nothing_but_address_and_port_is_the_same_in_two_slots(lan: Lan) -> None:
    host = lan.host("a", "home")
    frames = observed(lan, host, ANA, OURS)
    by_tag: dict[bytes, set[object]] = {}
    for frame in frames:
        (text,) = [one.text for one in records(frame.payload) if isinstance(one, DNSText)]
        by_tag.setdefault(text, set()).update(fields(frame))
    slots = list(by_tag.values())
    assert len(slots) == SLOTS
    address = bytes(map(int, host.address.split(".")))
    for at, one in enumerate(slots):
        for other in slots[at + 1 :]:
            assert one & other == {f"{SERVICE}.local.", PORT, address}


def test_of_the_bytes_that_differ_between_nodes_none_stays_from_slot_to_slot_but_by_chance(lan: Lan) -> None:
    host, other = lan.host("a", "home"), lan.host("b", "home")
    mine, theirs = observed(lan, host, ANA, OURS), observed(lan, other, CAT, THEIRS)
    first, last, foreign = mine[0].payload, mine[-1].payload, theirs[0].payload
    assert len(first) == len(last) == len(foreign)
    address = len(first) - 4  # which comes last, and stays
    telling = [at for at in range(address) if first[at] != foreign[at]]
    stays = [at for at in telling if first[at] == last[at]]
    assert len(telling) > 40
    assert len(stays) < len(telling) / 4, "of sixteen digits one is the same again"


def test_nodes_of_two_clusters_look_alike(lan: Lan) -> None:
    shapes = set()
    for node, key in ((ANA, OURS), (BEN, OURS), (CAT, THEIRS)):
        frames = observed(lan, lan.host(f"n{node[0]}", "home"), node, key)
        for frame in frames:
            shapes.add((frame.size, tuple((type(one), len(one.name), one.ttl) for one in records(frame.payload))))
    assert len(shapes) == 1


def test_a_node_that_changes_its_name_does_not_say_which_one_it_leaves(lan: Lan) -> None:
    host = lan.host("a", "home")
    host.namespace.set({"ipv6/conf/all/disable_ipv6": "1"})
    now = [SLOT * SLOT_SECONDS + 1.0]
    with lan.observer("home") as observer:
        provider = Mdns(interval_s=0.05, clock=lambda: now[0], rng=Random(1))
        run_on(host, provider, Shown(ANA, OURS), announced(observer, SLOT, now))
        frames = observer.heard()
    goodbyes = [frame for frame in frames if any(one.ttl == 0 for one in records(frame.payload))]
    assert len(goodbyes) == 1
    assert goodbyes[0] is frames[-1], "only the end of the node is told"
