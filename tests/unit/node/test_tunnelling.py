"""Channels between two members: at places both use, one for both where both ask, bounded, and over when not needed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cis.errors import Unavailable
from cis.model import NodeId
from cis.net.paths import Path
from cis.node.paths import tunnelling
from cis.node.paths.tunnelling import CHANNELS_MAX, Means, Tunnelling
from cis.node.streams.paces import OFFERS_BURST
from cis.reach.transports import Guarded, Transport, address_of
from cis.wire.signals import Meet, Refuse, Signal, Waits, Way

LOW, HIGH = NodeId(b"\x01" * 32), NodeId(b"\x09" * 32)
ID = b"i" * 16
HERE = "anchor.example.net"


class FakeChannel:
    relayed = True
    congested = False

    def __init__(self, id_: bytes) -> None:
        self.address = address_of(id_)
        self.ended = asyncio.Event()

    def send(self, _: list[bytes], __: Any) -> OSError | None:
        return None

    def when_writable(self, _: Callable[[], None]) -> None:
        raise AssertionError

    async def wait_ended(self) -> None:
        await self.ended.wait()


class FakeTransport(Transport):
    """Opens at once, and tells what is open."""

    def __init__(self, name: str = "websocket", places: Sequence[str] = (HERE,)) -> None:
        self.name = name
        self.known = list(places)
        self.failing: set[str] = set()
        self.open_now: dict[bytes, tuple[str, bool, FakeChannel]] = {}

    def places(self) -> Sequence[str]:
        return self.known

    @asynccontextmanager
    async def open(self, place: str, channel: bytes, *, waits: bool, take: Any) -> AsyncIterator[FakeChannel]:
        if place in self.failing:
            raise Unavailable(f"{place} is gone")
        self.open_now[channel] = (place, waits, FakeChannel(channel))
        try:
            yield self.open_now[channel][2]
        finally:
            del self.open_now[channel]


class Side:
    """A node as far as channels go."""

    def __init__(self, own: NodeId, group: asyncio.TaskGroup, *transports: Transport) -> None:
        self.own = own
        self.sent: list[Signal] = []
        self.expected: list[Path] = []
        self.used: set[Any] = set()
        self.admitted = True
        self._group = group
        numbers = itertools.count()
        self.tunnelling = Tunnelling(
            Means(
                own,
                transports,
                send=self.send,
                admits=lambda _: self.admitted,
                expect=self.expect,
                in_use=self.used.__contains__,
                take=lambda *_: None,
                spawn=self.spawn,
                entropy=lambda length: own[:1] + next(numbers).to_bytes(length - 1, "big"),
            )
        )

    async def send(self, _: NodeId, signal: Signal) -> None:
        self.sent.append(signal)

    def expect(self, path: Path) -> Callable[[], None]:
        self.expected.append(path)
        return lambda: self.expected.remove(path)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self._group.create_task(work)

    def deliver(self, other: Side) -> None:
        sent, self.sent = self.sent, []
        for signal in sent:
            other.tunnelling.on_signal(self.own, signal)

    def path_to(self, node: NodeId) -> asyncio.Task[Path | str]:
        return self._group.create_task(self._path_to(node))

    async def _path_to(self, node: NodeId) -> Path | str:
        try:
            return await self.tunnelling.path_to(node)
        except Unavailable as error:
            return str(error)


@pytest.fixture
async def group(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.TaskGroup]:
    monkeypatch.setattr(tunnelling, "UNUSED_S", 0.05)
    monkeypatch.setattr(tunnelling, "LOOK_S", 0.01)
    async with asyncio.TaskGroup() as opened:
        yield opened


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


async def test_one_asks_the_other_waits_and_both_stand_in_one_channel(group: asyncio.TaskGroup) -> None:
    ours, theirs = FakeTransport(), FakeTransport()
    low, high = Side(LOW, group, ours), Side(HIGH, group, theirs)
    asking = low.path_to(HIGH)
    await until(lambda: low.sent)
    low.deliver(high)
    await until(lambda: high.sent)
    assert next(iter(theirs.open_now.values()))[:2] == (HERE, True), "who is asked is there first"
    assert not ours.open_now
    high.deliver(low)
    path = await asking
    (channel,) = ours.open_now
    assert [ours.open_now[channel][:2], list(theirs.open_now)] == [(HERE, False), [channel]]
    assert (path.local, path.remote, path.relayed, path.proven) == ("tunnel", "tunnel", True, True)
    assert path.address == address_of(channel) == high.expected[0].address
    assert low.tunnelling.place_of(path.carrier) == f"{HERE} (websocket)"
    await until(lambda: not ours.open_now and not theirs.open_now and not high.expected)
    assert low.tunnelling.place_of(path.carrier) is None


async def test_a_channel_is_kept_while_a_connection_stands_on_it(group: asyncio.TaskGroup) -> None:
    ours = FakeTransport()
    low = Side(LOW, group, ours)
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("websocket", HERE),)))
    await until(lambda: ours.open_now)
    (_, _, channel) = next(iter(ours.open_now.values()))
    low.used.add(channel)
    began = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() - began > 4 * tunnelling.UNUSED_S)
    assert ours.open_now
    low.used.clear()
    await until(lambda: not ours.open_now)


async def test_a_channel_that_ended_is_let_go(group: asyncio.TaskGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnelling, "LOOK_S", 60.0)
    ours = FakeTransport()
    low = Side(LOW, group, ours)
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("websocket", HERE),)))
    await until(lambda: ours.open_now)
    next(iter(ours.open_now.values()))[2].ended.set()
    await until(lambda: not ours.open_now)


async def test_no_place_is_gone_to_that_this_node_does_not_use_by_itself(group: asyncio.TaskGroup) -> None:
    ours = FakeTransport()
    low = Side(LOW, group, ours)
    ways = (Way("websocket", "169.254.169.254"), Way("other", HERE))
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, ways))
    await until(lambda: low.sent)
    assert isinstance(low.sent[0], Refuse)
    assert not ours.open_now


async def test_where_the_first_common_place_fails_the_next_is_taken(group: asyncio.TaskGroup) -> None:
    ours = FakeTransport(places=["a", "b"])
    ours.failing = {"a"}
    low = Side(LOW, group, ours)
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("websocket", "a"), Way("websocket", "b"))))
    await until(lambda: low.sent)
    assert low.sent == [Waits(ID, 1)]


async def test_where_both_ask_at_once_the_smaller_id_s_stands(group: asyncio.TaskGroup) -> None:
    ours, theirs = FakeTransport(), FakeTransport()
    low, high = Side(LOW, group, ours), Side(HIGH, group, theirs)
    asking, asked = low.path_to(HIGH), high.path_to(LOW)
    await until(lambda: low.sent and high.sent)
    high.deliver(low)
    assert not ours.open_now
    low.deliver(high)
    await until(lambda: high.sent)
    high.deliver(low)
    assert (await asking).relayed
    assert len(ours.open_now) == len(theirs.open_now) == 1
    assert "did not come" in str(await asked)


async def test_who_is_waited_for_already_is_not_asked(group: asyncio.TaskGroup) -> None:
    low = Side(LOW, group, FakeTransport())
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("websocket", HERE),)))
    with pytest.raises(Unavailable, match="did not come"):
        await low.tunnelling.path_to(HIGH)
    assert [type(one) for one in low.sent] == [Waits]


async def test_a_member_that_is_not_admitted_or_asks_too_often_gets_no_channel(group: asyncio.TaskGroup) -> None:
    ours = FakeTransport()
    low = Side(LOW, group, ours)
    low.admitted = False
    meet = Meet(ID, b"c" * 32, (Way("websocket", HERE),))
    for _ in range(int(OFFERS_BURST) + 5):
        low.tunnelling.on_signal(HIGH, meet)
    await until(lambda: low.sent)
    assert not ours.open_now
    assert len(low.sent) <= OFFERS_BURST


async def test_only_so_many_channels_are_held(group: asyncio.TaskGroup) -> None:
    ours = FakeTransport()
    low = Side(LOW, group, ours)
    for number in range(CHANNELS_MAX + 4):
        sender = NodeId(bytes([number + 2]) * 32)
        low.tunnelling.on_signal(sender, Meet(ID, bytes([number]) * 32, (Way("websocket", HERE),)))
    await until(lambda: len(low.sent) == CHANNELS_MAX + 4)
    assert sum(isinstance(one, Refuse) for one in low.sent) == 4
    await until(lambda: not ours.open_now)
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("websocket", HERE),)))
    await until(lambda: ours.open_now)


async def test_answers_that_are_about_nothing_are_passed_over(group: asyncio.TaskGroup) -> None:
    low = Side(LOW, group, FakeTransport())
    assert not low.tunnelling.on_signal(HIGH, Refuse(ID, "no"))
    asking = low.path_to(HIGH)
    await until(lambda: low.sent)
    (meet,) = low.sent
    assert not low.tunnelling.on_signal(HIGH, Waits(ID, 0)), "another meeting's"
    assert low.tunnelling.on_signal(HIGH, Waits(meet.session, 15)), "a way that was not in the list"
    assert not asking.done()
    assert low.tunnelling.on_signal(HIGH, Refuse(meet.session, "no"))
    assert "it refused: no" in str(await asking)


async def test_a_transport_of_another_package_does_no_harm_by_failing(group: asyncio.TaskGroup) -> None:
    class Broken(FakeTransport):
        def places(self) -> Sequence[str]:
            raise RuntimeError("no places")

    class Failing(FakeTransport):
        def open(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no channel")

    broken, failing = Guarded("broken", Broken("x")), Guarded("failing", Failing("y"))
    many = Guarded("many", FakeTransport("z", ["p" * 999, "", *map(str, range(99))]))
    assert list(broken.places()) == []
    assert "RuntimeError: no places" in broken.failures()["transport broken"]
    assert len(many.places()) <= 8
    low = Side(LOW, group, broken, failing, Guarded("absent", None, "not installed"))
    low.tunnelling.on_signal(HIGH, Meet(ID, b"c" * 32, (Way("failing", HERE),)))
    await until(lambda: low.sent)
    assert isinstance(low.sent[0], Refuse)
    assert "RuntimeError: no channel" in failing.failures()["transport failing"]
