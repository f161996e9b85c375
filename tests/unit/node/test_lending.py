"""Values lent between members: to whom, which, and that nothing but what was signed is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.errors import Fault, PeerFault
from cis.model import Dot, Kind, SpaceId
from cis.node.home.local import LocalNode
from cis.node.streams.lending import LENT_AT_ONCE, Borrowing, lend
from cis.store.author import Write
from cis.store.fetched import bodies_here
from cis.wire.content import Content
from cis.wire.membership import Role
from cis.wire.messages import BODIES_MAX, Body, Done, WantBodies, decode, encode
from tests.unit.node.households import close, household
from tests.unit.node.test_stability import give, put

COUNT = LENT_AT_ONCE + 2


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[LocalNode]]:
    made = household(tmp_path, ("phone", Role.WRITER))
    yield made
    close(made)


def filled(giver: LocalNode, taker: LocalNode) -> list[Dot]:
    """Both hold some values of the giver's."""
    space = giver.cluster.public
    writes = [Write(space, Kind.PUT, Content(f"k{at}", b"%d" % at)) for at in range(COUNT)]
    giver.store.write(writes).result()
    give(giver, taker, space)
    return [Dot(giver.store.replica, seq) for seq in range(1, COUNT + 1)]


def body(node: LocalNode, dot: Dot) -> bytes:
    with node.store.snapshot() as reader:
        return bodies_here(reader, node.cluster.public, [dot])[dot]


def answers(giver: LocalNode, taker: LocalNode, question: WantBodies) -> list[Body]:
    """What one gives to the other's question, as it travels."""
    asked = decode(encode(question))
    assert isinstance(asked, WantBodies)
    given: list[Body] = []
    while some := lend(giver, taker.identity.node, asked, len(given)):
        assert len(some) <= LENT_AT_ONCE
        given += some
    return given


def test_a_member_is_lent_what_it_asks_for_and_takes_what_was_signed(nodes: list[LocalNode]) -> None:
    desk, phone = nodes
    dots = filled(desk, phone)
    asked = [dots[3], *dots[:3], *dots[4:], Dot(desk.store.replica, 99)]
    borrowing = Borrowing(phone, phone.cluster.public, asked)
    given = answers(desk, phone, borrowing.question)
    assert given[-1] == Body(desk.store.replica, 99, b"")
    for one in given:
        assert not borrowing.finished
        borrowing.take(encode(one))
    assert borrowing.finished
    assert borrowing.found == {dot: body(desk, dot) for dot in dots}


def test_nothing_of_a_space_that_is_not_shared_is_lent(nodes: list[LocalNode]) -> None:
    desk, phone = nodes
    plans = desk.create_space("plans")
    for space in (plans, desk.cluster.private):
        put(desk, space)
        question = WantBodies(space, [(desk.store.replica, 1)])
        assert answers(desk, phone, question) == [Body(desk.store.replica, 1, b"")]
    put(desk, desk.cluster.public)
    question = WantBodies(desk.cluster.public, [(desk.store.replica, 1)])
    assert answers(desk, phone, question) == [Body(desk.store.replica, 1, body(desk, Dot(desk.store.replica, 1)))]
    desk.revoke(phone.identity.node)
    assert answers(desk, phone, question) == [Body(desk.store.replica, 1, b"")]


def test_what_is_damaged_here_is_not_lent(nodes: list[LocalNode]) -> None:
    desk, phone = nodes
    dots = filled(desk, phone)
    desk.store.execute(
        lambda connection: (
            connection.execute("UPDATE body SET sealed = CAST(x'00' || sealed AS BLOB) WHERE rid & 255 = 1").get
        )
    ).result()
    given = answers(desk, phone, WantBodies(desk.cluster.public, [(dot.replica, dot.seq) for dot in dots[:2]]))
    assert [bool(one.sealed) for one in given] == [False, True]


def test_another_value_is_not_taken_and_its_teller_is_at_fault(nodes: list[LocalNode]) -> None:
    desk, phone = nodes
    dots = filled(desk, phone)
    borrowing = Borrowing(phone, phone.cluster.public, dots[:1])
    with pytest.raises(PeerFault) as raised:
        borrowing.take(encode(Body(dots[0].replica, dots[0].seq, body(desk, dots[1]))))
    assert (raised.value.fault, borrowing.found) == (Fault.BAD_HASH, {})


@pytest.mark.parametrize("other", [Done(0), Body(b"r" * 40, 1, b""), None])
def test_an_answer_to_another_question_is_a_fault(nodes: list[LocalNode], other: Done | Body | None) -> None:
    desk, phone = nodes
    dots = filled(desk, phone)
    borrowing = Borrowing(phone, phone.cluster.public, dots[:2])
    answer = other if other is not None else Body(dots[1].replica, dots[1].seq, body(desk, dots[1]))
    with pytest.raises(PeerFault) as raised:
        borrowing.take(encode(answer))
    assert (raised.value.fault, borrowing.found) == (Fault.MALFORMED, {})


def test_a_body_whose_header_is_not_here_is_nobodys_fault(nodes: list[LocalNode]) -> None:
    desk, phone = nodes
    put(desk, desk.cluster.public)
    dot = Dot(desk.store.replica, 1)
    borrowing = Borrowing(phone, phone.cluster.public, [dot])
    borrowing.take(encode(Body(dot.replica, dot.seq, body(desk, dot))))
    assert (borrowing.finished, borrowing.found) == (True, {})


def test_a_question_is_bounded() -> None:
    rows = [(b"r" * 40, seq) for seq in range(1, BODIES_MAX + 2)]
    space = SpaceId(b"s" * 16)
    assert isinstance(decode(encode(WantBodies(space, rows[:-1]))), WantBodies)
    for wanted in (rows, []):
        with pytest.raises(PeerFault):
            decode(encode(WantBodies(space, wanted)))
