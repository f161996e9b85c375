"""What members tell each other through gossip, and of where they are: any of it may be said by one who means harm."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random

import msgspec

from cis.anchor.protocol import Said
from cis.errors import PeerFault
from cis.model import Dot, Kind, NodeId
from cis.node.bulletins.hearing import Message
from cis.node.bulletins.presence import PRESENCE, Presence
from cis.node.bulletins.stability import STABILITY, Stability
from cis.node.bulletins.topics import CHANGES, MEMBERSHIP, Topics
from cis.node.entry.rooms import STREAMS_MAX, RoomConversation
from cis.node.finding.records import RecordShelf
from cis.node.home.local import LocalNode
from cis.node.streams.lending import Borrowing, lend
from cis.store.author import Write
from cis.store.fetched import bodies_here
from cis.trust.bulletins import Told, seal_bulletin
from cis.trust.identity import Label
from cis.trust.rooms import CLOSING_STREAM, EXCHANGE_STREAM, RoomCipher
from cis.wire.content import Content
from cis.wire.membership import Role
from cis.wire.messages import Body, WantBodies, decode, encode
from fuzz.target import Shared, Target, chosen, on_loop, scratch, script, steps_in
from fuzz.targets.trust import cluster
from fuzz.targets.wire import golden, segments
from tests.unit.node.households import close, household
from tests.unit.node.test_stability import give
from tests.unit.trust.cluster import NOW_MS, entropy

_LENT = 3
_TOPICS = (PRESENCE, STABILITY, MEMBERSHIP, CHANGES, "builds")
_HERE = ("0.0.0.0", 7677)  # noqa: S104 - where nothing is bound


class _Clock:
    """Time that stands still."""

    def time(self) -> float:
        return 1.0

    def call_at(self, when: float, _: Callable[[], None]) -> _Clock:
        assert when >= self.time()
        return self

    def cancel(self) -> None:
        pass


class _House:
    """A founder, and a member that means harm."""

    def __init__(self) -> None:
        self._folder = scratch()
        self.founder, self.member = household(self._folder, ("eve", Role.WRITER))
        self.told = 0

    def leave(self) -> None:
        """End both."""
        close([self.founder, self.member])
        shutil.rmtree(self._folder)


_HOUSE = Shared(_House, _House.leave, every=500)


def told(data: bytes) -> None:
    """Bulletins of a member on topics of the system and of users: read, or nothing, and never more than that."""
    on_loop(_hear(_HOUSE.next(), data))


async def _hear(house: _House, data: bytes) -> None:
    local, member = house.founder, house.member
    topics = Topics(local, lambda _: None, _Clock())
    presence, stability = Presence(local, topics, Random(1), tuple), Stability(local)

    def report(message: Message) -> None:
        stability.take(message.author, message.payload)

    topics.read_system(STABILITY, report)
    session = _HOUSE.inputs.to_bytes(8, "big")
    for number, (choice, payload) in enumerate(steps_in(data), 1):
        said = Told(session, number, local.clock_ms(), chosen(_TOPICS, choice), payload)
        keys = member.cluster.keys.spaces[member.cluster.public]
        with suppress(PeerFault):
            topics.take(seal_bulletin(member.identity, keys, said, entropy(number)))
    known = presence.of(member.identity.node)
    assert known is None or len(known.version) <= 32
    local.store.execute(lambda _: None).result()


def records(data: bytes) -> None:
    """Statements of where it is that a member signed: what is kept can be dialled, handed on and read again."""
    house = _HOUSE.next()
    shelf = RecordShelf(house.founder)
    for _, stated in steps_in(data):
        signed = (stated, house.member.identity.sign(Label.RECORD, stated))
        with suppress(PeerFault):
            shelf.take(msgspec.msgpack.encode(_of(house.member, stated, signed)), _HERE)
    for raw in shelf.to_send(()):
        RecordShelf(house.member).take(raw, _HERE)


def _of(member: LocalNode, stated: bytes, signed: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a signed statement, made one of the member's own where it names a node at all."""
    with suppress(msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        parts = msgspec.msgpack.decode(stated)
        if isinstance(parts, list) and parts and isinstance(parts[0], bytes):
            own = msgspec.msgpack.encode([member.identity.node, *parts[1:]])
            return own, member.identity.sign(Label.RECORD, own)
    return signed


def rooms(data: bytes) -> None:
    """What the other device of a pairing says in an anchor's room, sealed as it should be: streams within bounds."""
    on_loop(_say(data))


async def _say(data: bytes) -> None:
    own = RoomConversation(_Silence(), 7, entropy(1), is_dialler=True)  # type: ignore[arg-type]  # it is told by hand
    other = RoomCipher(7, entropy(2), is_taker=False)
    other.agree(own._cipher.public)
    own._cipher.agree(other.public)
    for cipher in (own, other):
        cipher.confirm(bytes(32))
    with suppress(PeerFault):
        for number, chunk in steps_in(data):
            stream = CLOSING_STREAM if number & 1024 else number >> 2 & 31
            own._take(Said(other.seal(stream, number & 3, chunk)))
            assert len(own._streams.open) <= STREAMS_MAX
            if number & 2048:
                while own._waiting and own._streams.lost is None:
                    taken = await own.accept_stream()
                    if taken.unread_bytes:
                        await taken.read()


class _Silence:
    """A line on which nothing is said."""


def _told_seeds() -> Iterable[bytes]:
    node = NodeId(bytes(32))
    presence = msgspec.msgpack.encode((True, False, "0.1.0", ((node, "direct", True, 1500),)))
    report = msgspec.msgpack.encode((cluster().public, ((bytes(40), 5),)))
    yield script((0, presence), (1, report), (4, b"green"))
    yield script((2, msgspec.msgpack.encode(cluster().log.entries_missing_from())), (3, segments()[0]))
    yield from (script((0, one), (1, one)) for one in golden("cis.node.presence", "cis.node.stability"))


def _record_seeds() -> Iterable[bytes]:
    where = [("192.0.2.1", 7677, 1), ("2001:db8::1", 9, 0), ("fe80::1%eth0", 9, 0), ("node.example.net", 9, 3)]
    yield script((0, msgspec.msgpack.encode((bytes(32), NOW_MS, NOW_MS + 86_400_000, where))))


def _room_seeds() -> Iterable[bytes]:
    yield script((1 << 2, b"data"), (1 << 2 | 2048, b"more"), (3 << 2, b"x"), (1 << 2 | 1, b""), (3 << 2 | 2, b""))
    yield script((EXCHANGE_STREAM << 2, b"start"), (5 << 2, b""), (1024, b"\0\2why"), (1 << 2, b"after"))


class _Shelf:
    """Two members with values of the founder's at both, of which the member was asked."""

    def __init__(self) -> None:
        self._folder = scratch()
        self.desk, self.phone = household(self._folder, ("phone", Role.WRITER))
        space = self.desk.cluster.public
        writes = [Write(space, Kind.PUT, Content(f"k{at}", b"%d" % at)) for at in range(_LENT)]
        self.desk.store.write(writes).result()
        give(self.desk, self.phone, space)
        self.dots = [Dot(self.desk.store.replica, seq) for seq in range(1, _LENT + 1)]
        with self.desk.store.snapshot() as reader:
            self.bodies = bodies_here(reader, space, self.dots)

    def leave(self) -> None:
        """End both."""
        close([self.desk, self.phone])
        shutil.rmtree(self._folder)


_SHELF = Shared(_Shelf, _Shelf.leave)


def lendings(data: bytes) -> None:
    """Whatever is answered to a question for values, only what was signed is taken; what is asked is answered."""
    shelf = _SHELF.next()
    desk, phone, dots = shelf.desk, shelf.phone, list(shelf.dots)
    borrowing = Borrowing(phone, phone.cluster.public, dots)
    for number, frame in steps_in(data):
        with suppress(PeerFault):
            asked = decode(frame) if number % 2 else None
            if isinstance(asked, WantBodies):
                given = lend(desk, phone.identity.node, asked, 0)
                assert [(one.replica, one.seq) for one in given] == asked.wanted[: len(given)]
            elif not borrowing.finished:
                borrowing.take(_addressed(frame, dots, len(borrowing.question.wanted)) if number % 3 else frame)
    assert all(shelf.bodies[dot] == sealed for dot, sealed in borrowing.found.items())


def _addressed(frame: bytes, dots: list[Dot], left: int) -> bytes:
    """Return an answer under the name of what is asked for next, so that its body is looked at."""
    body = decode(frame)
    dot = dots[len(dots) - left]
    return encode(Body(dot.replica, dot.seq, body.sealed)) if isinstance(body, Body) else frame


def _lending_seeds() -> Iterable[bytes]:
    shelf = _SHELF.next()
    answers = [encode(Body(dot.replica, dot.seq, shelf.bodies[dot])) for dot in shelf.dots]
    yield script(*((0, frame) for frame in answers))
    yield script(*((2, frame) for frame in reversed(answers)))
    yield script((1, encode(Borrowing(shelf.phone, shelf.phone.cluster.public, shelf.dots).question)))
    yield script(*((1, frame) for frame in golden("cis.wire.messages")))


TARGETS = (
    Target("node.rooms", rooms, _room_seeds),
    Target("node.told", told, _told_seeds),
    Target("node.records", records, _record_seeds),
    Target("node.lendings", lendings, _lending_seeds),
)
