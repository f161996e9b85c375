"""Candidates: which there are, in which order, and what a mapping adds to them."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Any

import pytest

from cis.errors import TimedOut, Unavailable
from cis.model import Candidate
from cis.reach import relaying
from cis.reach.candidates import numbered, standing
from cis.reach.gathering import Gatherer
from cis.reach.names import Names
from cis.reach.options import ReachOptions, TurnServer
from cis.reach.reflexive import Reflection
from cis.reach.relaying import Relaying
from cis.reach.stun_client import Reflexive


@dataclass
class Mapping:
    host: str | None
    port: int


@dataclass
class Mapper:
    mapping: Mapping | None = None


class Hub:
    """Answers for STUN servers: what each sees, or None for silence."""

    carrier = None
    searching = False

    def __init__(self, **sees: tuple[str, int, float] | None) -> None:
        self.sees = sees
        self.asked: list[str] = []
        self.takes_ipv6 = True
        self.names = self

    async def lookup(self, host: str, port: int) -> tuple[tuple[str, int], ...]:
        return ((f"192.0.2.{ord(host[0])}", port),) if host in self.sees else ()

    async def binding(self, server: tuple[str, int], timeout_s: float) -> Reflexive:
        name = next(one for one in self.sees if server[0] == f"192.0.2.{ord(one[0])}")
        self.asked.append(name)
        await asyncio.sleep(0)
        if (seen := self.sees[name]) is None:
            raise TimedOut("no answer")
        return Reflexive(*seen)

    def forget(self) -> None:
        """Nothing is remembered here."""


def gatherer(hub: Hub, mapper: Mapper | None = None, *hosts: Candidate) -> Gatherer:
    own = hosts or (Candidate("192.168.1.7", 7677, "lan"), Candidate("2001:db8::7", 7677, "direct"))
    servers = tuple((name, 3478) for name in hub.sees)
    any_hub: Any = hub
    any_mapper: Any = mapper
    return Gatherer(any_hub, any_hub, ReachOptions(stun_servers=servers), lambda: own, any_mapper)


def kinds(one: Gatherer) -> list[tuple[str, str, int]]:
    return [(each.kind, each.host, each.port) for each in one.candidates()]


def test_host_comes_before_mapped_before_reflexive_before_relay() -> None:
    made = numbered([("relay", ("a::1", 4)), ("srflx", ("a::2", 3)), ("mapped", ("a::3", 2)), ("host", ("a::4", 1))])
    by_priority = sorted(made, key=lambda one: -one.priority)
    assert [one.kind for one in by_priority] == ["host", "mapped", "srflx", "relay"]


def test_an_address_is_one_candidate_and_foundations_and_priorities_differ() -> None:
    made = numbered([("host", ("10.0.0.1", 1)), ("host", ("10.0.0.2", 1)), ("srflx", ("10.0.0.1", 1))])
    assert len(made) == len({one.priority for one in made}) == len({one.foundation for one in made}) == 2
    assert made[0].priority > made[1].priority
    assert standing(("10.0.0.2", 1), made) == "host"
    assert standing(("10.0.0.3", 1), made) == "prflx"


def test_what_nobody_can_send_to_is_no_candidate() -> None:
    nowhere = [("fe80::1%eth0", 1), ("0.0.0.0", 1), ("10.0.0.1", 0), ("224.0.0.1", 9), ("router.home", 9)]
    assert numbered([("host", one) for one in nowhere]) == ()


async def test_a_mapping_takes_its_address_from_stun_where_it_names_none() -> None:
    mapper = Mapper(Mapping(None, 5000))
    one = gatherer(Hub(a=("198.51.100.1", 4001, 0.01)), mapper)
    assert "mapped" not in [kind for kind, _, _ in kinds(one)]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        await one.ready()
        assert ("mapped", "198.51.100.1", 5000) in kinds(one)
        assert Candidate("198.51.100.1", 5000, "mapped") in one.public()
        mapper.mapping = Mapping("198.51.100.9", 5001)
        changes: list[int] = []
        one.on_change.append(lambda: changes.append(1))
        one.refresh()
        one.refresh()
        assert ("mapped", "198.51.100.9", 5001) in kinds(one)
        assert changes == [1], "told once for one change"
        running.cancel()


async def test_the_record_names_no_reflexive_and_no_relayed_address() -> None:
    hosts = (Candidate("192.168.1.7", 7677, "lan"), Candidate("198.51.100.5", 9, "relayed"))
    one = gatherer(Hub(a=("198.51.100.1", 4001, 0.01)), None, *hosts)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        await one.ready()
        assert [kind for kind, _, _ in kinds(one)] == ["host", "srflx"]
        assert one.public() == hosts[:1]
        running.cancel()


async def test_servers_that_see_one_port_or_several_tell_the_mapping() -> None:
    for sees, mapping in (
        ({"a": ("198.51.100.1", 1, 0.1), "b": ("198.51.100.1", 1, 0.2)}, "endpoint-independent"),
        ({"a": ("198.51.100.1", 1, 0.1), "b": ("198.51.100.1", 2, 0.2)}, "address-dependent"),
        ({"a": ("198.51.100.1", 1, 0.1), "b": None}, None),
        ({"a": ("192.168.1.7", 7677, 0.1)}, "none"),
    ):
        hub = Hub(**sees)
        asked = reflection(hub)
        await asked._ask_some_or_all()
        assert asked.mapping() == mapping
        assert asked.settled
        assert [fact.error for fact in asked.facts()] == [None if hub.sees[one] else "no answer" for one in hub.sees]


def reflection(hub: Hub) -> Reflection:
    any_hub: Any = hub
    return Reflection(any_hub, [(name, 3478) for name in hub.sees], lambda: [("192.168.1.7", 7677)], lambda: None)


async def test_after_the_first_round_only_the_quickest_server_is_asked_until_it_sees_something_else() -> None:
    hub = Hub(a=("198.51.100.1", 1, 0.2), b=("198.51.100.1", 1, 0.1))
    asking = reflection(hub)
    await asking._ask_some_or_all()
    await asking._ask_some_or_all()
    assert sorted(hub.asked) == ["a", "b", "b"]
    hub.sees |= {"a": ("198.51.100.1", 9, 0.2), "b": ("198.51.100.1", 9, 0.1)}
    await asking._ask_some_or_all()
    assert asking.addresses() == (("198.51.100.1", 9),), "what others saw before is old"
    await asking._ask_some_or_all()
    assert asking.mapping() == "endpoint-independent"


async def test_a_silent_server_is_asked_again_soon_then_ever_more_rarely_and_at_once_for_a_search() -> None:
    hub = Hub(a=None)
    asking = reflection(hub)
    await asking._ask_some_or_all()
    pauses = [asking._next_pause_s() for _ in range(9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    asking.freshen()
    assert asking._wake.is_set()
    assert asking._next_pause_s() == pauses[0]


async def test_a_server_that_lies_anew_each_time_is_not_asked_more_often() -> None:
    hub = Hub(a=("198.51.100.1", 1, 0.2))
    asking = reflection(hub)
    for port in range(2, 9):
        await asking._ask_some_or_all()
        hub.sees["a"] = ("198.51.100.1", port, 0.2)
        assert asking._next_pause_s() >= 25


async def test_a_name_that_fails_is_a_fact_and_is_asked_for_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host == "bad.example":
            raise socket.gaierror
        return [(2, 2, 17, "", ("192.0.2.1", 0)), (2, 2, 17, "", ("192.0.2.1", 0))]

    monkeypatch.setattr("cis.reach.names.socket.getaddrinfo", resolve)
    names = Names()
    found = await asyncio.gather(names.lookup("good.example", 1), names.lookup("good.example", 2))
    assert list(found) == [(("192.0.2.1", 1),), (("192.0.2.1", 2),)]
    assert await names.lookup("bad.example", 1) == ()
    assert await names.lookup("bad.example", 1) == ()
    assert await names.lookup("192.0.2.9", 1) == (("192.0.2.9", 1),)
    assert asked == ["good.example", "bad.example"]
    names.forget()
    await names.lookup("bad.example", 1)
    assert asked[2:] == ["bad.example"]


class Allocation:
    """Stands for a relay."""

    def __init__(self, server: TurnServer) -> None:
        self.server = server
        self.closed = False

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        ({"udp": 0.0, "tcp": 0.0, "tls": 0.0}, "udp"),
        ({"udp": 0.05, "tcp": 0.0}, "udp"),
        ({"udp": None, "tcp": 0.0}, "tcp"),
        ({"udp": None, "tcp": None, "tls": 0.02}, "tls"),
        ({"tcp": 0.01}, "tcp"),
        ({"udp": None, "tcp": None}, None),
    ],
)
async def test_a_stream_to_the_turn_server_is_kept_only_where_datagrams_give_nothing(
    monkeypatch: pytest.MonkeyPatch, answers: dict[Any, float | None], kept: str | None
) -> None:
    opened: list[Allocation] = []

    async def open_relay(server: TurnServer, *_: object) -> Allocation:
        after_s = answers[server.transport]
        if after_s is None:
            raise Unavailable("the server does not answer")
        await asyncio.sleep(after_s)
        opened.append(Allocation(server))
        return opened[-1]

    monkeypatch.setattr("cis.reach.relay.open_relay", open_relay)
    monkeypatch.setattr(relaying, "_STREAM_LATER_S", 0.02)
    servers = [TurnServer("192.0.2.1", 3478, transport, "ana", "secret") for transport in answers]
    nothing: Any = None
    relay: Any = await Relaying(servers, nothing, nothing, 0.1, lambda: None)._race()
    assert (relay and relay.server.transport) == kept
    assert [one.closed for one in opened] == [one is not relay for one in opened]


async def test_a_server_that_grants_and_drops_relays_is_not_asked_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Allocation] = []

    class Short(Allocation):
        async def serve(self) -> None:
            """Lost at once."""

    async def open_relay(server: TurnServer, *_: object) -> Allocation:
        opened.append(Short(server))
        return opened[-1]

    monkeypatch.setattr("cis.reach.relay.open_relay", open_relay)
    nothing: Any = None
    keeping = Relaying([TurnServer("192.0.2.1", 3478, "udp", "ana", "x")], nothing, nothing, 0.1, lambda: None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(keeping.run(), 0.3)
    assert len(opened) == 1
    assert keeping.relay is None


async def test_a_network_that_changes_while_servers_are_asked_is_not_waited_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is asked then is asked on the network that is gone."""
    asked = 0

    async def open_relay(*_: object) -> Allocation:
        nonlocal asked
        asked += 1
        if asked == 1:
            keeping.again()
        raise Unavailable("the server does not answer")

    monkeypatch.setattr("cis.reach.relay.open_relay", open_relay)
    monkeypatch.setattr(relaying, "_RETRY_S", 60.0)
    nothing: Any = None
    keeping = Relaying([TurnServer("192.0.2.1", 3478, "udp", "ana", "x")], nothing, nothing, 0.1, lambda: None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(keeping.run(), 0.1)
    assert asked == 2


async def test_a_relay_granted_as_the_node_stops_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop comes after the relay was chosen, while another server is still being let go."""
    opened: list[Allocation] = []
    asked, let_go, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def open_relay(server: TurnServer, *_: object) -> Allocation:
        if server.transport == "tcp":
            asked.set()
            try:
                await never.wait()
            finally:
                let_go.set()
                await never.wait()
        await asked.wait()
        opened.append(Allocation(server))
        return opened[-1]

    monkeypatch.setattr("cis.reach.relay.open_relay", open_relay)
    monkeypatch.setattr(relaying, "_STREAM_LATER_S", 0.0)
    servers = [TurnServer("192.0.2.1", 3478, transport, "ana", "x") for transport in ("udp", "tcp")]
    nothing: Any = None
    async with asyncio.TaskGroup() as group:
        running = group.create_task(Relaying(servers, nothing, nothing, 0.5, lambda: None).run())
        await let_go.wait()
        running.cancel()
    assert [one.closed for one in opened] == [True]


def test_aioice_logs_nothing_below_a_warning() -> None:
    assert not logging.getLogger("aioice.turn").isEnabledFor(logging.INFO)
