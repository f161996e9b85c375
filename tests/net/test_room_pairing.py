"""Pairing through an anchor's room: the same outcomes as over a connection, and no more for who stands in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.anchor.limits import AnchorLimits
from cis.anchor.line import Line, open_line
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import Entered, EnterRoom, Left, NumberTaken, OpenRoom
from cis.api.membership import pairing as pairing_api
from cis.api.membership import pairing_rooms
from cis.api.membership.pairing import Place
from cis.api.membership.pairing_rooms import AnchorAway, NobodyWaits, RoomShower, take_in_room
from cis.api.membership.pairing_schema import CodeShown, PairEvent, ShowCode, TakeCode
from cis.api.memories.beside import beside
from cis.errors import CisError, Denied, Fault, TimedOut
from cis.net import ConnectionLost
from cis.node.entry import rooms
from cis.node.entry.joining import move_into
from cis.node.entry.pairing import Desk, Paired, Terms
from cis.node.entry.rooms import RoomConversation
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust.codes import BURNS_MAX, Code
from cis.wire.membership import Role
from tests.net.anchors import anchored
from tests.net.cluster import cluster, put, until, value
from tests.net.test_pairing import mistyped

pytestmark = pytest.mark.timeout(60)
MakeNode = Callable[[str], LocalNode]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeNode]:
    made: list[LocalNode] = []

    def create(name: str) -> LocalNode:
        made.append(LocalNode.create(Home(tmp_path / name), name))
        return made[-1]

    yield create
    for local in made:
        local.close()


def desk_of(local: LocalNode) -> Desk:
    return Desk(local, list, lambda _: None)


async def outcome_of(work: Awaitable[Paired]) -> Paired | CisError:
    try:
        return await work
    except CisError as error:
        return error


@asynccontextmanager
async def shown(desk: Desk, anchor: AnchorPlace, terms: Terms = Terms()) -> AsyncIterator[tuple[Code, asyncio.Task]]:  # noqa: B008 - frozen
    """Show a code in a room; yields it and what becomes of it for the shower."""
    code = await desk.show(terms)
    room = RoomShower(anchor, code, desk, os.urandom)

    async def wait() -> Paired:
        try:
            return await desk.wait_paired(code)
        finally:
            await room.wait_idle()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(outcome_of(beside([room.run()], wait())))
        assert await room.wait_opened() is None
        try:
            yield code, task
        finally:
            if not task.done():
                await asyncio.wait([task], timeout=5)
            task.cancel()


async def pair_up(
    shower: LocalNode,
    taker: LocalNode,
    typed: Callable[[Code], Code] = lambda code: code,
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    taker_terms: Terms = Terms(),  # noqa: B008 - frozen
) -> tuple[Paired | CisError, Paired | CisError]:
    async with anchored() as url:
        anchor = AnchorPlace(url)
        async with shown(desk_of(shower), anchor, terms) as (code, task):
            taken = await outcome_of(take_in_room(anchor, typed(code), taker_terms, desk_of(taker), os.urandom))
            return await task, taken


async def test_the_taker_joins_the_showers_cluster_with_its_memories_through_the_room(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    await put(laptop, "editor", b"dark")
    await put(desktop, "shell", b"fish")
    shown_, taken = await pair_up(laptop, desktop)
    assert isinstance(shown_, Paired)
    assert isinstance(taken, Paired)
    assert shown_.words == taken.words
    assert taken.admitted is not None
    move_into(desktop, taken.admitted)
    assert desktop.cluster.id == laptop.cluster.id
    assert value(desktop, "shell") == b"fish"
    assert {one.name for one in desktop.cluster.membership.members()} == {"laptop", "desktop"}
    assert desk_of(laptop).burns.left() == desk_of(desktop).burns.left() == BURNS_MAX


async def test_what_spake2_led_to_keys_the_joining_on_both_sides_and_is_new_each_time(
    make: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets: list[bytes] = []
    confirm = RoomConversation.confirm

    def noted(room: RoomConversation, secret: bytes) -> None:
        secrets.append(secret)
        confirm(room, secret)

    monkeypatch.setattr(RoomConversation, "confirm", noted)
    monkeypatch.setattr("cis.node.entry.pairing.draw_code", lambda _: Code(7, ("otter", "cobalt")))
    laptop = make("laptop")
    for name in ("desktop", "phone"):
        await pair_up(laptop, make(name))
    assert [len(secret) for secret in secrets] == [32] * 4
    assert secrets[0] == secrets[1]
    assert secrets[2] == secrets[3]
    assert secrets[0] != secrets[2]


async def test_the_new_device_may_show_the_code_and_gets_the_role_the_taker_gives(
    tmp_path: Path, make: MakeNode
) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    phone = make("phone")
    async with anchored() as url, shown(desk_of(phone), AnchorPlace(url)) as (code, task):
        terms = Terms(Role.READER, (first.cluster.public,), "shelf", stays=True)
        taken = await take_in_room(AnchorPlace(url), code, terms, desk_of(first), os.urandom)
        shown_ = await task
    first.close()
    second.close()
    assert isinstance(shown_, Paired)
    assert shown_.admitted is not None
    assert taken.admitted is None
    assert (taken.name, taken.role) == (shown_.name, shown_.role) == ("shelf", Role.READER)
    move_into(phone, shown_.admitted)
    assert phone.cluster.id == first.cluster.id


async def test_a_wrong_word_burns_the_code_on_both_sides_and_admits_nobody(make: MakeNode) -> None:
    laptop, desktop = make("laptop"), make("desktop")
    shown_, taken = await pair_up(laptop, desktop, mistyped)
    assert isinstance(shown_, Denied)
    assert isinstance(taken, Denied)
    assert "burnt" in str(shown_)
    assert "burnt on both" in str(taken)
    assert desk_of(laptop).burns.left() == desk_of(desktop).burns.left() == BURNS_MAX - 1
    assert len(laptop.cluster.membership.members()) == len(desktop.cluster.membership.members()) == 1


async def test_devices_that_do_not_go_together_both_learn_why(make: MakeNode) -> None:
    stays = Terms(stays=True)
    shown_, taken = await pair_up(make("laptop"), make("desktop"), terms=stays, taker_terms=stays)
    assert "neither laptop nor desktop can leave" in str(shown_)
    assert "neither desktop nor laptop can leave" in str(taken)


async def test_an_anchor_that_stands_in_the_middle_has_one_guess_and_burns_the_code(make: MakeNode) -> None:
    """It holds a room with each side and passes on, unsealed and sealed again, all either says."""
    laptop, desktop = make("laptop"), make("desktop")
    async with anchored() as url, anchored() as other_url:
        honest, evil = AnchorPlace(url), AnchorPlace(other_url)
        async with shown(desk_of(laptop), honest) as (code, task), open_line(honest) as line, open_line(evil) as trap:
            await line.ask(EnterRoom(1, code.number))
            await trap.ask(OpenRoom(1, code.number, 60))
            taking = outcome_of(take_in_room(evil, code, Terms(), desk_of(desktop), os.urandom))
            taken = await beside([_stand_between(line, trap, code.number)], taking)
            shown_ = await task
    assert isinstance(shown_, Denied)
    assert isinstance(taken, Denied)
    assert "stands between" in str(taken)
    assert desk_of(laptop).burns.left() == desk_of(desktop).burns.left() == BURNS_MAX - 1


async def _stand_between(line: Line, trap: Line, number: int) -> None:
    assert isinstance(await trap.heard(), Entered)
    to_shower = RoomConversation(line, number, os.urandom, is_dialler=True)
    to_taker = RoomConversation(trap, number, os.urandom, is_dialler=False)
    await asyncio.gather(to_shower.agree(), to_taker.agree())
    assert to_shower.certificate_hash != to_taker.certificate_hash

    async def relay() -> None:
        theirs, ours = await to_taker.accept_stream(), await to_shower.open_stream()

        async def carry(source: object, target: object) -> None:
            try:
                while (frame := await source.read_frame(1024)) is not None:
                    await target.write_frame(frame)
            except CisError:
                to_taker.close(Fault.REFUSED, "")
                to_shower.close(Fault.REFUSED, "")

        await asyncio.gather(carry(theirs, ours), carry(ours, theirs))

    await asyncio.gather(to_shower.run(), to_taker.run(), relay())


async def test_who_enters_and_says_nothing_sound_burns_nothing_and_the_next_may_enter(
    make: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "AGREE_S", 0.2)
    laptop, desktop = make("laptop"), make("desktop")
    async with anchored() as url, shown(desk_of(laptop), AnchorPlace(url)) as (code, task):
        for said in (b"junk", b""):
            async with open_line(AnchorPlace(url)) as line:
                await line.ask(EnterRoom(1, code.number))
                if said:
                    await line.say(said)
                while not isinstance(await line.heard(), Left):
                    pass
        taken = None
        async with asyncio.timeout(10):
            while taken is None:
                try:
                    taken = await take_in_room(AnchorPlace(url), code, Terms(), desk_of(desktop), os.urandom)
                except NobodyWaits:  # not open again yet
                    await asyncio.sleep(0.05 * 2)
        shown_ = await task
    assert isinstance(shown_, Paired)
    assert desk_of(laptop).burns.left() == BURNS_MAX


async def test_a_number_nobody_waits_under_and_an_anchor_that_is_away_cost_no_guess(make: MakeNode) -> None:
    desk = desk_of(make("desktop"))
    async with anchored() as url:
        with pytest.raises(NobodyWaits):
            await take_in_room(AnchorPlace(url), Code(7, ("otter", "cobalt")), Terms(), desk, os.urandom)
    with pytest.raises(AnchorAway):
        await take_in_room(AnchorPlace(url), Code(7, ("otter", "cobalt")), Terms(), desk, os.urandom)
    assert desk.burns.left() == BURNS_MAX


async def told_of(local: LocalNode, *anchors: AnchorPlace) -> CodeShown:
    """Show a code there until the user has been told of it; returns what was told."""
    told: list[PairEvent] = []
    place = Place(local, _NoEndpoint(), desk_of(local), None, list, anchors)
    async with asyncio.TaskGroup() as group:
        showing = group.create_task(pairing_api.carry_out(place, ShowCode(), told.append))
        await until(lambda: told)
        showing.cancel()
    (event,) = told
    assert isinstance(event, CodeShown)
    return event


async def test_a_number_that_is_in_use_leads_to_another_code(make: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = make("laptop")
    drawn = iter([Code(7, ("otter", "cobalt")), Code(8, ("otter", "cobalt"))])
    monkeypatch.setattr("cis.node.entry.pairing.draw_code", lambda _: next(drawn))
    async with anchored() as url, open_line(AnchorPlace(url)) as line:
        await line.ask(OpenRoom(1, 7, 60))
        with pytest.raises(NumberTaken):
            async with open_line(AnchorPlace(url)) as other:
                await other.ask(OpenRoom(1, 7, 60))
        event = await told_of(laptop, AnchorPlace(url))
    assert event.code == "8-otter-cobalt"
    assert event.anchors == ("127.0.0.1",)


async def test_an_anchor_that_has_no_number_free_keeps_no_code_from_being_shown(
    make: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cis.node.entry.pairing.draw_code", lambda _: Code(7, ("otter", "cobalt")))
    laptop = make("laptop")
    async with anchored() as url, open_line(AnchorPlace(url)) as line:
        await line.ask(OpenRoom(1, 7, 60))
        event = await told_of(laptop, AnchorPlace(url))
    assert event.anchors == ()
    assert "in use" in event.problems[0]


async def test_anchors_that_do_not_answer_are_waited_for_at_once(
    make: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing_rooms, "OPEN_S", 1.0)
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    async with server:
        silent = AnchorPlace(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        began = asyncio.get_running_loop().time()
        event = await told_of(make("laptop"), *[silent] * 6)
        assert asyncio.get_running_loop().time() - began < 4
    assert len(event.problems) == 6


async def test_an_anchor_whose_room_leads_nowhere_leaves_the_taker_the_other_ways(
    make: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "AGREE_S", 0.2)
    laptop, desktop = make("laptop"), make("desktop")
    async with (
        anchored() as url,
        anchored() as evil,
        open_line(AnchorPlace(evil)) as trap,
        shown(desk_of(laptop), AnchorPlace(url)) as (code, task),
    ):
        await trap.ask(OpenRoom(1, code.number, 60))
        anchors = (AnchorPlace(evil), AnchorPlace(url))
        place = Place(desktop, _NoEndpoint(), desk_of(desktop), None, list, anchors)
        assert await pairing_api.carry_out(place, TakeCode(code=str(code)), lambda _: None) is not None
        assert isinstance(await task, Paired)
    assert desk_of(desktop).burns.left() == BURNS_MAX


async def test_an_anchor_that_is_away_is_told_and_the_code_is_shown_all_the_same(make: MakeNode) -> None:
    laptop = make("laptop")
    away = AnchorPlace("https://no-such-anchor.invalid")
    event = await told_of(laptop, away)
    assert event.anchors == ()
    assert "no-such-anchor.invalid" in event.problems[0]
    place = Place(laptop, _NoEndpoint(), desk_of(laptop), None, list, (away,))
    with pytest.raises(TimedOut, match=r"no-such-anchor\.invalid"):
        await pairing_api.carry_out(place, TakeCode(code="7-otter-cobalt"), lambda _: None)


async def test_a_room_carries_more_than_either_side_buffers_and_ends_with_its_reason(make: MakeNode) -> None:
    async with anchored() as url, open_line(AnchorPlace(url)) as one, open_line(AnchorPlace(url)) as two:
        taker, shower = await _talk(one, two)
        data = os.urandom(3 << 20)

        async def talk() -> bytes:
            mine = await taker.open_stream()
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(_read_all(shower))
                await mine.write(data)
                mine.finish()
            taker.close(Fault.BUSY, "enough")
            reason = await shower.wait_closed()
            assert (reason.fault, reason.text, reason.by_peer) == (Fault.BUSY, "enough", True)
            with pytest.raises(ConnectionLost):
                await shower.open_stream()
            return reading.result()

        assert await beside([taker.run(), shower.run()], talk()) == data


async def test_a_room_that_says_more_than_a_pairing_takes_is_over_for_both() -> None:
    import msgspec

    limits = msgspec.structs.replace(AnchorLimits(), room_bytes_max=100_000)
    async with anchored(limits=limits) as url, open_line(AnchorPlace(url)) as one, open_line(AnchorPlace(url)) as two:
        taker, shower = await _talk(one, two)

        async def talk() -> None:
            stream = await taker.open_stream()

            async def write_on() -> None:
                while True:
                    await stream.write(bytes(60_000))

            with pytest.raises(ConnectionLost):
                await write_on()
            await shower.wait_closed()

        await beside([taker.run(), shower.run()], talk())


@pytest.mark.parametrize("breach", ["junk", "a stream out of turn", "before the result", "too short"])
async def test_what_breaks_the_rules_of_a_room_ends_it(breach: str) -> None:
    async with anchored() as url, open_line(AnchorPlace(url)) as one, open_line(AnchorPlace(url)) as two:
        taker, shower = await _talk(one, two, confirmed=breach != "before the result")
        cipher = taker._cipher
        cipher.confirm(b"s" * 32)
        chunks = {"junk": bytes(30), "too short": b"x"}
        await one.say(chunks.get(breach) or cipher.seal(16 if "turn" in breach else 2, 0, b"x"))
        reason = await beside([shower.run()], shower.wait_closed())
        assert reason.fault in {Fault.MALFORMED, Fault.BAD_HASH}


async def _talk(one: Line, two: Line, *, confirmed: bool = True) -> tuple[RoomConversation, RoomConversation]:
    await two.ask(OpenRoom(1, 42, 60))
    await one.ask(EnterRoom(1, 42))
    assert isinstance(await two.heard(), Entered)
    taker = RoomConversation(one, 42, os.urandom, is_dialler=True)
    shower = RoomConversation(two, 42, os.urandom, is_dialler=False)
    await asyncio.gather(taker.agree(), shower.agree())
    if confirmed:
        for side in (taker, shower):
            side.confirm(b"s" * 32)
            side.mark_authenticated()
    return taker, shower


async def _read_all(conversation: RoomConversation) -> bytes:
    stream = await conversation.accept_stream()
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


class _NoEndpoint:
    """Nobody is dialled in these tests."""

    address = ("127.0.0.1", 0)
