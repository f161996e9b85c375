"""A room takes two, one exchange, and lives as long as the code."""

from __future__ import annotations

from cis.anchor.protocol import Done, Entered, EnterRoom, LeaveRoom, Left, OpenRoom, Said, Say
from cis.anchor.rooms import BUSY_S
from tests.unit.anchor.switched import Anchor, Node, refused


def met(anchor: Anchor) -> tuple[Node, Node]:
    shower, taker = anchor.connect(), anchor.connect("203.0.113.2")
    assert isinstance(shower.ask(OpenRoom, 42, 120), Done)
    assert isinstance(taker.ask(EnterRoom, 42), Done)
    assert shower.heard() == [Entered()]
    return shower, taker


def test_what_either_says_the_other_hears_in_order() -> None:
    shower, taker = met(Anchor())
    for number in range(3):
        taker.tell(Say(bytes([number])))
    shower.tell(Say(b"answer"))
    assert shower.heard() == [Said(bytes([number])) for number in range(3)]
    assert taker.heard() == [Said(b"answer")]


def test_nobody_enters_a_room_twice_or_after_it_was_used() -> None:
    anchor = Anchor()
    shower, taker = met(anchor)
    third = anchor.connect("203.0.113.3")
    assert "nobody waits" in refused(third.ask(EnterRoom, 42))
    taker.leave()
    assert shower.heard() == [Left()]
    assert "nobody waits" in refused(third.ask(EnterRoom, 42))
    assert len(anchor.board.rooms) == 0


def test_a_number_in_use_is_refused_so_that_another_is_drawn() -> None:
    anchor = Anchor()
    anchor.connect().ask(OpenRoom, 42, 120)
    answer = anchor.connect("203.0.113.2").ask(OpenRoom, 42, 120)
    assert "in use" in refused(answer)
    assert answer.taken


def test_a_room_nobody_entered_ends_with_the_code() -> None:
    anchor = Anchor()
    shower, taker = anchor.connect(), anchor.connect()
    shower.ask(OpenRoom, 42, 120)
    anchor.now += 119
    anchor.board.tick(anchor.now, anchor.now)
    assert shower.heard() == []
    anchor.now += 1
    anchor.board.tick(anchor.now, anchor.now)
    assert shower.heard() == [Left()]
    assert "nobody waits" in refused(taker.ask(EnterRoom, 42))


def test_an_exchange_begun_in_time_may_end_and_does_not_last() -> None:
    anchor = Anchor()
    shower, taker = met(anchor)
    anchor.now += BUSY_S - 1
    anchor.board.tick(anchor.now, anchor.now)
    taker.tell(Say(b"x"))
    assert shower.heard() == [Said(b"x")]
    anchor.now += 1
    anchor.board.tick(anchor.now, anchor.now)
    assert shower.heard() == taker.heard() == [Left()]


def test_a_room_carries_what_a_pairing_takes_and_no_more() -> None:
    anchor = Anchor(room_bytes_max=10_000)
    shower, taker = met(anchor)
    for _ in range(9):
        taker.tell(Say(bytes(1024)))
    assert len(shower.heard()) == 9
    taker.tell(Say(bytes(1024)))
    assert shower.heard() == taker.heard() == [Left()]
    shower, taker = met(anchor)
    for _ in range(40):
        taker.tell(Say(b"x"))
    assert Left() in taker.heard()


def test_what_is_said_where_nobody_is_is_lost() -> None:
    anchor = Anchor()
    shower = anchor.connect()
    shower.tell(Say(b"x"))
    shower.ask(OpenRoom, 42, 120)
    shower.tell(Say(b"x"))
    assert shower.heard() == []
    assert shower.party.ending is None


def test_a_connection_is_in_one_room_and_leaves_it_when_it_asks() -> None:
    anchor = Anchor()
    shower, taker = met(anchor)
    assert "one room at a time" in refused(taker.ask(OpenRoom, 43, 60))
    assert isinstance(taker.ask(LeaveRoom), Done)
    assert shower.heard() == [Left()]
    assert isinstance(taker.ask(OpenRoom, 43, 60), Done)
    assert isinstance(taker.ask(LeaveRoom), Done)
    assert isinstance(taker.ask(LeaveRoom), Done)
