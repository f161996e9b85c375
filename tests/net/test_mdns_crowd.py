"""mDNS where there are many: a hundred nodes on one network, strangers that flood it, what is remembered of them."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_interface
from random import Random

import pytest

from cis.discovery.instances import Instance, announcement
from cis.discovery.mdns import INSTANCES_MAX, SECOND_S, TOLD_BURST, Mdns, Segment
from cis.discovery.multicast import GROUP_IPV4, READ_BURST, SOURCE_BURST, SOURCE_PER_S, Channel, Interface
from cis.discovery.pace import Pace
from cis.discovery.provider import Sighting
from cis.discovery.tags import Tags
from cis.model.ids import NodeId
from tests.announcing import Tagged
from tests.net.cluster import until
from tests.net.test_mdns import GROUP, LOOPBACK
from tests.net.test_mdns import pytestmark as _multicast

pytestmark = _multicast
KEY = b"k" * 32
MANY = 100
FLOOD, FLOOD_PER_S = 5000, 2000
LAN = Interface(7, "eth0", (ip_interface("192.168.1.2/24"), ip_interface("fe80::2/64")))


def _over(moment: float) -> bool:
    return time.monotonic() >= moment


def node_of(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


class Member(Tagged):
    """One of a crowd, and whom it found."""

    def __init__(self, number: int, service: str, members: int = MANY) -> None:
        known = [node_of(other) for other in range(members)]
        super().__init__(node_of(number), known, KEY, 1000 + number)
        self.seen: list[Sighting] = []
        self.provider = Mdns(service=service, interfaces=[LOOPBACK], allow_loopback=True, rng=Random(number))

    @property
    def found(self) -> set[NodeId | None]:
        return {one.node for one in self.seen}


@asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.provider.run(one, one.seen.append)) for one in members]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(180)
async def test_a_hundred_nodes_that_start_at_once_all_find_each_other_and_say_little() -> None:
    service = f"_c{secrets.token_hex(4)}._udp"
    crowd = [Member(number, service) for number in range(MANY)]
    async with running(*crowd):
        await until(lambda: all(len(one.found) == MANY - 1 for one in crowd), 120)
        counts = [one.provider.statistics() for one in crowd]
    assert sum(count.sent for count in counts) <= 12 * MANY
    assert max(len(one.seen) for one in crowd) <= 2 * MANY, "what is said again is not told again"
    assert all(count.dropped == count.malformed == count.foreign == 0 for count in counts)


def remembering() -> tuple[Mdns, Segment, Member]:
    """A provider on a network without sockets."""
    member = Member(0, "_cis._udp", members=2)
    segment = Segment(LAN, Pace(Random(1), 30.0, 0.0))
    member.provider._announcement, member.provider._found = member, member.seen.append
    return member.provider, segment, member


def made_up(number: int, tag: bytes = bytes(16), hosts: tuple[str, ...] = ("192.168.1.9",)) -> Instance:
    return Instance(f"{number:032x}._cis._udp.local.", tag, 9, hosts, 120)


def test_what_is_remembered_of_a_flood_of_instances_is_bounded_and_counted() -> None:
    provider, segment, _ = remembering()
    for number in range(INSTANCES_MAX + 50):
        provider._hear(segment, made_up(number), 0.0)
    assert len(segment.heard) == INSTANCES_MAX
    assert provider.statistics().dropped == 50


def test_a_copied_tag_in_a_flood_leads_to_so_many_sightings_and_no_more() -> None:
    provider, segment, member = remembering()
    tag = Tags(node_of(1), lambda: [KEY], lambda: [node_of(0)]).own_tag(int(time.time() // 900))
    assert tag is not None
    for number in range(10 * TOLD_BURST):
        provider._hear(segment, made_up(number, tag, (f"10.0.{number >> 8}.{number & 255}",)), 0.0)
    assert len(member.seen) == TOLD_BURST


def test_of_an_instances_addresses_those_on_its_network_are_told_one_of_each_family() -> None:
    provider, _, _ = remembering()
    hosts = ("10.9.9.9", "192.168.1.7", "192.168.1.8", "fd00::7", "fe80::7")
    assert provider._best(LAN, hosts) == ["192.168.1.7", "fe80::7%eth0"]


def test_the_second_address_of_a_node_is_told_when_the_first_had_a_moment() -> None:
    provider, segment, member = remembering()
    tag = Tags(node_of(1), lambda: [KEY], lambda: [node_of(0)]).own_tag(int(time.time() // 900))
    assert tag is not None
    provider._hear(segment, made_up(1, tag, ("fe80::7", "192.168.1.7")), 10.0)
    assert [one.host for one in member.seen] == ["192.168.1.7"]
    provider._tell_due(10.0 + SECOND_S)
    assert [one.host for one in member.seen] == ["192.168.1.7", "fe80::7%eth0"]


def test_where_none_lies_on_the_network_a_router_may_know_the_way() -> None:
    provider, _, _ = remembering()
    assert provider._best(LAN, ("10.9.9.9", "fd00::7", "169.254.169.254")) == ["10.9.9.9", "fd00::7"]


def test_a_link_local_address_is_told_with_the_interface_it_came_by_or_not_at_all() -> None:
    provider, _, _ = remembering()
    assert provider._best(LAN, ("fe80::7",)) == ["fe80::7%eth0"]
    without_ipv6 = Interface(7, "eth0", LAN.addresses[:1])
    assert provider._best(without_ipv6, ("fe80::7",)) == []


async def test_members_find_each_other_while_a_stranger_floods_the_group() -> None:
    rng = Random(7)
    service = f"_c{secrets.token_hex(4)}._udp"
    label = b"\x0a" + service.partition(".")[0].encode()
    ana, ben = (Member(number, service, members=2) for number in (0, 1))
    valid = announcement(f"{service}.local.", made_up(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.2", 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        async with running(ana, ben), asyncio.timeout(60):
            sent, due = 0, time.monotonic()
            while sent < FLOOD or not (ana.found and ben.found):
                due += 2 / FLOOD_PER_S
                await until(partial(_over, due))
                damaged = bytearray(valid)
                damaged[rng.randrange(12, len(damaged))] = rng.randrange(256)
                for data in (bytes(damaged), b"\0\0\x84\0" + rng.randbytes(8) + label + rng.randbytes(200)):
                    sender.sendto(data, GROUP)
                    sent += 1
            counts = ana.provider.statistics()
    assert 0 < counts.malformed < FLOOD // 2, "of one source so much is looked at"
    assert counts.sent < 20, "nothing a stranger sends makes a node talk"


async def test_more_than_can_be_read_is_left_to_the_kernel_which_drops_it() -> None:
    heard: list[bytes] = []
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    ours.bind((LOOPBACK, 0))
    ours.settimeout(0)
    channel = Channel(ours, GROUP_IPV4, heard.append)
    with theirs:
        for _ in range(8 * READ_BURST // 100):
            for _ in range(100):
                theirs.sendto(b"x", ours.getsockname())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert channel._resuming is not None, "it reads no more for now"
    assert SOURCE_BURST <= len(heard) <= SOURCE_BURST + 2 * SOURCE_PER_S
    channel.close()
