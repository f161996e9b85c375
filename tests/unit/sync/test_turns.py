"""The order of spaces in a session: that of its standings, whatever comes in first, and however far a run has got."""

from __future__ import annotations

from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.sync import Effect, Fetch, Send, Session
from cis.sync.floors import Standing
from cis.sync.vectors import to_wire
from cis.wire.messages import Summary, Vector

FIRST, SECOND, THIRD = (SpaceId(letter * 16) for letter in (b"b", b"c", b"a"))
REPLICA = ReplicaId(NodeId(b"r" * 32) + bytes(4))


class Log:
    """A membership log that both sides hold alike."""

    def digest(self) -> bytes:
        return bytes(32)

    def ids(self) -> list[bytes]:
        return []

    def entries_missing_from(self, ids: object) -> list[bytes]:
        return []


def begun() -> tuple[Session, list[Effect]]:
    """A session with much to send in three spaces, of which nobody has stated anything yet."""
    standings = {space: Standing(VersionVector({REPLICA: 10})) for space in (FIRST, SECOND, THIRD)}
    session = Session(standings, Log(), own=REPLICA)
    session.start()
    effects = session.receive(Summary(bytes(32), [(space, b"else" * 8) for space in sorted(standings)]))
    return session, effects


def stated(session: Session, space: SpaceId) -> list[Effect]:
    """The peer states that it holds nothing of a space."""
    (vector,) = to_wire(space, Standing(VersionVector()))
    return session.receive(vector)


def fetched(effects: list[Effect]) -> list[tuple[SpaceId, int]]:
    return [(effect.space, effect.first) for effect in effects if isinstance(effect, Fetch)]


def test_vectors_are_stated_in_the_order_of_the_turns() -> None:
    _, effects = begun()
    vectors = [one.message.space for one in effects if isinstance(one, Send) and isinstance(one.message, Vector)]
    assert vectors == [FIRST, SECOND, THIRD]


def test_the_space_whose_turn_is_first_goes_before_a_run_that_was_begun() -> None:
    session, _ = begun()
    (asked,) = (one for one in stated(session, THIRD) if isinstance(one, Fetch))
    assert asked.space == THIRD
    assert not fetched(stated(session, SECOND))
    assert not fetched(stated(session, FIRST))
    order, effects = [], session.fetched(asked, b"frame", 4)
    while asked_now := [one for one in effects if isinstance(one, Fetch)]:
        order.append((asked_now[0].space, asked_now[0].first))
        effects = session.fetched(asked_now[0], b"frame", asked_now[0].first + 4)
    assert order == [(FIRST, 1), (FIRST, 6), (SECOND, 1), (SECOND, 6), (THIRD, 5), (THIRD, 10)]
