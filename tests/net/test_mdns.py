"""mDNS on the loopback interface: members find each other, strangers learn and cause nothing."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from zeroconf import DNSIncoming, DNSText, IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from cis.discovery.address import Source
from cis.discovery.instances import announcement
from cis.discovery.mdns import Mdns, Segment
from cis.discovery.provider import SLOT_SECONDS, Sighting
from cis.discovery.tags import Tags
from cis.model.ids import NodeId

ANA, BEN = NodeId(b"\1" * 32), NodeId(b"\2" * 32)
KEY = b"k" * 32
LOOPBACK = "127.0.0.1"
SERVICE = f"_c{secrets.token_hex(4)}._udp"  # other runs on this machine share the group, and are not heard
GROUP = ("224.0.0.251", 5353)


def _no_loopback_multicast() -> str | None:
    """Why loopback multicast does not work on this machine, or None when it does."""
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("", 0))
            receiver.settimeout(1)
            membership = socket.inet_aton(GROUP[0]) + socket.inet_aton(LOOPBACK)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
            sender.sendto(b"probe", (GROUP[0], receiver.getsockname()[1]))
            receiver.recvfrom(16)
    except OSError as error:
        return f"loopback multicast does not work here: {str(error) or type(error).__name__}"
    return None


_REASON = _no_loopback_multicast()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")


class Node:
    """A provider with what it announces, and what it found."""

    def __init__(self, node: NodeId, port: int, key: bytes = KEY, clock: Callable[[], float] = time.time) -> None:
        self.tags = Tags(node, lambda: [key], lambda: self.members)
        self.members = [ANA, BEN]
        self.own_tag, self.recognise = self.tags.own_tag, self.tags.recognise
        self._port = port
        self.seen: list[Sighting] = []
        self._changed = asyncio.Event()
        self.provider = Mdns(service=SERVICE, interfaces=[LOOPBACK], allow_loopback=True, interval_s=0.2, clock=clock)

    def port(self) -> int:
        return self._port

    def found(self, sighting: Sighting) -> None:
        self.seen.append(sighting)
        self._changed.set()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not holds():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.1):  # statistics change without a sighting
                        await self._changed.wait()
                except TimeoutError:
                    continue


def segment(node: Node) -> Segment:
    """What a node knows of the one network it is on."""
    (only,) = node.provider._segments.values()
    return only


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.provider.run(node, node.found)) for node in nodes]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def stranger(**fields: Any) -> AsyncIterator[AsyncServiceInfo]:
    """Announce something made up."""
    zeroconf = AsyncZeroconf(interfaces=[LOOPBACK], ip_version=IPVersion.V4Only)
    info = AsyncServiceInfo(
        f"{SERVICE}.local.",
        f"{fields.pop('instance', 'stranger')}.{SERVICE}.local.",
        parsed_addresses=fields.pop("addresses", [LOOPBACK]),
        **{"port": 9, "server": "stranger.local.", **fields},
    )
    await zeroconf.async_register_service(info, cooperating_responders=True)
    try:
        yield info
    finally:
        await zeroconf.async_close()


async def test_two_members_find_each_other() -> None:
    ana, ben = Node(ANA, 7001), Node(BEN, 7002)
    async with running(ana, ben):
        await ana.wait_until(lambda: bool(ana.seen))
        await ben.wait_until(lambda: bool(ben.seen))
    assert set(ana.seen) == {Sighting(Source.MDNS, LOOPBACK, 7002, node=BEN)}
    assert set(ben.seen) == {Sighting(Source.MDNS, LOOPBACK, 7001, node=ANA)}


async def test_another_cluster_is_counted_and_not_told() -> None:
    ana, other = Node(ANA, 7001), Node(BEN, 7002, key=b"x" * 32)
    async with running(ana, other):
        await ana.wait_until(lambda: ana.provider.statistics().foreign > 0)
    assert ana.seen == []
    assert other.seen == []


async def test_who_becomes_a_member_later_is_recognised_then() -> None:
    ana, ben = Node(ANA, 7001), Node(BEN, 7002)
    ana.members = [ANA]
    async with running(ana, ben):
        await ana.wait_until(lambda: ana.provider.statistics().foreign > 0)
        assert ana.seen == []
        ana.members = [ANA, BEN]
        await ana.wait_until(lambda: bool(ana.seen))


async def test_name_and_tag_change_with_the_slot_and_are_still_recognised() -> None:
    now = [1_000_000 * SLOT_SECONDS + 10.0]
    ana, ben = Node(ANA, 7001, clock=lambda: now[0]), Node(BEN, 7002, clock=lambda: now[0])
    async with running(ana, ben):
        await ana.wait_until(lambda: bool(ana.seen))
        (before,) = segment(ana).heard.values()
        now[0] += SLOT_SECONDS
        ana.seen.clear()
        await ana.wait_until(lambda: len(segment(ana).heard) == 2 and bool(ana.seen))
        (after,) = [kept for name, kept in segment(ana).heard.items() if name != before[0].name]
    assert before[0].tag != after[0].tag


@pytest.mark.parametrize(("slots_apart", "known"), [(-1, True), (1, True), (2, False)])
async def test_clocks_may_differ_by_one_slot(slots_apart: int, known: bool) -> None:
    now = time.time()
    ana = Node(ANA, 7001, clock=lambda: now)
    ben = Node(BEN, 7002, clock=lambda: now + slots_apart * SLOT_SECONDS)
    async with running(ana, ben):
        await ana.wait_until(lambda: bool(ana.seen) or ana.provider.statistics().foreign > 2)
    assert bool(ana.seen) == known


async def test_what_is_announced_names_nobody() -> None:
    ana, ben = Node(ANA, 7001), Node(BEN, 7002)
    async with running(ana, ben):
        await ana.wait_until(lambda: bool(ana.seen))
        (own, _) = segment(ana).heard.popitem()[1]
    told = announcement(f"{SERVICE}.local.", own)
    assert not any(secret in told for secret in (BEN, KEY, socket.gethostname().encode()))
    (text,) = [one for one in DNSIncoming(told).answers() if isinstance(one, DNSText)]
    assert text.text == b"\x12t=" + own.tag


@pytest.mark.parametrize(
    "fields",
    [
        {"properties": {}},
        {"properties": {b"t": b""}},
        {"properties": {b"t": b"short"}},
        {"properties": {b"t": bytes(200)}},
        {"properties": {"t": None}},
        {"properties": b"\xff\xfe\xfd" * 30},
        {"properties": {b"t": bytes(16)}, "port": 0},
        {"properties": {b"t": bytes(16)}, "instance": "\u202e" + "x" * 40},
    ],
)
async def test_a_hostile_instance_is_harmless(fields: dict[str, Any]) -> None:
    ana, ben = Node(ANA, 7001), Node(BEN, 7002)
    async with stranger(**fields), running(ana, ben):
        await ana.wait_until(lambda: ana.provider.statistics().malformed + ana.provider.statistics().foreign > 0)
        await ana.wait_until(lambda: bool(ana.seen))
    assert {sighting.node for sighting in ana.seen} == {BEN}


async def test_garbage_on_the_group_is_harmless() -> None:
    rng = random.Random(7)
    heads = [b"", b"\0\0\x84\0\0\0\0\1\0\0\0\0", b"\0\0\x84\0\xff\xff\xff\xff\0\0\0\0"]  # of responses
    ana, ben = Node(ANA, 7001), Node(BEN, 7002)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        async with running(ana, ben):
            for _ in range(200):
                sender.sendto(rng.choice(heads) + rng.randbytes(rng.randrange(300)), GROUP)
            await ana.wait_until(lambda: bool(ana.seen))
    assert {sighting.node for sighting in ana.seen} == {BEN}


async def test_a_member_cannot_send_others_to_addresses_that_are_not_of_the_network() -> None:
    ana = Node(ANA, 7001)
    slot = int(ana.provider._clock() // SLOT_SECONDS)
    tag = Tags(BEN, lambda: [KEY], lambda: [ANA]).own_tag(slot)
    addresses = ["169.254.169.254", "224.0.0.1", "0.0.0.0", "192.168.1.9"]
    async with stranger(properties={b"t": tag}, addresses=addresses), running(ana):
        await ana.wait_until(lambda: bool(ana.seen))
    assert {sighting.host for sighting in ana.seen} == {"192.168.1.9"}
