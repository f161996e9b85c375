from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.reach import netlink, watch
from cis.reach.netlink import Network, attributes, messages
from cis.reach.watch import NetworkWatch

NEW_LINK, DEL_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE = 16, 17, 20, 21, 24, 25
RUNNING = 0x1 | 0x40


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload + bytes(-len(payload) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(kind: int, index: int, flags: int) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 1, index, flags, 0))


def address(kind: int, host: bytes, *, scope: int = 0, flags: int = 0, index: int = 2) -> bytes:
    return message(kind, struct.pack("=BBBBI", 2, 24, flags, scope, index) + attribute(1, host))


def route(kind: int, gateway: bytes, *, length: int = 0, table: int = 254) -> bytes:
    return message(kind, struct.pack("=BBBBBBBBI", 2, length, 0, 0, table, 3, 0, 1, 0) + attribute(5, gateway))


def test_an_address_counts_when_it_comes_and_when_it_goes_and_not_when_repeated() -> None:
    network = Network()
    assert network.changes(address(NEW_ADDRESS, b"\x0a\0\0\1")) == ["an address came"]
    assert network.changes(address(NEW_ADDRESS, b"\x0a\0\0\1")) == []
    assert network.changes(address(NEW_ADDRESS, b"\x0a\0\0\2")) == ["an address came"]
    assert network.changes(address(DEL_ADDRESS, b"\x0a\0\0\1")) == ["an address went"]
    assert network.changes(address(NEW_ADDRESS, b"\x0a\0\0\1")) == ["an address came"]


def test_link_local_addresses_do_not_count_and_tentative_ones_not_yet() -> None:
    network = Network()
    assert network.changes(address(NEW_ADDRESS, b"\xfe\x80" + bytes(14), scope=253)) == []
    assert network.changes(address(NEW_ADDRESS, b"\x20\1" + bytes(14), flags=0x40)) == []
    assert network.changes(address(NEW_ADDRESS, b"\x20\1" + bytes(14))) == ["an address came"]


def test_a_link_counts_when_it_comes_up_or_goes_down() -> None:
    network = Network()
    for index in (1, 2, 3):
        network.changes(address(NEW_ADDRESS, bytes([10, 0, 0, index]), index=index))
    assert network.changes(link(NEW_LINK, 2, 0x1)) == []
    assert network.changes(link(NEW_LINK, 2, RUNNING)) == ["a link came up"]
    assert network.changes(link(NEW_LINK, 2, RUNNING | 0x1000)) == []
    assert network.changes(link(NEW_LINK, 2, 0x1)) == ["a link went down"]
    assert network.changes(link(NEW_LINK, 1, RUNNING | 0x8)) == []
    assert network.changes(link(NEW_LINK, 3, RUNNING) + link(DEL_LINK, 3, RUNNING)) == [
        "a link came up",
        "a link went down",
    ]


def test_a_link_without_an_address_does_not_count() -> None:
    network = Network()
    assert network.changes(link(NEW_LINK, 7, RUNNING)) == []
    network.changes(address(NEW_ADDRESS, b"\x0a\0\0\1", index=7))
    assert network.changes(link(NEW_LINK, 7, 0)) == ["a link went down"]


def test_of_the_routes_only_the_default_one_of_the_main_table_counts() -> None:
    network = Network()
    assert network.changes(route(NEW_ROUTE, b"\x0a\0\0\1", length=24)) == []
    assert network.changes(route(NEW_ROUTE, b"\x0a\0\0\1", table=255)) == []
    assert network.changes(route(NEW_ROUTE, b"\x0a\0\0\1")) == ["the default route changed"]
    assert network.changes(route(NEW_ROUTE, b"\x0a\0\0\1")) == []
    assert network.changes(route(DEL_ROUTE, b"\x0a\0\0\1")) == ["the default route changed"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "KNOWN_MAX", 4)
    network = Network()
    for number in range(100):
        network.changes(address(NEW_ADDRESS, bytes([10, 0, 0, number])) + link(NEW_LINK, number, RUNNING))
    assert len(network._addresses) == len(network._links) == 4


@given(st.binary(max_size=200), st.sampled_from([NEW_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE]))
def test_no_garbage_breaks_the_reader(data: bytes, kind: int) -> None:
    network = Network()
    network.changes(data)
    network.changes(message(kind, data))
    network.changes(message(kind, data)[:-1] + data)
    attributes(data)


@given(st.lists(st.binary(max_size=40), max_size=8), st.binary(max_size=15))
def test_messages_are_cut_where_their_lengths_say_and_the_rest_is_left(payloads: list[bytes], rest: bytes) -> None:
    whole = b"".join(message(7, payload) for payload in payloads)
    assert [payload for _, payload in messages(whole + rest)] == payloads


@pytest.mark.parametrize("length", [0, 1, 15, 65, 0xFFFF])
def test_a_length_that_makes_no_sense_ends_the_reading(length: int) -> None:
    assert list(messages(struct.pack("=I", length) + bytes(60))) == []
    assert attributes(struct.pack("=H", length if length != 15 else 3) + bytes(62)) == {}


class Machine:
    """A machine whose addresses and sleep the test decides, and what was told of them."""

    def __init__(self) -> None:
        self.addresses = frozenset({"eth0 10.0.0.1"})
        self.slept = 0.0
        self.looks = 0
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def _look(self) -> float:
        self.looks += 1
        return self.slept

    async def wait_looks(self, more: int) -> None:
        until = self.looks + more
        async with asyncio.timeout(5):
            while self.looks < until:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[NetworkWatch]:
        observer = NetworkWatch(slept=self._look, addresses=lambda: self.addresses, netlink=False, poll_s=0.005)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(observer.run(self.told.put_nowait))
            await asyncio.sleep(0)
            yield observer
            task.cancel()

    async def hear(self) -> str:
        async with asyncio.timeout(5):
            return await self.told.get()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch.QUIET_S == 0.5
    monkeypatch.setattr(watch, "QUIET_S", 0.03)


async def test_where_the_kernel_does_not_tell_addresses_are_compared() -> None:
    machine = Machine()
    async with machine.watched():
        await machine.wait_looks(1)
        machine.addresses = frozenset({"eth0 10.0.0.2"})
        assert await machine.hear() == "an address came, an address went"
        machine.addresses = frozenset()
        assert await machine.hear() == "an address went"


async def test_sleep_is_told_and_a_nap_is_not() -> None:
    machine = Machine()
    async with machine.watched():
        await machine.wait_looks(1)
        machine.slept = 1.0
        await machine.wait_looks(3)
        machine.slept = 3601.0
        assert await machine.hear() == "the machine slept 3600 s"


async def test_a_burst_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET_S", 0.3)
    machine = Machine()
    async with machine.watched() as observer:
        for change in ("a", "b", "a"):
            observer._note(change)
            await machine.wait_looks(1)
        assert await machine.hear() == "a, b"
        assert machine.told.empty()


async def test_changes_without_end_are_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BURST_S", 0.05)
    machine = Machine()
    async with machine.watched() as observer:
        async with asyncio.timeout(5):
            while machine.told.empty():
                observer._note("again")
                await asyncio.sleep(0)


def test_the_wall_clock_shows_sleep_where_there_is_no_better_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(watch.time, "time", lambda: now[0])
    monkeypatch.delattr(watch.time, "CLOCK_BOOTTIME", raising=False)
    meter = watch._sleep_meter(5.0)
    for _ in range(100):
        now[0] += 5.01
        before = meter()
    now[0] += 605.0
    assert meter() - before == pytest.approx(600.0)
    now[0] -= 5000.0
    assert meter() == pytest.approx(before + 600.0)


def test_on_linux_sleep_is_what_boottime_has_over_monotonic() -> None:
    if not hasattr(watch.time, "CLOCK_BOOTTIME"):
        pytest.skip("CLOCK_BOOTTIME is Linux's")
    meter = watch._sleep_meter(5.0)
    assert abs(meter() - meter()) < 1
