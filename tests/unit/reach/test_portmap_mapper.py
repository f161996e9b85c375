"""The mapper with routers that are made up: which protocol it takes, when it renews, what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from cis.reach.portmap import Gateway, Mapper, Mapping, Outcome, mapper
from cis.reach.portmap.announcements import Announcements
from cis.reach.portmap.values import LEASE_S, NoAnswer, ProtocolName, Refused

PORT = 7677
HOME = Gateway("192.168.1.1", "192.168.1.7")
AWAY = Gateway("10.0.0.1", "10.0.0.7")


@dataclass
class Client:
    """A protocol that does as told; ``table`` is the router's."""

    name: ProtocolName
    table: list[str]
    fails: Exception | None = None
    refuses: Exception | None = None
    delay: asyncio.Event | None = None
    stuck: bool = False
    deaf: bool = False
    host: str = "44.0.0.30"
    lease_s: int = LEASE_S
    maps: int = 0
    released: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def probe(self) -> str | None:
        if self.delay is not None:
            await self.delay.wait()
        if self.fails is not None:
            raise self.fails
        return self.host

    async def map(self, wanted: int) -> Mapping:
        self.maps += 1
        self.changed.set()
        if self.stuck:
            await asyncio.Event().wait()
        if self.refuses or self.fails:
            raise self.refuses or self.fails
        if self.name not in self.table:
            self.table.append(self.name)
        return Mapping(self.name, self.host, wanted, self.lease_s)

    async def alive(self) -> bool:
        self.changed.set()
        if self.fails is not None:
            raise self.fails
        return self.name in self.table

    async def release(self) -> None:
        self.released += 1
        if self.deaf:
            await asyncio.Event().wait()
        if self.name in self.table:
            self.table.remove(self.name)


class Scene:
    """A mapper that runs, with three clients of one router, and every mapping it told of."""

    def __init__(self) -> None:
        self.table: list[str] = []
        self.gateway: Gateway | None = HOME
        self.now = 0.0
        self.pcp, self.natpmp, self.upnp = (Client(name, self.table) for name in ("pcp", "nat-pmp", "upnp"))
        self.told: list[Mapping | None] = []
        self.made: list[Gateway | None] = []
        self._news = asyncio.Event()

        async def locate() -> Gateway | None:
            return self.gateway

        def clients(gateway: Gateway | None, port: int) -> list[Client]:
            assert port == PORT
            self.made.append(gateway)
            return [self.pcp, self.natpmp, self.upnp] if gateway else []

        self.mapper = Mapper(PORT, self._on_change, locate=locate, clients=clients, clock=lambda: self.now)

    def _on_change(self) -> None:
        self.told.append(self.mapper.mapping)
        self._news.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.mapper.run())
            yield self
            task.cancel()

    def outcomes(self) -> list[Outcome]:
        return [facts.outcome for facts in self.mapper.facts().protocols]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "CHECK_S", 0.01)
    monkeypatch.setattr(mapper, "SILENT_S", 0.01)


async def test_one_mapping_is_made_whoever_answers_and_removed_at_the_end() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: scene.outcomes() == [Outcome.OK] * 3)
        assert scene.table == ["pcp"]
    assert scene.table == []
    assert [scene.pcp.released, scene.natpmp.released, scene.upnp.released] == [1, 0, 0]
    assert scene.told == [Mapping("pcp", "44.0.0.30", PORT, LEASE_S)]


async def test_the_first_to_answer_is_taken_without_waiting_for_the_others() -> None:
    scene = Scene()
    scene.pcp.delay = scene.natpmp.delay = asyncio.Event()
    async with scene.running():
        await scene.wait(lambda: scene.table == ["upnp"])
        scene.pcp.delay.set()
        await scene.wait(lambda: scene.outcomes() == [Outcome.OK] * 3)
        assert scene.table == ["upnp"]


async def test_where_one_refuses_to_map_the_next_does() -> None:
    scene = Scene()
    scene.pcp.refuses = Refused("no")
    scene.natpmp.fails = NoAnswer("none")
    async with scene.running():
        await scene.wait(lambda: Outcome.UNTRIED not in scene.outcomes() and bool(scene.told))
        assert scene.table == ["upnp"]
        assert scene.outcomes() == [Outcome.REFUSED, Outcome.SILENT, Outcome.OK]
        assert [facts.detail for facts in scene.mapper.facts().protocols] == ["no", "none", ""]


async def test_a_mapping_is_renewed_at_half_its_lease_and_not_before() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.now = LEASE_S / 2 - 1
        for _ in range(3):
            scene.pcp.changed.clear()
            await scene.wait(scene.pcp.changed.is_set)
        assert scene.pcp.maps == 1
        scene.now = LEASE_S / 2
        await scene.wait(lambda: scene.pcp.maps == 2)
    assert len(scene.told) == 1


@pytest.mark.parametrize("lease_s", [1, 1 << 32])
async def test_no_lease_a_router_names_makes_us_renew_all_the_time_or_never(lease_s: int) -> None:
    scene = Scene()
    scene.pcp.lease_s = lease_s
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.now = 10.0
        scene.pcp.changed.clear()
        await scene.wait(scene.pcp.changed.is_set)
        assert scene.pcp.maps == 1
        scene.now = LEASE_S / 2
        await scene.wait(lambda: scene.pcp.maps == 2)


async def test_what_the_router_forgot_is_mapped_again() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.table.clear()
        await scene.wait(lambda: scene.table == ["pcp"])


async def test_a_router_that_was_silent_is_asked_to_map_again_whatever_its_clock_says() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.pcp.fails = NoAnswer("none")
        await scene.wait(lambda: scene.outcomes()[0] is Outcome.SILENT)
        maps, scene.pcp.fails = scene.pcp.maps, None
        await scene.wait(lambda: scene.pcp.maps > maps)
        await scene.wait(lambda: scene.outcomes()[0] is Outcome.OK)
    assert len(scene.told) == 1


async def test_a_router_that_says_it_started_again_is_asked_to_map_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapper, "CHECK_S", 1000.0)
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.mapper._on_restart()
        await scene.wait(lambda: scene.pcp.maps == 2)


def test_of_announcements_the_gateways_count_and_not_more_than_one_in_ten_seconds() -> None:
    heard: list[float] = []
    now = [0.0]
    announcements = Announcements(lambda: "192.168.1.1", lambda: heard.append(now[0]), lambda: now[0])
    pcp, natpmp = bytes([2, 0x80]) + bytes(22), bytes([0, 0x80]) + bytes(10)
    for data, source in [(pcp, "192.168.1.2"), (bytes([2, 0]), "192.168.1.1"), (b"", "192.168.1.1")]:
        announcements.datagram_received(data, (source, 5351))
    assert heard == []
    for now[0] in (0.0, 1.0, 9.0, 10.0, 11.0):
        announcements.datagram_received(pcp, ("192.168.1.1", 5351))
    now[0] = 30.0
    announcements.datagram_received(natpmp, ("192.168.1.1", 5351))
    assert heard == [0.0, 10.0, 30.0]


async def test_another_outer_address_is_told() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.pcp.host = "44.0.0.31"
        scene.table.clear()
        await scene.wait(lambda: len(scene.told) == 2)
        assert scene.told[1] == Mapping("pcp", "44.0.0.31", PORT, LEASE_S)


async def test_a_silent_router_keeps_the_mapping_until_its_lease_is_over() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        for client in (scene.pcp, scene.natpmp, scene.upnp):
            client.fails = NoAnswer("none")
        await scene.wait(lambda: scene.outcomes()[0] is Outcome.SILENT)
        assert scene.mapper.mapping is not None
        scene.now = LEASE_S + 1.0
        await scene.wait(lambda: scene.told[-1] is None)


async def test_a_silent_router_is_not_asked_all_the_time_when_a_renewal_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "SILENT_S", 1000.0)
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.pcp.fails = NoAnswer("none")
        scene.now = LEASE_S / 2
        await scene.wait(lambda: scene.outcomes()[0] is Outcome.SILENT)
        for _ in range(100):
            await asyncio.sleep(0)
        assert scene.pcp.maps == 2


async def test_where_no_gateway_is_known_the_search_starts_from_the_address_of_the_moment() -> None:
    scene = Scene()
    scene.gateway = None
    async with scene.running():
        await scene.wait(lambda: len(scene.made) == 1)
        scene.mapper.again()
        await scene.wait(lambda: len(scene.made) == 2)


async def test_a_router_that_refuses_a_renewal_is_left_for_another_protocol() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.table.clear()
        scene.pcp.refuses = Refused("no more")
        await scene.wait(lambda: scene.table == ["nat-pmp"])
        assert [mapping and mapping.protocol for mapping in scene.told] == ["pcp", None, "nat-pmp"]


async def test_after_a_change_of_network_the_new_router_is_asked() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.gateway = None
        scene.mapper.again()
        await scene.wait(lambda: scene.told[-1] is None)
        await scene.wait(lambda: scene.mapper.facts().gateway is None)
        assert "no default gateway" in scene.mapper.facts().protocols[0].detail
        scene.gateway = AWAY
        scene.mapper.again()
        await scene.wait(lambda: scene.told[-1] is not None)
        assert scene.made == [HOME, None, AWAY]


async def test_the_same_router_is_not_forgotten_when_asked_again() -> None:
    scene = Scene()
    async with scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.pcp.changed.clear()
        scene.mapper.again()
        await scene.wait(scene.pcp.changed.is_set)
        assert scene.made == [HOME]
    assert len(scene.told) == 1


async def test_who_is_stopped_while_the_router_maps_removes_what_may_be_there() -> None:
    scene = Scene()
    scene.pcp.stuck = True
    async with scene.running():
        await scene.wait(lambda: scene.pcp.maps == 1)
    assert scene.pcp.released == 1


async def test_a_router_that_maps_without_end_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "MAP_S", 0.01)
    scene = Scene()
    scene.pcp.stuck = True
    async with scene.running():
        await scene.wait(lambda: scene.table == ["nat-pmp"])
        assert scene.outcomes()[0] is Outcome.SILENT


async def test_a_router_that_does_not_answer_the_goodbye_delays_the_end_by_no_more_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mapper.RELEASE_S <= 1
    monkeypatch.setattr(mapper, "RELEASE_S", 0.01)
    scene = Scene()
    async with asyncio.timeout(5), scene.running():
        await scene.wait(lambda: bool(scene.told))
        scene.pcp.deaf = True
