"""Pairing over real QUIC on loopback: who joins whom, what a wrong code or a stranger gets, what stays afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cis.errors import CisError, Denied, Fault, PeerFault, TimedOut, Unavailable, UsageError
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, Stream
from cis.node.driver import Driver
from cis.node.entry import pairing
from cis.node.entry.joining import join, move_into
from cis.node.entry.pairing import Desk, Paired, Terms
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust import HandshakeKey, Local, Membership
from cis.trust.codes import BURNS_MAX, Code
from cis.trust.handshake import Dialler
from cis.trust.identity import Identity
from cis.trust.pairing import Taker
from cis.trust.words import WORDS
from cis.wire.membership import Role
from cis.wire.pairing import Claim
from tests.net.cluster import cluster, meet, put, running, until, value

pytestmark = pytest.mark.timeout(60)
TERMS = Terms()
MakeNode = Callable[[str], LocalNode]


@pytest.fixture
def make(tmp_path: Path) -> object:
    made: list[LocalNode] = []

    def create(name: str) -> LocalNode:
        made.append(LocalNode.create(Home(tmp_path / name), name))
        return made[-1]

    yield create
    for local in made:
        local.close()


@asynccontextmanager
async def dialling() -> AsyncIterator[Endpoint]:
    async with await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=lambda _: None) as endpoint:
        yield endpoint


def desk_of(local: LocalNode) -> Desk:
    return Desk(local, list, lambda _: None)


async def take(local: LocalNode, driver: Driver, code: Code, terms: Terms = TERMS) -> Paired:
    """Type the code on a node that does not run."""
    async with dialling() as endpoint:
        connection = await endpoint.dial(*driver.endpoint.address)
        return await desk_of(local).take(code, terms, connection)


async def pair_up(
    shower: Driver, taker: LocalNode, typed: Callable[[Code], Code] = lambda code: code, *, terms: Terms = TERMS
) -> tuple[Paired | CisError, Paired | CisError]:
    """Show a code and take it; returns what became of it for the shower and for the taker."""
    code = await shower.desk.show(terms)
    shown, taken = await both(shower.desk.wait_paired(code), take(taker, shower, typed(code)))
    return shown, taken


async def both(*work: Awaitable[Paired]) -> tuple[Paired | CisError, ...]:
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if not isinstance(outcome, Paired | CisError):
            raise outcome
    return tuple(outcomes)


def mistyped(code: Code) -> Code:
    other = WORDS[(WORDS.index(code.words[1]) + 1) % len(WORDS)]
    return Code(code.number, (code.words[0], other))


async def test_the_taker_joins_the_showers_cluster_with_its_memories_on_the_same_connection(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    await put(laptop, "editor", b"dark")
    await put(desktop, "shell", b"fish")
    async with running(laptop) as driver:
        shown, taken = await pair_up(driver, desktop)
        assert not driver.endpoint.connections
    assert isinstance(shown, Paired)
    assert isinstance(taken, Paired)
    assert shown.words == taken.words
    assert shown.admitted is None
    assert taken.admitted is not None
    assert [one.bound_to for one in laptop.cluster.invitations._held.values()] == [desktop.identity.node]
    assert (shown.name, shown.role) == (taken.name, taken.role) == ("desktop", Role.WRITER)
    move_into(desktop, taken.admitted)
    assert desktop.cluster.id == laptop.cluster.id
    assert value(desktop, "shell") == b"fish"
    assert {member.name for member in desktop.cluster.membership.members()} == {"laptop", "desktop"}


async def test_the_new_device_may_show_the_code_and_the_admins_device_take_it(tmp_path: Path, make: MakeNode) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    phone = make("phone")
    async with running(phone) as driver:
        shown, taken = await pair_up(driver, first)
    first.close()
    second.close()
    assert isinstance(taken, Paired)
    assert isinstance(shown, Paired)
    assert taken.admitted is None
    assert shown.admitted is not None
    move_into(phone, shown.admitted)
    assert phone.cluster.id == first.cluster.id
    assert shown.words == taken.words


async def test_a_role_makes_its_side_the_one_that_invites(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    public = laptop.cluster.public
    async with running(desktop) as driver:
        code = await driver.desk.show(TERMS)
        terms = Terms(Role.READER, (public,), "shelf", stays=True)
        shown, taken = await both(driver.desk.wait_paired(code), take(laptop, driver, code, terms))
    assert isinstance(shown, Paired)
    assert isinstance(taken, Paired)
    assert shown.admitted is not None
    assert (taken.name, taken.role) == ("shelf", Role.READER)
    member = laptop.cluster.membership.member(desktop.identity.node)
    assert member is not None
    assert (member.name, member.role) == ("shelf", Role.READER)


async def test_a_wrong_word_burns_the_code_on_both_sides_and_admits_nobody(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        shown, taken = await pair_up(driver, desktop, mistyped)
        assert isinstance(shown, Denied)
        assert isinstance(taken, Denied)
        assert not driver.desk.waits
        assert driver.desk.burns.left() == desk_of(desktop).burns.left() == BURNS_MAX - 1
        assert "burnt" in str(shown)
        assert "burnt on both" in str(taken)
    assert len(laptop.cluster.membership.members()) == len(desktop.cluster.membership.members()) == 1


async def test_the_right_code_is_worth_nothing_after_a_wrong_one(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        code = await driver.desk.show(TERMS)
        await both(driver.desk.wait_paired(code), take(desktop, driver, mistyped(code)))
        (again,) = await both(take(desktop, driver, code))
    assert isinstance(again, Unavailable)
    assert "shows no code" in str(again)


async def test_three_burns_stop_pairing_on_both_sides_and_say_for_how_long(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        for _ in range(BURNS_MAX):
            shown, taken = await pair_up(driver, desktop, mistyped)
        assert "third failure" in str(shown)
        assert "third failure" in str(taken)
        with pytest.raises(Denied, match=r"stopped on this device for another 60 min.*cis invite"):
            await driver.desk.show(TERMS)
    with pytest.raises(Denied, match="stopped"):
        await desk_of(desktop).check(TERMS)


async def test_a_success_counts_as_no_failure(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        await pair_up(driver, desktop)
        assert driver.desk.burns.left() == BURNS_MAX
    assert desk_of(desktop).burns.left() == BURNS_MAX


async def begin(driver: Driver, endpoint: Endpoint, code: Code, claim: Claim) -> tuple[Connection, Stream]:
    """Send a taker's first frame and read the answer, then do nothing more."""
    connection = await endpoint.dial(*driver.endpoint.address)
    machine = Taker(code, claim, connection.certificate_hash, driver.local.entropy)
    stream = await connection.open_stream()
    await stream.write_frame(machine.start())
    assert await stream.read_frame(1024) is not None
    return connection, stream


@pytest.mark.parametrize("how", ["breaks off", "sends junk", "sends too much", "says nothing"])
async def test_an_exchange_begun_and_not_ended_burns_the_code(
    make: MakeNode, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, other = make("laptop"), Identity.generate(lambda length: b"e" * length)
    monkeypatch.setattr(pairing, "EXCHANGE_S", 0.5 if how == "says nothing" else 10.0)
    async with running(laptop) as driver, dialling() as endpoint:
        code = await driver.desk.show(TERMS)
        claim = Claim(other.node, bytes(32), "eve", movable=True, admin=True, clock_ms=0)
        connection, stream = await begin(driver, endpoint, mistyped(code), claim)
        match how:
            case "breaks off":
                connection.close(Fault.NONE, "")
            case "sends junk":
                await stream.write_frame(b"junk")
            case "sends too much":
                await stream.write(b"\0\x10\0\0")
        with pytest.raises(Denied, match="burnt"):
            await driver.desk.wait_paired(code)
        assert driver.desk.burns.left() == BURNS_MAX - 1
        reason = await connection.wait_closed()
        assert how == "breaks off" or (reason.fault, reason.text) == (Fault.REFUSED, "")


async def test_while_one_tries_the_code_nobody_else_can(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    other = Identity.generate(lambda length: b"e" * length)
    async with running(laptop) as driver, dialling() as endpoint:
        code = await driver.desk.show(TERMS)
        claim = Claim(other.node, bytes(32), "eve", movable=True, admin=True, clock_ms=0)
        connection, _ = await begin(driver, endpoint, code, claim)
        assert not driver.desk.waits
        (late,) = await both(take(desktop, driver, code))
        assert isinstance(late, Unavailable)
        connection.close(Fault.NONE, "")
        with pytest.raises(Denied):
            await driver.desk.wait_paired(code)


async def refusal(driver: Driver, endpoint: Endpoint, frame: bytes) -> tuple[Fault, str, bool]:
    """What somebody meets who sends this first: the reason, and whether anything was answered."""
    connection = await endpoint.dial(*driver.endpoint.address)
    stream = await connection.open_stream()
    await stream.write_frame(frame)
    answered = None
    with suppress(CisError):
        answered = await stream.read_frame(1 << 16)
    reason = await connection.wait_closed()
    return reason.fault, reason.text, answered is not None


def start_of(local: LocalNode) -> bytes:
    claim = Claim(local.identity.node, bytes(32), "eve", movable=True, admin=True, clock_ms=0)
    return Taker(Code(1, ("copper", "otter")), claim, bytes(32), local.entropy).start()


async def test_without_a_live_code_a_start_meets_what_any_stranger_meets(make: MakeNode) -> None:
    laptop, eve = make("laptop"), make("eve")
    hello = Dialler(
        Local(eve.identity, bytes(32), bytes(32), (), bytes(32), Membership(bytes(32)).judge),
        HandshakeKey(bytes(32)),
        None,
        eve.entropy,
    ).start()
    async with running(laptop) as driver, dialling() as endpoint:
        met = [await refusal(driver, endpoint, frame) for frame in (start_of(eve), hello)]
        code = await driver.desk.show(TERMS)
        met.append(await refusal(driver, endpoint, hello))
        assert driver.desk.waits, "a stranger's hello is no guess"
        driver.desk.hide(code)
        met.append(await refusal(driver, endpoint, start_of(eve)))
    assert met == [(Fault.REFUSED, "", False)] * 4


async def test_members_connect_while_a_code_is_shown(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    async with running(first) as one, running(second) as two:
        code = await one.desk.show(TERMS)
        meet(two, one)
        await until(lambda: one.links and two.links)
        assert one.desk.waits
        one.desk.hide(code)
    first.close()
    second.close()


async def test_a_code_nobody_types_is_void_in_time(make: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "CODE_LIFE_S", 0.05)
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        code = await driver.desk.show(TERMS)
        with pytest.raises(TimedOut, match="run `cis pair` again"):
            await driver.desk.wait_paired(code)
        (late,) = await both(take(desktop, driver, code))
        assert isinstance(late, Unavailable)
        assert driver.desk.burns.left() == BURNS_MAX


async def test_one_code_is_shown_at_a_time(make: MakeNode) -> None:
    laptop = make("laptop")
    async with running(laptop) as driver:
        code = await driver.desk.show(TERMS)
        with pytest.raises(Denied, match="another `cis pair`"):
            await driver.desk.show(TERMS)
        driver.desk.hide(code)
        again = await driver.desk.show(TERMS)
        driver.desk.hide(code)
        assert driver.desk.waits, "who hid the first code does not hide the second"
        driver.desk.hide(again)


async def test_two_with_clusters_to_keep_are_told_so_on_both_sides(tmp_path: Path, make: MakeNode) -> None:
    first, second = await cluster(tmp_path / "one", "first", "second")
    third, fourth = await cluster(tmp_path / "two", "third", "fourth")
    async with running(first) as driver:
        outcomes = await pair_up(driver, third)
        assert driver.desk.burns.left() == BURNS_MAX
    for outcome in outcomes:
        assert isinstance(outcome, UsageError)
        assert "neither" in str(outcome)
        assert "cis --home DIR init" in str(outcome)
    for local in (first, second, third, fourth):
        local.close()


async def test_who_is_no_admin_is_told_before_a_code_is_shown(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    with pytest.raises(Denied, match="only an admin"):
        await desk_of(second).check(TERMS)
    first.close()
    second.close()


async def test_members_of_one_cluster_are_told_that_they_are(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    first.grant(second.identity.node, Role.ADMIN, ())
    second.cluster.add_entries(first.cluster.membership.entries_missing_from(), second.store)
    async with running(first) as driver:
        outcomes = await pair_up(driver, second)
    assert all("cluster already" in str(outcome) for outcome in outcomes)
    first.close()
    second.close()


async def test_a_code_typed_on_the_device_that_shows_it_says_so(make: MakeNode) -> None:
    laptop = make("laptop")
    async with running(laptop) as driver:
        outcomes = await pair_up(driver, laptop)
    assert all("this device shows that code itself" in str(outcome) for outcome in outcomes)


class Middle:
    """Somebody between the devices: its own certificate towards the taker, frames handed on as they are."""

    def __init__(self, behind: tuple[str, int]) -> None:
        self.behind = behind
        self.arrived: asyncio.Queue[Connection] = asyncio.Queue()

    async def run(self, endpoint: Endpoint) -> None:
        towards_taker = await self.arrived.get()
        towards_shower = await endpoint.dial(*self.behind)
        ends = [await towards_taker.accept_stream(), await towards_shower.open_stream()]
        connections = [towards_taker, towards_shower]

        async def hand_on(place: int) -> None:
            with suppress(ConnectionLost, PeerFault):
                while (frame := await ends[place].read_frame(1 << 16)) is not None:
                    await ends[1 - place].write_frame(frame)
            connections[1 - place].close(Fault.REFUSED, "")

        async with asyncio.TaskGroup() as group:
            group.create_task(hand_on(0))
            group.create_task(hand_on(1))


async def test_one_in_the_middle_with_a_certificate_of_its_own_is_caught_by_both(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver, dialling() as endpoint, asyncio.TaskGroup() as group:
        middle = Middle(driver.endpoint.address)
        listening = await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=middle.arrived.put_nowait)
        async with listening:
            group.create_task(middle.run(listening))
            code = await driver.desk.show(TERMS)
            connection = await endpoint.dial(*listening.address)
            outcomes = await both(driver.desk.wait_paired(code), desk_of(desktop).take(code, TERMS, connection))
    assert [type(outcome) for outcome in outcomes] == [Denied, Denied]
    assert len(laptop.cluster.membership.members()) == 1


async def test_the_ticket_of_a_pairing_admits_no_other_node(make: MakeNode) -> None:
    laptop, desktop, eve = make("laptop"), make("desktop"), make("eve")
    async with running(laptop) as driver:
        ticket = laptop.cluster.invite(
            laptop.store, Role.WRITER, None, 60_000, driver.addresses(), bound_to=desktop.identity.node
        )
        with pytest.raises(PeerFault) as caught:
            await join(eve, ticket, "eve")
        assert caught.value.fault is Fault.TICKET
        await join(desktop, ticket, "desktop")
    assert len(laptop.cluster.membership.members()) == 2


async def test_what_came_of_it_is_recorded(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    async with running(laptop) as driver:
        await pair_up(driver, desktop, mistyped)
        await pair_up(driver, desktop)
    recorded = [one.what for one in laptop.decisions(20) if one.what.startswith("pairing")]
    assert recorded == ["pairing opened", "pairing failed", "pairing opened", "pairing done"]
