"""Negotiations of paths: one with each peer, the smaller id's where both begin, bounded, and over when not needed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from cis.errors import Unavailable
from cis.model import NodeId
from cis.net.paths import Path
from cis.node.paths import reaching
from cis.node.paths.reaching import NEGOTIATIONS_MAX, Means, Reaching
from cis.node.streams.paces import OFFERS_BURST
from cis.wire.signals import Answer, IceCandidate, More, Offer, Refuse, Signal

LOW, HIGH, OTHER = NodeId(b"\x01" * 32), NodeId(b"\x09" * 32), NodeId(b"\x0f" * 32)
CARRIER: Any = SimpleNamespace(relayed=False)
WAY = Path(CARRIER, ("192.0.2.9", 7), "srflx", "srflx", proven=True)


def candidate(host: str, port: int = 7) -> IceCandidate:
    return IceCandidate("f1", 1, host, port, "host")


@dataclass
class FakeSearch:
    """Finds a path once both sides know each other and ``open`` is set."""

    controlling: bool
    relay: bool
    open: asyncio.Event
    ufrag: str = "abcd"
    password: str = "p" * 22
    known: list[IceCandidate] = field(default_factory=lambda: [candidate("192.0.2.1")])
    given: list[IceCandidate] = field(default_factory=list)
    told_all: bool = False
    closed: bool = False

    def candidates(self) -> tuple[IceCandidate, ...]:
        return tuple(self.known)

    def peer(self, ufrag: str, password: str, candidates: Sequence[IceCandidate]) -> None:
        del ufrag, password
        self.given += candidates

    def more(self, candidates: Sequence[IceCandidate], last: bool) -> None:
        self.given += candidates
        self.told_all |= last

    async def connect(self) -> Path:
        while not self.closed:
            if self.open.is_set():
                return WAY
            await asyncio.sleep(0)
        raise Unavailable("given up")

    def close(self) -> None:
        self.closed = True


class Side:
    """A node as far as reaching goes; what it signals waits in ``sent`` until `deliver`."""

    def __init__(self, own: NodeId, group: asyncio.TaskGroup) -> None:
        self.own = own
        self.sent: list[tuple[NodeId, Signal]] = []
        self.searches: list[FakeSearch] = []
        self.open = asyncio.Event()
        self.expected: list[Path] = []
        self.moved: list[Path] = []
        self.adopted: list[Any] = []
        self.links: dict[NodeId, Any] = {}
        self.admitted = True
        self._group = group
        numbers = itertools.count()
        self.means = Means(
            own,
            search=self.search,
            ready=self.ready,
            send=self.send,
            admits=lambda _: self.admitted,
            expect=self.expect,
            link_with=self.links.get,
            move=lambda _, path: self.moved.append(path),
            adopted=lambda _, connection: self.adopted.append(connection),
            spawn=self.spawn,
            entropy=lambda length: own[:1] + next(numbers).to_bytes(length - 1, "big"),
            loopback=False,
        )
        self.reaching = Reaching(self.means)

    def search(self, controlling: bool, relay: bool) -> FakeSearch:
        self.searches.append(FakeSearch(controlling, relay, self.open))
        return self.searches[-1]

    async def ready(self) -> None:
        return

    async def send(self, node: NodeId, signal: Signal) -> None:
        self.sent.append((node, signal))

    def expect(self, path: Path) -> Callable[[], None]:
        self.expected.append(path)
        return lambda: self.expected.remove(path)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self._group.create_task(work)

    def deliver(self, *others: Side) -> None:
        """Hand what was sent to those it is for."""
        sent, self.sent = self.sent, []
        for node, signal in sent:
            for other in others:
                if other.own == node:
                    other.reaching.on_signal(self.own, signal)


@pytest.fixture
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as opened:
        yield opened


@pytest.fixture
def low(group: asyncio.TaskGroup) -> Side:
    return Side(LOW, group)


@pytest.fixture
def high(group: asyncio.TaskGroup) -> Side:
    return Side(HIGH, group)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def connection_on(path: Path, *, closing: bool = True) -> Any:
    ended = asyncio.Event()
    return SimpleNamespace(
        path=path, closing=closing, suspect=False, probe=lambda: None, wait_closed=ended.wait, end=ended.set
    )


async def reach(side: Side, node: NodeId) -> Path:
    """Dial over a path, as `cis.node.meeting` does."""
    async with side.reaching.path_to(node) as found:
        found.keep(connection_on(found.agreed))
        return found.agreed


async def talk(*sides: Side) -> None:
    for _ in range(10):
        await turns()
        for side in sides:
            side.deliver(*sides)


async def test_who_offers_controls_and_dials_and_who_answers_expects_it(
    group: asyncio.TaskGroup, low: Side, high: Side
) -> None:
    low.open.set()
    high.open.set()
    dialling = group.create_task(reach(high, LOW))
    await talk(low, high)
    assert dialling.result() == WAY
    assert ([one.controlling for one in high.searches], [one.controlling for one in low.searches]) == ([True], [False])
    assert low.expected == [WAY]
    low.reaching.on_connected(HIGH, connection_on(WAY))
    await turns()
    assert low.expected == []


@pytest.mark.parametrize("slower", [LOW, HIGH])
async def test_of_two_offers_at_once_the_one_of_the_smaller_id_stands(
    group: asyncio.TaskGroup, low: Side, high: Side, slower: NodeId
) -> None:
    dials = group.create_task(reach(low, HIGH)), group.create_task(_swallowed(reach(high, LOW)))
    await turns()
    for side in (high, low) if slower == LOW else (low, high):
        side.deliver(low, high)
        await turns()
    low.open.set()
    high.open.set()
    await talk(low, high)
    assert dials[0].result() == WAY
    assert [(one.controlling, one.closed) for one in high.searches] == [(True, True), (False, False)]
    assert len(low.searches) == 1
    assert high.expected == [WAY]
    high.reaching.on_connected(LOW, connection_on(WAY))
    await turns()
    assert "at the same time" in await dials[1]


async def _swallowed(work: Coroutine[Any, Any, object]) -> str:
    try:
        await work
    except Unavailable as error:
        return str(error)
    return ""


async def test_addresses_nobody_may_have_us_send_to_never_reach_ice(
    group: asyncio.TaskGroup, low: Side, high: Side
) -> None:
    hosts = ("169.254.169.254", "224.0.0.1", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1", "192.168.1.7")
    dialling = group.create_task(_swallowed(reach(high, LOW)))
    await turns()
    ((_, offer),) = high.sent
    assert isinstance(offer, Offer)
    hostile = Offer(offer.session, offer.ufrag, offer.password, tuple(map(candidate, hosts)), restart=False)
    low.reaching.on_signal(HIGH, hostile)
    await turns()
    low.reaching.on_signal(HIGH, More(offer.session, tuple(map(candidate, hosts)), last=True))
    assert {one.host for one in low.searches[0].given} == {"192.168.1.7"}
    assert low.searches[0].told_all
    high.reaching.on_signal(LOW, Refuse(offer.session, "enough"))
    low.reaching.on_signal(HIGH, Refuse(offer.session, "enough"))
    assert "it refused: enough" in await dialling


async def test_candidates_found_later_are_told_once_the_offer_is_answered(
    group: asyncio.TaskGroup, low: Side, high: Side
) -> None:
    dialling = group.create_task(reach(high, LOW))
    await turns()
    high.searches[0].known.append(candidate("192.0.2.77"))
    high.reaching.on_candidates()
    await turns()
    assert [type(signal) for _, signal in high.sent] == [Offer]
    await talk(low, high)
    assert candidate("192.0.2.77") in low.searches[0].given
    high.searches[0].known.append(candidate("192.0.2.78"))
    high.reaching.on_candidates()
    await talk(low, high)
    assert low.searches[0].given.count(candidate("192.0.2.77")) == 1
    assert candidate("192.0.2.78") in low.searches[0].given
    low.open.set()
    high.open.set()
    await dialling
    await talk(low, high)
    low.reaching.on_connected(HIGH, connection_on(WAY))


async def test_an_offer_is_given_up_with_a_word_to_the_peer(group: asyncio.TaskGroup, low: Side, high: Side) -> None:
    dialling = group.create_task(reach(high, LOW))
    await talk(low, high)
    dialling.cancel()
    await talk(low, high)
    assert high.searches[0].closed
    assert low.searches[0].closed
    assert low.expected == []


async def test_a_connection_that_comes_before_its_path_is_known_counts_as_on_it(
    group: asyncio.TaskGroup, low: Side, high: Side
) -> None:
    dialling = group.create_task(reach(high, LOW))
    await talk(low, high)
    early = connection_on(WAY)
    low.reaching.on_connected(HIGH, early)
    low.open.set()
    high.open.set()
    await dialling
    await turns()
    assert low.adopted == [early]
    assert low.expected == []


async def test_another_connection_ends_what_was_answered(group: asyncio.TaskGroup, low: Side, high: Side) -> None:
    dialling = group.create_task(_swallowed(reach(high, LOW)))
    await talk(low, high)
    low.open.set()
    await turns()
    low.reaching.on_connected(HIGH, connection_on(Path(CARRIER, ("192.0.2.55", 1)), closing=False))
    await turns()
    assert low.searches[0].closed
    dialling.cancel()


async def test_an_offer_nobody_answers_fails_in_time(
    group: asyncio.TaskGroup, high: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "ANSWER_S", 0.01)
    assert "did not answer" in await _swallowed(reach(high, LOW))
    assert high.searches[0].closed
    del group


async def test_a_peer_may_not_offer_too_often(low: Side) -> None:
    for number in range(int(OFFERS_BURST) + 5):
        low.reaching.on_signal(HIGH, Offer(number.to_bytes(16, "big"), "abcd", "p" * 22, (), restart=False))
        await turns()
    assert len(low.searches) == int(OFFERS_BURST)
    assert low.means.tally["offers_over_pace"] == 5
    assert [one.closed for one in low.searches].count(False) == 1
    low.searches[-1].close()


async def test_no_more_paths_are_looked_for_at_once_than_may_be(low: Side) -> None:
    peers = [NodeId(bytes([50 + number]) * 32) for number in range(NEGOTIATIONS_MAX + 3)]
    for number, peer in enumerate(peers):
        low.reaching.on_signal(peer, Offer(number.to_bytes(16, "big"), "abcd", "p" * 22, (), restart=False))
        await turns()
    assert len(low.searches) == NEGOTIATIONS_MAX
    refused = [node for node, signal in low.sent if isinstance(signal, Refuse)]
    assert refused == peers[NEGOTIATIONS_MAX:]
    for search in low.searches:
        search.close()


async def test_who_is_not_admitted_is_told_so_and_no_more(low: Side) -> None:
    low.admitted = False
    low.reaching.on_signal(HIGH, Offer(b"s" * 16, "abcd", "p" * 22, (), restart=False))
    await turns()
    assert low.searches == []
    assert low.sent == [(HIGH, Refuse(b"s" * 16, "it wants no connection now"))]


async def test_an_offer_that_gave_way_to_ours_is_answered_when_ours_comes_to_nothing(
    group: asyncio.TaskGroup, low: Side, high: Side
) -> None:
    low_dials = group.create_task(_swallowed(reach(low, HIGH)))
    high_dials = group.create_task(reach(high, LOW))
    await turns()
    high.deliver(low)
    ((_, offer),) = low.sent
    assert isinstance(offer, Offer)
    low.sent.clear()
    low.reaching.on_signal(HIGH, Refuse(offer.session, "not now"))
    low.open.set()
    high.open.set()
    await talk(low, high)
    assert "not now" in await low_dials
    assert high_dials.result() == WAY
    low.reaching.on_connected(HIGH, connection_on(WAY))


async def test_signals_of_no_negotiation_are_counted_and_harm_nothing(low: Side) -> None:
    for signal in (Answer(b"s" * 16, "abcd", "p" * 22, ()), More(b"s" * 16, (), last=True), Refuse(b"s" * 16, "")):
        low.reaching.on_signal(HIGH, signal)
    assert low.means.tally["signals_too_late"] == 3


async def test_a_live_connection_moves_on_both_sides(group: asyncio.TaskGroup, low: Side, high: Side) -> None:
    relayed = Path(SimpleNamespace(relayed=True), ("192.0.2.200", 1))
    for side, other in ((low, HIGH), (high, LOW)):
        side.links[other] = SimpleNamespace(node=other, connection=connection_on(relayed))
        side.open.set()
    renewing = group.create_task(high.reaching.renew(high.links[LOW], relay=False))
    await talk(low, high)
    assert renewing.done()
    assert (low.moved, high.moved) == ([WAY], [WAY])
    assert [one.relay for one in (*low.searches, *high.searches)] == [False, False]


async def test_checks_are_answered_until_the_connection_ends_whatever_it_was_used_for(
    group: asyncio.TaskGroup, low: Side, high: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is kept in quarantine is nobody's link."""
    monkeypatch.setattr(reaching, "OLD_PATH_S", 0.0)
    connection = connection_on(WAY, closing=False)

    async def dial() -> None:
        async with high.reaching.path_to(LOW) as found:
            found.keep(connection)

    low.open.set()
    high.open.set()
    dialling = group.create_task(dial())
    await talk(low, high)
    await dialling
    low.reaching.on_connected(HIGH, connection_on(WAY))
    assert [one.closed for one in high.searches] == [False]
    connection.end()
    await turns()
    assert [one.closed for one in high.searches] == [True]
    assert high.reaching._kept == {}


async def test_who_has_no_connection_to_move_says_so(group: asyncio.TaskGroup, low: Side, high: Side) -> None:
    high.links[LOW] = SimpleNamespace(node=LOW, connection=connection_on(WAY))
    renewing = group.create_task(_swallowed(high.reaching.renew(high.links[LOW], relay=True)))
    await talk(low, high)
    assert "no connection that could be moved" in await renewing


@pytest.mark.parametrize("found", [True, False])
async def test_where_both_renew_at_once_both_come_to_what_the_smaller_id_began(
    group: asyncio.TaskGroup, low: Side, high: Side, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    monkeypatch.setattr(reaching, "NEGOTIATION_S", 0.05)
    for side, other in ((low, HIGH), (high, LOW)):
        side.links[other] = SimpleNamespace(node=other, connection=connection_on(WAY))
        if found:
            side.open.set()
    both = [
        group.create_task(_swallowed(low.reaching.renew(low.links[HIGH], relay=True))),
        group.create_task(_swallowed(high.reaching.renew(high.links[LOW], relay=True))),
    ]
    await talk(low, high)
    outcomes = [await one for one in both]
    assert (low.moved, high.moved) == ([WAY] * found, [WAY] * found)
    assert [bool(outcome) for outcome in outcomes] == [not found] * 2
